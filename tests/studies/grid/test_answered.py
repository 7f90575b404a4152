"""How images were answered, as it stands in results.nc, results.csv, the tables of commands and a report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from click.testing import CliRunner

from baselines import trials
from studies.cli import cli
from studies.cli.answered import print_answered, print_confusion
from studies.cli.run import _show_outcomes
from studies.grid.answered import answered
from studies.grid.results import write_results
from studies.report.pages import as_markdown
from studies.report.report import gather
from tests.fabric import LABELS, edit_rows, logits, make_store, write_predictions
from tests.studies.report.test_reading import OUTCOME, STUDY
from wdiv import summary
from wdiv.numerics.classification import FIGURES, classification_scores
from wdiv.store.predictions import ImageList, Predictions, file_of
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import read_sealed, write_sealed

ONE = "toynet-toy-n2-fc-auto-s0"
"""The run that answers one class alone."""
NOW, BEFORE = "toynet-toy-n2-svm-frozen-s0", "toynet-toy-n2-svm-frozen-s1"
"""Baselines of this wdiv, and of one that kept no predictions."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two runs, of which one answers nothing but its first class; two baselines, of which one is of an older wdiv."""
    out = make_store(tmp_path / "store", ("fc", "bn+fc"), (0,), 2, predicted=True)
    run = CheckpointStore.open(out)[ONE]
    given = logits("fc", 0, 2) | {"test": np.tile(np.float32([2, 1, 0]), (9, 1))}
    last = {"predictions": write_predictions(run, 2, 0, given), "test_accuracy": 4 / 9}
    edit_rows(run.path, lambda rows: rows[-1].update(last))
    write_sealed(out / "study.json", read_sealed(out / "study.json") | {"study": STUDY.to_json()})
    images = ImageList("", tuple(f"test/{i}.png" for i in range(9)), LABELS, np.arange(9))
    given_by_svm = Predictions(logits("svm", 0, 0)["test"], images, ("a", "b", "c"), None)
    scores = {
        "classes": ["a", "b", "c"],
        "confusion": [[4, 0, 0], [1, 2, 0], [0, 0, 2]],
        "accuracy": {"value": 8 / 9},
        "level": 0.95,
    }
    trials.save(trials.Outcome(**OUTCOME | {"scores": scores}, id=NOW, seed=0, given=given_by_svm), out)
    trials.save(trials.Outcome(**OUTCOME | {"scores": scores}, id=BEFORE, seed=1), out)
    return out


def wanted(out: Path) -> dict[str, Any]:
    """Run -> its scores, from the logits that were made up."""
    given = {ONE: np.tile([2.0, 1.0, 0.0], (9, 1)), ONE.replace("-fc-", "-bn+fc-"): logits("bn+fc", 0, 2)["test"]}
    found = {run: classification_scores(values, LABELS) for run, values in given.items()}
    return found | {NOW: classification_scores(logits("svm", 0, 0)["test"], LABELS, None)}


def test_results_nc_has_every_figure_and_every_class(store: Path) -> None:
    write_results(store)
    with xr.open_dataset(store / "results.nc") as found:
        assert found["class"].values.tolist() == found["answer"].values.tolist() == ["a", "b", "c"]
        for run, scores in wanted(store).items():
            one = found.sel(run=run)
            for name in FIGURES:
                np.testing.assert_equal(one[name].item(), getattr(scores, name))
            for name in ("recall", "precision", "confusion"):
                np.testing.assert_array_equal(one[name].values, getattr(scores, name))
        assert found.sel(run=BEFORE)["recall"].values.tolist() == [1, 2 / 3, 1]
        assert math.isnan(found.sel(run=BEFORE)["log_loss"])
        only = dict(zip(found["run"].values.tolist(), found["only_answer"].values.tolist(), strict=True))
        assert {run: name for run, name in only.items() if name} == {ONE: "a"}
        assert all(found[name].attrs["long_name"] for name in (*FIGURES, "recall", "precision", "confusion"))


