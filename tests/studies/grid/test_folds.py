"""Cross-validation of fine-tuning: every image is tested once, by what was not trained on it, and told as one run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from baselines import trials
from baselines.estimators import BASELINES
from baselines.features import features, places_of
from studies.grid.planning import open_data, plan_grid, sources_of
from studies.grid.progress import Progress
from studies.grid.results import results
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.report.answers import answers_of
from studies.report.observations import observe
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.studies.conftest import TOML
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput, BadStore, WdivError
from wdiv.numerics import share_interval
from wdiv.store import predictions
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore
from wdiv.store.wholes import join, whole_name
from wdiv.summary import best
from wdiv.tuning.data.folds import CrossValidation
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK
from wdiv.tuning.training.run import Silent, Watcher

FOLDS, REPEATS = 3, 2


@pytest.fixture(scope="module")
def in_folds(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    file = tmp_path_factory.mktemp("study") / "small.toml"
    file.write_text(TOML.format(model=MOBILENET, weights=weights))
    values = {"folds": FOLDS, "repeats": REPEATS, "per_class": ["all"], "strategies": ["fc"], "baselines": ["ncm"]}
    return override(load(str(file)), {**values, "validation": 0.2, "steps": 4, "epochs": 2})


@pytest.fixture(scope="module")
def store(in_folds: Study, tmp_path_factory: pytest.TempPathFactory) -> CheckpointStore:
    out, failed = run_grid(in_folds, tmp_path_factory.mktemp("folds") / "store", device="cpu")
    assert not failed
    return CheckpointStore.open(out)


def test_every_image_is_tested_once_in_each_repeat(store: CheckpointStore, in_folds: Study) -> None:
    (size,) = {planned.spec.inputs.size for planned in plan_grid(in_folds).runs}
    whole = open_data(in_folds, size)
    by_seed: dict[int, list[int]] = {}
    for run in store:
        asked = predictions.asked(run)
        assert run.record.fold is not None
        by_seed.setdefault(run.record.seed, []).extend(asked["test"].rows.tolist())
        assert not {*asked["test"].rows} & {*asked["validation"].rows}
        assert run.record.n_train + run.record.n_test == len(whole.pool)
    assert sorted(by_seed) == [0, 1]
    assert all(sorted(rows) == [*range(len(whole.pool))] for rows in by_seed.values())
    first, second = (store.path / "runs" / f"{name}-f1of3" for name in _names(store))
    assert {first.name[-9:], second.name[-9:]} == {"-s0-f1of3", "-s1-f1of3"}
    lists = [predictions.asked(run)["test"].rows.tolist() for run in store if run.path in (first, second)]
    assert lists[0] != lists[1], "each repeat is divided anew"


def _names(store: CheckpointStore) -> list[str]:
    return sorted({run.record.id.rpartition("-")[0] for run in store})


def test_folds_are_told_as_one_run_by_a_plain_recomputation(store: CheckpointStore) -> None:
    table = results(store).set_index("run")
    answered, observed = answers_of({"": store}), observe({"": store}, ["relative_l2"])
    accuracy = observed[observed["measure"] == "accuracy"].set_index("run")["value"]
    assert len(table) == 2 * REPEATS == len(accuracy), "a run and a baseline, of each repeat"
    for name in _names(store):
        runs = [run for run in store if run.record.id.startswith(name)]
        right = images = 0
        confusion = np.zeros((5, 5), int)
        for run in runs:
            found = predictions.of_run(run)
            assert found is not None
            answers = found.logits.argmax(axis=1)
            right, images = right + int((answers == found.images.labels).sum()), images + len(answers)
            np.add.at(confusion, (found.images.labels, answers), 1)
        row = table.loc[f"{name}-3folds"]
        assert row["last"] == pytest.approx(right / images, abs=1e-15)
        assert (row["n_test"], row["confusion"]) == (images, confusion.tolist())
        low, high = share_interval([right / images], images)[1:]
        assert (row["low"], row["high"]) == (pytest.approx(low), pytest.approx(high))
        assert accuracy[f"{name}-3folds"] == pytest.approx(right / images)
        assert answered["", f"{name}-3folds"][1].sum() == right
    assert len({digest for digest, _ in answered.values()}) == 1, "pairs are of the same images, in one order"


def test_one_that_lacks_a_fold_does_not_count(in_folds: Study, store: CheckpointStore, tmp_path: Path) -> None:
    out = tmp_path / "store"
    shutil.copytree(store.path, out)
    name = f"{_names(store)[0]}-f2of3"
    shutil.rmtree(out / "runs" / name)
    assert f"{_names(store)[0]}-3folds" not in {*results(out)["run"]}
    assert f"{_names(store)[1]}-3folds" in {*results(out)["run"]}
    assert [state.run for state in states(out) if state.state != "finished"] == [name]
    run_grid(in_folds, out, device="cpu")
    assert results(out).drop(columns="seconds").equals(results(store.path).drop(columns="seconds"))


def test_the_best_is_a_fold_s_network_and_its_figures_are_of_all(store: CheckpointStore) -> None:
    found = best(open_store(store))
    row = results(store).set_index("run")
    ours = [row.loc[f"{name}-3folds"] for name in _names(store)]
    assert found.chosen.seeds == REPEATS
    assert found.chosen.test_accuracy == pytest.approx(np.mean([one["last"] for one in ours]))
    assert found.chosen.n_test == ours[0]["n_test"]
    assert found.whole in row.index
    assert whole_name(found.run, {"number": 1, "of": 3}) == found.whole
    assert any("of one fold of 3" in note for note in found.notes)


def test_a_baseline_answers_as_scikit_learn_s_cross_validation(in_folds: Study, store: CheckpointStore) -> None:
    (source,) = sources_of(in_folds)
    split = open_data(in_folds, source.input.at(in_folds.image_size).size)
    places = [place for place in places_of(source, split.pool.pixels.shape[-1]) if place != BOTTLENECK]
    tree = features(source, split.pool, places, device="cpu")
    parts = [trials.of_length_1(np.asarray(node["features"].values)) for node in tree.children.values()]
    for outcome in trials.load_wholes(store.path):
        given = trials.predictions_of(outcome, store.path)
        assert given is not None
        division = split.divisions[outcome.seed % REPEATS]
        expected = cross_val_predict(
            BASELINES["ncm"].make(5, outcome.seed), np.hstack(parts), split.pool.labels, cv=PredefinedSplit(division)
        )
        np.testing.assert_array_equal(given.logits.argmax(axis=1), expected)


def test_a_store_is_of_one_division(in_folds: Study, store: CheckpointStore) -> None:
    for values in ({"folds": 4}, {"repeats": 1}, {"split_seed": 1}, {"folds": None, "repeats": 1}):
        with pytest.raises(BadInput, match="holds this study with"):
            run_grid(override(in_folds, values), store.path, device="cpu")
    (store.path / "study.json").rename(store.path / "kept")
    try:
        for values, words in (({"folds": 4}, "folds 3, now 4"), ({"split_seed": 1}, "split seed 0, now 1")):
            with pytest.raises(BadInput, match=words):
                run_grid(override(in_folds, values), store.path, device="cpu")
    finally:
        (store.path / "kept").rename(store.path / "study.json")


def test_a_grid_that_was_stopped_goes_on(in_folds: Study, store: CheckpointStore, tmp_path: Path) -> None:
    class Impatient(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            raise KeyboardInterrupt

    class Stopping(Progress):
        @contextmanager
        def run(self, run: str, epochs: int) -> Iterator[Watcher]:
            yield Impatient() if run.endswith("-s0-f2of3") else Silent()

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_grid(in_folds, out, device="cpu", progress=Stopping())
    assert {run.record.id[-9:]: run.finished for run in CheckpointStore.open(out)} == {
        "-s0-f1of3": True, "-s0-f2of3": False,
    }  # fmt: skip
    with pytest.raises(BadStore, match="no run is finished"):
        results(out)
    run_grid(in_folds, out, device="cpu")
    theirs = results(store.path).drop(columns="seconds")
    assert results(out).drop(columns="seconds").equals(theirs)


@pytest.mark.parametrize("small_classes", ["refuse", "keep"])
def test_a_group_is_in_one_fold_and_on_one_side_of_validation(small_classes: str, in_folds: Study) -> None:
    rng = np.random.default_rng(0)
    labels, groups = np.arange(120) % 3, rng.integers(0, 30, 120)
    images = ImageSet(
        rng.integers(0, 255, (120, 3, 8, 8), dtype=np.uint8), labels, ("a", "b", "c"),
        tuple(map(str, range(120))), tuple(map(str, groups)), small_classes,
    )  # fmt: skip
    split = Split.in_folds("made", images, CrossValidation(5, 2))
    spec = plan_grid(in_folds).runs[0].spec
    tested = []
    for fold in (*split.folds.repeat(1), *split.folds.repeat(2)):  # type: ignore[union-attr]
        run = replace(spec, fold=fold)
        parts = [*run.rows(split), run.test_rows(split)]
        sides = [{images.groups[row] for row in rows} for rows in parts]
        assert sum(map(len, sides)) == len(set.union(*sides)) == len(set(groups.tolist()))
        assert sum(map(len, parts)) == 120
        tested += parts[2].tolist()
    assert sorted(tested) == sorted([*range(120)] * 2)


def test_draws_are_nested_and_from_outside_the_fold(in_folds: Study) -> None:
    spec = plan_grid(in_folds).runs[0].spec
    split = open_data(in_folds, spec.inputs.size)
    few, more = (replace(spec, per_class=count, recipe=replace(spec.recipe, validation=0.0)).rows(split)[0]
                 for count in (3, 6))  # fmt: skip
    assert {*few} < {*more}
    assert not {*more} & {*spec.test_rows(split)}
    assert np.bincount(split.pool.labels[more]).tolist() == [6] * 5


def test_answers_of_other_images_are_not_joined(store: CheckpointStore) -> None:
    run = next(iter(store))
    found = predictions.of_run(run)
    assert found is not None
    with pytest.raises(WdivError, match="not of the same images"):
        join([found, found])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"folds": 1}, "folds: a whole number of at least 2, not 1"),
        ({"folds": 5, "repeats": 0}, "repeats: a whole number of at least 1, not 0"),
        ({"folds": None, "repeats": 2}, "repeats are of folds, and it has none"),
        ({"folds": 5, "test_count": 3}, "folds test every image once; folds or test_count, not both"),
    ],
    ids=str,
)
def test_what_cannot_be(small: Study, values: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        override(small, values)
