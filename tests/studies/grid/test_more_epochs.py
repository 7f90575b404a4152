"""A store of so many epochs, asked for more: it goes on, or says why not, and is one store afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from studies.cli import cli
from studies.grid import runner
from studies.grid.runner import run_grid
from studies.grid.study_file import read_study
from studies.report.finish import finish
from studies.spec.study import Study, override
from tests.tuning.tiny import contents
from wdiv.errors import BadInput
from wdiv.store.reader import CheckpointStore
from wdiv.store.verify import verify


def epochs(out: Path) -> list[tuple[int, int | None]]:
    return [(run.record.recipe["epochs"], run.final) for run in CheckpointStore.open(out)]


def test_a_store_goes_on_and_is_the_longer_one(toml: Path, small: Study, tmp_path: Path) -> None:
    run_grid(override(small, {"epochs": 3}), tmp_path / "whole", device="cpu")
    finish(tmp_path / "whole", small.metrics, small.reference)
    out, invoke = tmp_path / "out", CliRunner().invoke
    assert invoke(cli, ["run", str(toml), "--out", str(out), "--device", "cpu"]).exit_code == 0
    plan = invoke(cli, ["run", str(toml), "--out", str(out), "--epochs", "3", "--dry-run", "--json"])
    told = json.loads(plan.stdout)
    assert (len(told["runs"]), told["finished"]) == (2, 0)
    assert sum("goes on after epoch 2; until it is over epoch 2 counts" in note for note in told["notes"]) == 2
    longer = invoke(cli, ["run", str(toml), "--out", str(out), "--epochs", "3", "--device", "cpu"])
    assert (longer.exit_code, longer.output.count("goes on after epoch 2")) == (0, 2), longer.output
    assert epochs(out) == [(3, 3), (3, 3)]
    assert read_study(out).epochs == 3
    runs = lambda folder: {name: data for name, data in contents(folder).items() if name.startswith("runs")}  # noqa: E731
    assert runs(out) == runs(tmp_path / "whole")
    tables = [pd.read_csv(folder / "results.csv").drop(columns="seconds") for folder in (out, tmp_path / "whole")]
    pd.testing.assert_frame_equal(*tables)
    again = invoke(cli, ["run", str(toml), "--out", str(out), "--device", "cpu"])
    assert (again.exit_code, "epochs 3, now 2; give another --out" in again.output) == (2, True), "it is one of 3 now"


def test_interrupted_between_two_runs_all_count_and_the_same_command_goes_on(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, longer = tmp_path / "out", override(small, {"epochs": 3})
    run_grid(small, out, device="cpu")
    train, left = runner.fine_tune, [1]

    def one(*given: Any, **how: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return train(*given, **how)

    with monkeypatch.context() as patched:
        patched.setattr(runner, "fine_tune", one)
        with pytest.raises(KeyboardInterrupt):
            run_grid(longer, out, device="cpu")
    assert sorted(epochs(out)) == [(2, 2), (3, 3)]
    table, _ = finish(out, small.metrics, small.reference)
    assert len(table) == 2
    assert [one.problems for one in verify(out)] == [(), ()]
    run_grid(longer, out, device="cpu")
    assert epochs(out) == [(3, 3), (3, 3)]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ({"schedule": "cosine"}, {"schedule": "cosine"}, "schedule 'cosine' is spread over all epochs"),
        ({"keep": "first,last"}, {}, "is kept with keep 'all' or 'resume' alone"),
        ({"steps": 6}, {"steps": 6}, "is 3 steps, and now would be another; give --epochs with --steps 9"),
        ({}, {"strategies": ["fc"]}, "all its runs go on together; give strategies 'bn+fc' too"),
    ],
    ids=str,
)  # fmt: skip
def test_where_it_cannot_nothing_is_written(
    before: dict[str, Any], now: dict[str, Any], words: str, small: Study, tmp_path: Path
) -> None:
    run_grid(override(small, before), tmp_path, device="cpu")
    held = contents(tmp_path)
    with pytest.raises(BadInput) as caught:
        run_grid(override(small, {**now, "epochs": 3}), tmp_path, device="cpu")
    assert words in str(caught.value)
    assert contents(tmp_path) == held


def test_equal_steps_go_on_where_steps_and_epochs_agree(small: Study, tmp_path: Path) -> None:
    run_grid(override(small, {"steps": 6}), tmp_path, device="cpu")
    run_grid(override(small, {"steps": 9, "epochs": 3}), tmp_path, device="cpu")
    assert epochs(tmp_path) == [(3, 3), (3, 3)]
    assert all(row["steps"] == 3 for run in CheckpointStore.open(tmp_path) for row in run.history()[1:])