def test_results_csv_has_a_column_a_class_and_lists_as_json(store: Path) -> None:
    write_results(store)
    table = pd.read_csv(store / "results.csv").set_index("run")
    for run, scores in wanted(store).items():
        row = table.loc[run]
        for name in FIGURES:
            np.testing.assert_equal(float(row[name]), getattr(scores, name))
        for name in ("recall", "precision"):
            np.testing.assert_array_equal([row[f"{name}_{one}"] for one in "abc"], getattr(scores, name))
        assert json.loads(row["confusion"]) == scores.confusion.tolist()
        assert json.loads(row["classes"]) == ["a", "b", "c"]
    assert table["only_answer"].dropna().to_dict() == {ONE: "a"}


def test_classes_of_several_data_sets_stand_side_by_side() -> None:
    from studies.grid.results import as_dataset

    row = {"model": "m", "n_train": 5, "strategy": "fc", "bn_mode": "auto", "seed": 0, "source": "s", "epochs": 1}
    row |= {"last": 0.5, "best": 0.5, "best_epoch": 1, "train_loss": 1.0, "seconds": 2.0}
    rows = [
        {"run": name, "dataset": name, **row, **summary.answers(classification_scores(np.eye(2), labels), classes)}
        for name, classes, labels in (("x", ["a", "b"], np.array([0, 1])), ("y", ["b", "c"], np.array([0, 0])))
    ]
    found = as_dataset(pd.DataFrame([*rows, {"run": "z", "dataset": "z", **row, **summary.answers(None, ())}]))
    assert found["class"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(found["recall"], [[1, 1, np.nan], [np.nan, 0.5, np.nan], [np.nan] * 3])
    assert found["confusion"].sel(run="y", answer="c", **{"class": "b"}) == 1


def test_status_tells_it_and_names_who_answers_one_class(store: Path) -> None:
    said = CliRunner().invoke(cli, ["status", str(store)], catch_exceptions=False).stdout
    table = said[said.index("How the test images were answered") :]
    assert max(map(len, table.split("note:")[0].splitlines())) <= 80
    note = f"note: 'a' is all that {ONE} answers: to each of its 9 test images, of which 44.4 % are of that class"
    assert note in said.splitlines()
    assert "The largest class alone is 44.4 % of the test images." in said
    rows = json.loads(CliRunner().invoke(cli, ["status", str(store), "--json"], catch_exceptions=False).stdout)
    told = {row["run"]: row["answered"] for row in rows}
    assert told[ONE]["recall"] == {"a": 1.0, "b": 0.0, "c": 0.0}
    assert told[ONE]["precision"] == {"a": 4 / 9, "b": None, "c": None}
    assert told[ONE]["confusion"] == [[4, 0, 0], [3, 0, 0], [2, 0, 0]]


def test_who_has_not_learned_its_own_images_is_named(store: Path) -> None:
    """In results.csv, results.nc, status and a report; of a run or a baseline of before nothing is said."""
    other = ONE.replace("-fc-", "-bn+fc-")
    fitted = {"fitted_accuracy": 0.5, "n_fitted": 6, "fitted_majority": 1 / 3}
    edit_rows(store / "runs" / ONE, lambda rows: rows[-1].update(fitted))
    edit_rows(store / "runs" / other, lambda rows: rows[-1].update(fitted | {"fitted_accuracy": 1.0}))
    write_results(store)
    table = pd.read_csv(store / "results.csv", keep_default_na=False).set_index("run")
    assert table["trained"].to_dict() == {ONE: "no", other: "yes", NOW: "", BEFORE: ""}
    assert float(table.loc[ONE, "fitted_accuracy"]) == 0.5
    with xr.open_dataset(store / "results.nc") as found:
        assert found["trained"].values.tolist() == table["trained"].tolist()
        assert found["fitted_majority"].sel(run=ONE) == 1 / 3
    said = CliRunner().invoke(cli, ["status", str(store)], catch_exceptions=False).stdout
    (note,) = (line for line in said.splitlines() if line.startswith("note: not trained"))
    assert ONE in note
    assert other not in note
    assert note.removeprefix("note: not ") in as_markdown(gather(store), store)


def test_a_report_names_who_answers_one_class(store: Path) -> None:
    page = as_markdown(gather(store), store)
    assert f"- **Note**: 'a' is all that {ONE} answers: to each of its 9 test images" in page


def test_what_is_damaged_is_named_and_the_rest_told(store: Path) -> None:
    file = file_of(CheckpointStore.open(store)[ONE], 2)
    file.unlink()
    rows = {row["run"]: row for row in answered(store)}
    assert rows[ONE]["problem"] == f"{file}: damaged: no such file"
    assert [run for run, row in rows.items() if row["confusion"]] == [ONE.replace("-fc-", "-bn+fc-"), NOW, BEFORE]
    said = CliRunner().invoke(cli, ["status", str(store)], catch_exceptions=False).stdout
    assert f"note: {file}: damaged: no such file" in said
    assert f"{file}: damaged: no such file." in as_markdown(gather(store), store)
    for kept in (store / "baselines").glob("*.safetensors"):
        kept.unlink()
    table, _ = write_results(store)
    told = table.set_index("run")
    assert told.loc[[ONE, NOW], "confusion"].isna().all()
    assert told["last"].notna().all(), "all else is there"
    assert told.loc[BEFORE, "confusion"] is not None


def test_what_a_grid_came_to_fits_on_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes, BN modes and strategies that differ, and values as wide as they come."""
    scores = summary.answers(
        classification_scores(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 1])), ["inclusion", "scratches", "patches"]
    )
    row = {"model": "resnet50", "dataset": "d", "seeds": 3, "last": 1.0, "low": 0.9287, "high": 1.0, "spread": 0.2013}
    row |= {"best": 1.0, "over_fc": -0.5, "conv": 0.000123, "gamma": 0.000123, "beta": 0.000123, "farthest": "stage4"}
    table = pd.DataFrame([
        {"n_train": size, "bn_mode": mode, "strategy": name, **row, **scores}
        for size in (30, 1740) for mode in ("frozen", "batch") for name in ("fc", "conv+bn+fc")
    ])  # fmt: skip
    table.attrs["metric"] = "relative_l2"
    _show_outcomes(table, "pretrained")
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "92.9 to 100.0" in said


def test_a_store_of_before_tells_nothing_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = make_store(tmp_path / "store", ("fc",), (0,), 1)
    assert answered(out) == []
    assert "answered" not in CliRunner().invoke(cli, ["status", str(out)], catch_exceptions=False).stdout
    table, _ = write_results(out)
    print_answered("title", table.to_dict("records"), ["run"])
    assert capsys.readouterr().out == ""


def test_of_two_classes_the_table_has_what_is_of_two(capsys: pytest.CaptureFixture[str]) -> None:
    scores = classification_scores(np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [4.0, 0.0]]), np.array([0, 0, 1, 1]))
    rows = [{"n_train": 5, "strategy": name, **summary.answers(scores, ["ill", "well"])} for name in ("fc", "bn+fc")]
    print_answered("title", rows, ["n_train", "strategy"])
    said = capsys.readouterr().out
    head = said.splitlines()[2].split()
    assert head == ["strategy", "bal.", "F1", "log", "loss", "calib.", "AUC", "sens.", "spec."]
    assert said.splitlines()[3].split() == ["fc", "75.0", "73.3", "1.127", "33.1", "50.0", "50.0", "100.0"]
    assert "sens., spec.: recall of well and of ill." in said


def test_a_confusion_matrix_of_long_names_is_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    classes = [f"a class with a long name {i}" for i in range(6)]
    labels = np.repeat(np.arange(6), 3)
    scores = classification_scores(np.eye(6)[labels], labels)
    print_confusion(summary.answers(scores, classes))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.splitlines()[3].split() == [
        *["1", "a", "class", "with", "a", "long", "name", "0"],
        "100.0",
        "100.0",
        *"300000",
    ]
