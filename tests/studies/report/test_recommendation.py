"""What to do with one's own images, from made runs whose truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from studies.report.recommendation import Recommendation, _curve, recommend
from studies.spec.columns import OPTIONAL
from tests.studies.observed import row, table
from wdiv.numerics.classification import scores_of_confusion
from wdiv.summary import answers as told
from wdiv.summary.best import Best, Candidate

CLASSES = ("crazing", "inclusion", "patches")
IMAGES = 40
"""Of each class."""
Cells = Mapping[tuple[str, str], float]


def made(
    cells: Cells,
    chosen: tuple[str, str],
    seeds: int = 3,
    images: int = IMAGES,
    luck: int = 0,
    trained: str = "yes",
) -> Recommendation:
    """Of runs that answer each image rightly with the probability of their cell; what is wrong is 'patches', and of
    'patches' 'crazing'."""
    labels = np.repeat(np.arange(len(CLASSES)), images)
    observed, results, answered = [], [], {}
    for (strategy, mode), share in cells.items():
        for seed in range(seeds):
            rng = np.random.default_rng([luck, seed, *strategy.encode(), *mode.encode()])
            right = rng.random(len(labels)) < share
            given = np.where(right, labels, np.where(labels == 2, 0, 2))
            confusion = np.zeros((3, 3), dtype=int)
            np.add.at(confusion, (labels, given), 1)
            one = row(float(right.mean()), strategy=strategy, bn_mode=mode, seed=seed)
            observed.append(one)
            answered["", one["run"]] = ("images", right.astype(float))
            results.append({
                **{name: one[name] for name in ("run", "strategy", "bn_mode", "seed", "n_train")}, "model": "net",
                "last": float(right.mean()), "n_test": len(labels), "seconds": 1.0,
                "epochs": 0 if strategy == "svm" else 5, **told(scores_of_confusion(confusion), CLASSES),
            })  # fmt: skip
    observations = table(observed).assign(**dict.fromkeys(OPTIONAL[:1], np.nan), trained=trained)
    run = next(one["run"] for one in observed if (one["strategy"], one["bn_mode"]) == chosen)
    candidate = Candidate("net", *chosen, 100, (run,), 0.1, 0.1, 0.9, 0.9, len(labels), (run,))
    found = recommend(
        pd.DataFrame(results), Best("validation loss", (candidate,), run, 5), observations, answered,
        in_modes=[strategy for strategy, _ in cells if strategy != "svm"],
    )  # fmt: skip
    assert found is not None
    return found


def said(found: Recommendation, *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in found.sentences())


CELLS = {("svm", "frozen"): 0.6, ("fc", "frozen"): 0.92, ("fc", "batch"): 0.5, ("conv+fc", "frozen"): 0.93}


def test_what_is_chosen_is_told_with_its_interval_and_of_how_many_images() -> None:
    found = made(CELLS, ("conv+fc", "frozen"))
    first = next(iter(found.sentences()))
    share = np.mean([one.row["last"] for one in found.everything if one.verdict == "chosen"])
    assert first.startswith("Fine-tune convolutions and classifier with frozen statistics (conv+fc): ")
    assert f"{100 * share:.0f} % [" in first
    assert "of 120 test images right, the mean of 3 seeds" in first
    assert "not by the test images" in first


def test_each_other_cell_is_worse_or_within_noise() -> None:
    found = made(CELLS, ("conv+fc", "frozen"))
    verdicts = {one.cell["strategy"] + " " + one.cell["bn_mode"]: one.verdict for one in found.rivals}
    assert verdicts == {"svm frozen": "worse", "fc frozen": "within noise", "fc batch": "worse"}
    assert said(found, "To train nothing (svm on frozen features) has", "so fine-tuning is better")
    assert said(found, "Within noise of it", "fc frozen")
    assert said(found, "Worse", "fc batch")
    assert said(found, "The least to train that is no worse", "the classifier (fc frozen)")


def test_a_baseline_that_is_better_is_to_be_taken() -> None:
    found = made(CELLS | {("svm", "frozen"): 0.99}, ("fc", "batch"))
    assert said(found, "To train nothing", "so fine-tuning is worse; take that instead")
    assert said(found, "Better on the test images", "conv+fc frozen")


def test_the_difference_is_the_others_less_the_chosens() -> None:
    found = made(CELLS, ("conv+fc", "frozen"))
    svm = next(one for one in found.rivals if one.baseline)
    assert found.baseline is svm
    points = 100 * (svm.row["last"] - found.chosen.row["last"])
    low, high = (float(end) for end in svm.difference.partition(" ")[2].strip("[]").split(", "))
    assert float(svm.difference.split()[0]) == pytest.approx(points, abs=0.051)
    assert low < points < high < 0


def test_classes_that_are_taken_for_others_are_named() -> None:
    found = made(CELLS, ("fc", "frozen"))
    assert found.confusion.sum() == 3 * 3 * IMAGES
    wrong = {(CLASSES[a], CLASSES[b]): int(found.confusion[a, b]) for a in range(3) for b in range(3) if a != b}
    (true, answer), count = max(wrong.items(), key=lambda one: one[1])
    assert said(found, f"'{true}' is taken for '{answer}' ({count} of {3 * IMAGES})", "over 3 seeds")
    rows = {one["class"]: one for one in found.by_class()}
    assert rows["inclusion"]["test images"] == str(IMAGES)
    assert rows["inclusion"]["taken most often for"].startswith("patches (")


def test_one_that_answers_no_better_than_the_largest_class_has_learned_nothing() -> None:
    found = made({("fc", "frozen"): 1 / 3, ("svm", "frozen"): 0.3}, ("fc", "frozen"))
    assert next(iter(found.sentences())).startswith("Nothing was learned: the best, fc, has ")
    assert said(found, "to answer 'crazing' always has 33 %")


def test_what_has_not_learned_its_training_images_is_not_compared() -> None:
    found = made(CELLS, ("conv+fc", "frozen"), trained="no")
    assert {one.verdict for one in found.rivals} == {"not compared"}
    assert said(found, "To train nothing (svm on frozen features) has", ": take that.")
    assert said(found, "Not compared, as one of the two has not learned", "fc frozen")
    assert not said(found, "Within noise")


def test_one_seed_decides_nothing() -> None:
    found = made(CELLS, ("conv+fc", "frozen"), seeds=1)
    assert {one.verdict for one in found.rivals} == {"within noise"}
    assert not said(found, "mean of")


def test_a_curve_is_told_from_few_images_to_many() -> None:
    found = replace(made(CELLS, ("fc", "frozen")), curve={"5": 0.7, "10": 0.805, "all": 0.92})
    assert said(found, "With 5, 10, all training images a class it has 70, 80, 92 %.")
    assert not said(made(CELLS, ("fc", "frozen")), "training images a class it has")
    groups = {
        ("net", size, "fc", "frozen"): pd.DataFrame({"n_train": [count], "per_class": [size], "last": [share]})
        for size, count, share in (("all", 90, 0.9), ("5", 15, 0.6), ("10", 30, 0.8))
    }
    other = {("net", "5", "bn+fc", "frozen"): groups["net", "5", "fc", "frozen"].assign(last=0.1)}
    at = {"model": "net", "per_class": "all", "strategy": "fc", "bn_mode": "frozen"}
    assert list(_curve({**groups, **other}, at).items()) == [("5", 0.6), ("10", 0.8), ("all", 0.9)]


def test_two_seeds_of_few_images_tell_nothing() -> None:
    found = made({("fc", "frozen"): 0.9, ("svm", "frozen"): 0.3}, ("fc", "frozen"), seeds=2, images=2, luck=1)
    svm = found.baseline
    assert svm is not None
    low, high = (float(end) for end in svm.difference.partition(" ")[2].strip("[]").split(", "))
    assert -100 <= low <= high <= 100
    assert said(found, "Of so few test images and seeds (6 and 2) no difference at all is told from chance")


def test_the_table_has_the_best_first() -> None:
    rows = made(CELLS, ("fc", "frozen")).table()
    shares = [float(one["right, %"]) for one in rows]
    assert shares == sorted(shares, reverse=True)
    assert [one["what trains"] for one in rows if one["verdict"] == "chosen"] == ["fc frozen"]
    assert any(one["what trains"] == "nothing (svm)" for one in rows)


def test_without_any_difference_few_are_told_apart() -> None:
    """At a false discovery rate of 5 %, one table in 20 in which nothing is true says that something is."""
    tuned = [(name, mode) for name in ("fc", "bn+fc", "conv+fc") for mode in ("frozen", "batch")]
    cells = dict.fromkeys([("svm", "frozen"), *tuned], 0.7)
    tables = [made(cells, ("fc", "frozen"), images=12, luck=luck) for luck in range(8)]
    loud = sum(any(one.verdict != "within noise" for one in found.rivals) for found in tables)
    assert loud <= 2  # three or more of eight come in 0.6 % of all cases
