"""A store that an earlier wdiv made (:mod:`tests.studies.before.make`) opens, verifies, measures, reports, goes on."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import wdiv
from studies.grid.results import results
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.grid.study_file import read_study
from studies.report.finish import conclude
from studies.report.observations import observe
from studies.spec.study import override
from tests.studies.before.make import METRICS, MORE, WEIGHTS
from tests.tuning.tiny import contents
from wdiv import summary
from wdiv.errors import BadInput

ARCHIVE = Path(__file__).parent / "before" / "store.tar.xz"


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the wdiv of then made of the store, which is in the folder ``store``, beside the weights of its runs."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    (base,) = Path("store/bases").iterdir()
    shutil.copy(base, WEIGHTS)
    found: dict[str, Any] = json.loads(Path("expected.json").read_text())
    return found


def moved(store: Path) -> dict[str, dict[str, float]]:
    """Metric -> run and kind of tensor -> how far it moved from its start, mean over the layers."""
    div = wdiv.measured(store, METRICS, 0)
    tables = {name: summary.layers(div, name).dropna(subset="value") for name in METRICS}
    means = {name: table.groupby(["run", "kind", "role"])["value"].mean() for name, table in tables.items()}
    return {
        name: {f"{run} {kind}:{role}": value for (run, kind, role), value in mean.items()}
        for name, mean in means.items()
    }


def holds(store: Path, expected: dict[str, Any]) -> None:
    """All but how far the runs moved."""
    assert {state.run: [state.state, state.epoch, state.last] for state in states(store)} == expected["states"]
    assert [[one.run, list(one.problems)] for one in wdiv.verify(store)] == expected["verified"]
    stopped = {run for run, (state, *_) in expected["states"].items() if state != "finished"}
    for columns, table, told in (
        (["run", "n_train", "strategy", "seed", "last"], results(store), expected["results"]),
        (["run", "per_class", "measure", "layers", "part"], observe({"": store}), expected["observed"]),
    ):
        assert table[columns].to_dict("records") == [row for row in told if row["run"] not in stopped]


def test_it_says_what_it_said(before: dict[str, Any]) -> None:
    holds(Path("store"), before["stopped"])
    assert all(not problems for _, problems in before["stopped"]["verified"])
    for _ in range(2):  # measured, and kept
        found = moved(Path("store"))
        for name in METRICS:
            assert found[name] == pytest.approx(before["stopped"]["moved"][name], rel=1e-9, abs=1e-15)


def test_it_is_reported(before: dict[str, Any]) -> None:
    table, files = conclude(read_study(Path("store")), Path("store"))
    assert table["strategy"].tolist() == ["fc", "bn@stage3+fc", "ncm@bottleneck"]
    assert {file.name for file in files} >= {"measures.nc", "results.csv", "report.md"}
    page = Path("store/report/report.md").read_text()
    assert "Tuning BN beats the classifier alone." in page
    assert "1 of 3 runs" in page


def test_it_goes_on_and_ends_as_it_would_have(before: dict[str, Any]) -> None:
    """The run that was stopped in the middle of an epoch; what is finished stays as it is, byte for byte."""
    store = Path("store")
    stopped = next(run for run, (state, *_) in before["stopped"]["states"].items() if state == "stopped")
    old = {file: file.read_bytes() for file in store.rglob("*") if file.is_file() and file.suffix != ".pt"}
    run_grid(override(read_study(store), MORE), store, device="cpu")
    new = {file for file, content in old.items() if file.read_bytes() != content}
    assert new <= {store / "study.json", *(store / "runs" / stopped / name for name in ("history.jsonl", "run.json"))}
    assert {state.run: state.state for state in states(store)} == {
        run: state for run, (state, *_) in before["whole"]["states"].items()
    }
    assert [run for run, problems in ((one.run, one.problems) for one in wdiv.verify(store)) if problems] == []
    found = moved(store)
    for name in METRICS:  # of another processor, the last bits of a training step are others
        assert found[name] == pytest.approx(before["whole"]["moved"][name], rel=0.02, abs=1e-9)


def test_it_does_not_go_on_with_other_weights_or_images(before: dict[str, Any]) -> None:
    """Nor beside them: its starting weights are named by their digest, and the images' is in each record."""
    store, stopped = (
        Path("store"),
        next(run for run, (state, *_) in before["stopped"]["states"].items() if state != "finished"),
    )
    study = override(read_study(store), MORE)
    there = contents(store)
    own = Path(WEIGHTS).read_bytes()
    tensors = {key: value + 1 if value.is_floating_point() else value for key, value in load_file(WEIGHTS).items()}
    save_file(tensors, WEIGHTS)
    for again in (study, override(study, {"seeds": [7]})):
        with pytest.raises(BadInput, match="SHA-256 of its starting weights"):
            run_grid(again, store, device="cpu")
    Path(WEIGHTS).write_bytes(own)
    assert contents(store) == there
    for record in store.glob("runs/*/run.json"):
        record.write_text(json.dumps(json.loads(record.read_text()) | {"data_digest": ""}))
    there = contents(store)
    for again in (study, override(study, {"seeds": [7]})):
        with pytest.raises(BadInput, match=r"SHA-256 of its images.*not known, now"):
            run_grid(again, store, device="cpu")
    assert contents(store) == there
    assert [state.state for state in states(store) if state.run == stopped] == ["stopped"]
    assert len(observe({"": store})), "it is shown"
