"""``wdiv svm``, ``wdiv features`` and ``wdiv advise``: what needs no training, beside what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image
from scipy import stats

from baselines.advice import RULES
from studies.spec.registry import load
from tests.conftest import once
from tests.studies.cli.test_cli import strictly, wdiv
from tests.tuning.tiny import MOBILENET

IMAGES = ("--image-size", 32, "--test-count", 5)


@pytest.fixture
def network(weights: Path) -> tuple[Any, ...]:
    return ("--model", MOBILENET, "--weights", weights, *IMAGES)


def test_svm_says_how_it_did_on_each_layer_size_and_seed(network: tuple[Any, ...]) -> None:
    asked = ("--layer", "stage2", "--layer", "best", "--per-class", 3, "--per-class", 6, "--seed", 0, "--seed", 4)
    found = strictly(wdiv("svm", "digits-5-9", *network, *asked, "--cv", 3, "--json").stdout)
    assert [(o["n_train"], o["strategy"], o["seed"]) for o in found["outcomes"]] == [
        (n, f"svm@{layer}", seed) for n in (15, 30) for layer in ("stage2", "best") for seed in (0, 4)
    ]
    for outcome in found["outcomes"]:
        scores = outcome["scores"]
        assert np.sum(scores["confusion"]) == outcome["n_test"] == 25
        assert scores["accuracy"]["value"] == pytest.approx(np.trace(scores["confusion"]) / 25)
        right = int(np.trace(scores["confusion"]))
        wanted = stats.binomtest(right, 25).proportion_ci(method="wilson")
        assert (scores["accuracy"]["low"], scores["accuracy"]["high"]) == pytest.approx((wanted.low, wanted.high))
        assert 0 <= scores["calibration_error"] <= 1
        assert outcome["cost"] > 0
    assert found["files"] == []


def test_svm_draws_accuracy_by_size_and_by_layer(network: tuple[Any, ...], tmp_path: Path) -> None:
    asked = (
        "--layer",
        "stage1",
        "--layer",
        "stage3",
        "--per-class",
        2,
        "--per-class",
        4,
        "-o",
        tmp_path / "f" / "c.png",
    )
    assert "c.png" in wdiv("svm", "digits-5-9", *network, *asked).stdout
    with Image.open(tmp_path / "f" / "c.png") as figure:
        assert figure.width > 2 * figure.height


def test_one_outcome_is_shown_with_its_confusion(network: tuple[Any, ...]) -> None:
    text = wdiv("svm", "digits-5-9", *network, "--per-class", 4, "--cv", 9).stdout
    assert "true class by row, predicted by column" in text
    assert "note: 4 folds of the 9 asked: the smallest class has 4 images" in text


def test_outcomes_enter_the_results_of_a_store_beside_its_runs(
    trained: Path, weights: Path, network: tuple[Any, ...]
) -> None:
    text = wdiv("svm", "digits-5-9", *network, "--per-class", 3, "--out", trained).stdout
    assert "95 %, by Wilson" in text
    _, beside = text.split("In the same store, mean over seeds:\n")
    assert " last  interval " in beside
    table = pd.read_csv(trained / "results.csv")
    assert (table["n_test"] == 25).all()
    for row in table.itertuples():
        wanted = stats.binomtest(round(25 * row.last), 25).proportion_ci(method="wilson")
        assert (row.low, row.high) == pytest.approx((wanted.low, wanted.high))
        assert f"{100 * row.low:.1f} to {100 * row.high:.1f}" in beside
    assert table["strategy"].tolist() == ["bn+fc", "fc", "svm"]
    assert table["n_train"].nunique() == table["dataset"].nunique() == table["model"].nunique() == 1
    with xr.open_dataset(trained / "results.nc") as results:
        for name, column in (("", "last"), ("_low", "low"), ("_high", "high")):
            np.testing.assert_allclose(results[f"test_accuracy{name}"], table[column])
        assert results["strategy"].values.tolist() == table["strategy"].tolist()
        assert results["test_accuracy"].attrs["units"] == "1"
    again = wdiv("svm", "digits-5-9", *network, "--per-class", 3, "--out", trained, "--json").stdout
    beside = {row["strategy"]: row for row in strictly(again)["beside"]}
    assert beside["svm"]["seeds"] == 1, "in place of what was there"
    last = table.set_index("strategy")["last"]
    assert beside["svm"]["over_fc"] == pytest.approx(last["svm"] - last["fc"])


def test_a_run_of_the_study_keeps_the_baselines_in_its_table(
    trained: Path, toml: Path, network: tuple[Any, ...]
) -> None:
    wdiv("svm", "digits-5-9", *network, "--per-class", 3, "--out", trained)
    found = strictly(wdiv("run", toml, "--out", trained, "--json").stdout)
    assert [row["strategy"] for row in found["outcomes"]] == ["fc", "bn+fc", "svm"]
    assert "svm" in wdiv("run", toml, "--out", trained).stdout


def test_every_baseline_can_be_asked_for(network: tuple[Any, ...]) -> None:
    names = ("ncm", "lda", "knn")
    asked = [word for name in names for word in ("--baseline", name)]
    found = strictly(wdiv("svm", "digits-5-9", *network, "--per-class", 4, *asked, "--json").stdout)
    assert [o["strategy"] for o in found["outcomes"]] == list(names)
    assert len({tuple(np.ravel(o["scores"]["confusion"])) for o in found["outcomes"]}) > 1


def test_features_of_all_stages_are_one_file(network: tuple[Any, ...], tmp_path: Path) -> None:
    out = tmp_path / "features.nc"
    text = wdiv("features", "digits-5-9", *network, "--layer", "all", "--per-class", 3, "-o", out).stdout
    assert f"wrote {out}" in text
    with xr.open_datatree(out) as tree:
        assert list(tree.children) == ["stem", "stage1", "stage2", "stage3", "stage4", "bottleneck"]
        assert tree["part"].values.tolist() == ["pool"] * 15 + ["test"] * 25
        assert tree["stage2/features"].dims == ("sample", "feature")
        assert np.isfinite(tree["bottleneck/features"]).all()
        assert set(tree["class_name"].values) == {"5", "6", "7", "8", "9"}


@once
def test_advice_is_a_study_that_runs(network: tuple[Any, ...], tmp_path: Path) -> None:
    out = tmp_path / "advised.toml"
    text = wdiv("advise", "digits-5-9", *network, "--per-class", 4, "-o", out).stdout
    assert "Advice: " in text
    study = load(str(out))
    assert (study.data, study.per_class, study.test_count, study.image_size) == ("digits-5-9", (4,), 5, 32)
    found = strictly(wdiv("advise", "digits-5-9", *network, "--per-class", 4, "--json").stdout)
    advice, places = found["advice"], found["findings"]["places"]
    assert advice["strategy"] in text
    stages = ["stem", "stage1", "stage2", "stage3", "stage4"]
    assert [place["name"] for place in places] == [*stages, "bottleneck", "stages"]
    assert all(place["folds"] is not None and place["scores"]["logme"] is not None for place in places)
    assert all((place["drift"] is None) == (place["name"] not in stages) for place in places)
    assert {"leep", "nce"} <= set(found["findings"]["scores"]), "the made weights have a classifier for ten classes"
    assert all(answer["rule"] in {*RULES, "measured"} for answer in advice["answers"])
    assert "mmd" not in places[0]["scores"]
    same, other = (
        strictly(wdiv("advise", "digits-5-9", *network, "--per-class", 4, "--source-data", data, "--json").stdout)
        for data in ("digits-5-9", "digits-0-4")
    )
    near, far = (found["findings"]["places"][3]["scores"]["frechet_distance"] for found in (same, other))
    assert near < far
    planned = strictly(wdiv("run", out, "--out", tmp_path / "store", "--dry-run", "--json").stdout)
    assert len(planned["runs"]) == 3


@once
def test_real_images_are_told_apart_by_the_features_of_real_weights(shared: Path) -> None:
    steel = ("--weights", shared / "weights" / "mobilenet_v2_w035.toml", "--per-class", 20, "--test-count", 30,
             "--image-size", 128)  # fmt: skip
    (outcome,) = strictly(wdiv("svm", shared / "data" / "neu", *steel, "--json").stdout)["outcomes"]
    assert outcome["scores"]["accuracy"]["value"] >= 0.97, "0.99 when this was written"
    assert outcome["cv_score"] == pytest.approx(outcome["scores"]["accuracy"]["value"], abs=0.03)


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, str]:
    """Folders that leave nothing to learn."""
    make = np.random.default_rng(0)

    def draw(folder: str, name: str, count: int, constant: bool = False) -> None:
        (tmp_path / folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.full((16, 16, 3), 99) if constant else make.integers(0, 256, (16, 16, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / folder / name / f"{i}.png")

    draw("alone", "a", 6)
    for name in ("a", "b"):
        draw("constant", name, 6, constant=True)
    draw("scarce", "a", 6)
    draw("scarce", "b", 2)
    return {name: str(tmp_path / name) for name in ("alone", "constant", "scarce")}


ERRORS = [
    ("svm {alone} --test-count 1", "class"),
    ("advise {alone} --test-count 1", "class"),
    ("svm {scarce} --test-count 2", "class 'b' has 2 images; setting 2 aside"),
    ("svm {scarce} --test-count 1 --per-class 2", "class 'b' has 1"),
    ("svm digits-5-9 --per-class 2 --layer stage9", "did you mean 'stage"),
    ("svm digits-5-9 --per-class 2 --layer 999", "layer 999: a depth from 0 to 32"),
    ("svm digits-5-9 --per-class 2 --baseline smv", "unknown baseline 'smv'; did you mean 'svm'"),
    ("svm digits-5-9 --per-class 2 --pooling mean", "pooling 'mean': avg, max or grid=K"),
    ("svm digits-5-9 --per-class 2 --cv 1", "1 is not in the range"),
    ("svm digts", "no data set and no folder 'digts'; did you mean 'digits"),
    ("features digits-5-9 -o f.txt", "must end in .nc or .zarr"),
    ("svm digits-5-9 -o f.txt", "must end in .png, .pdf, .svg"),
    ("advise digits-5-9 -o f.txt", "must end in .toml"),
]


@pytest.mark.parametrize(("line", "words"), ERRORS, ids=lambda value: value[:50])
def test_what_is_wrong_is_said_in_one_line(
    line: str, words: str, odd: dict[str, str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = [part.format(**odd) for part in line.split()]
    result = wdiv(*asked, "--model", MOBILENET, "--weights", weights, "--image-size", 32, code=2)
    errors = [text for text in result.stderr.splitlines() if text.startswith("Error:")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in result.output


def test_what_leaves_little_to_learn_has_a_stated_fallback(odd: dict[str, str], network: tuple[Any, ...]) -> None:
    few = (*network[:-2], "--test-count", 1)
    scarce = strictly(wdiv("svm", odd["scarce"], *few, "--json").stdout)["outcomes"][0]
    assert "no cross-validation: the smallest class has 1 image" in scarce["fallback"]
    assert scarce["cv_score"] is None
    constant = strictly(wdiv("svm", odd["constant"], *few, "--json").stdout)["outcomes"][0]
    assert constant["fallback"] == "every feature is constant: the answer is the largest class"
    assert constant["scores"]["accuracy"]["value"] == 0.5
    advice = strictly(wdiv("advise", odd["scarce"], *few, "--json").stdout)
    assert advice["findings"]["places"][0]["folds"] is None
