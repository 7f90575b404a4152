"""What lies about in a store's folder, and what others do to it at the same time, ends nothing and loses nothing."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from baselines import trials
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.grid.study_file import read_study_json, update_study_json
from studies.spec.study import Study
from tests.fabric import make_store
from tests.studies.cli.test_cli import wdiv
from wdiv.cache import formats, pairs
from wdiv.cache.pairs import measured_pairs
from wdiv.measure import divergence
from wdiv.store.engine import open_store
from wdiv.tuning.training.run_spec import run_id

FC, BN, FC1 = (f"toynet-toy-n2-{name}" for name in ("fc-auto-s0", "bn+fc-auto-s0", "fc-auto-s1"))


def test_files_that_a_desktop_leaves_everywhere(trained: Path, small: Study) -> None:
    (trained / "baselines").mkdir()
    for folder in (trained, *(trained / name for name in ("runs", "baselines", "bases"))):
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "._x.json").write_bytes(b"\0\5\26\7")
        (folder / "desktop.ini").write_text("[.ShellClassInfo]")
    run_grid(small, trained, device="cpu")
    assert {state.state for state in states(trained)} == {"finished"}
    assert trials.load(trained) == []
    for command in ("status", "verify", "measure", "report"):
        assert wdiv(command, trained).exit_code == 0, command


def test_a_folder_s_name_is_no_longer_than_file_systems_take() -> None:
    names = [
        run_id(f"net:{'x' * 300}", "d" * 300, 5, strategy, "auto", seed)
        for strategy in ("fc", "all")
        for seed in (0, 1)
    ]
    assert len(set(names)) == 4
    assert all(len(f".{name}.json.4194304.tmp".encode()) <= 255 for name in names)
    assert [name[-3:] for name in names] == ["-s0", "-s1"] * 2
    assert len(run_id("é" * 300, "d", 5, "fc", "auto", 0).encode()) <= 220


def test_of_studies_that_are_written_at_once_none_is_lost(tmp_path: Path) -> None:
    def add(number: int) -> None:
        update_study_json(tmp_path, lambda: {"runs": [*read_study_json(tmp_path)["runs"], f"run-{number}"]})

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, range(24)))
    assert sorted(read_study_json(tmp_path)["runs"]) == sorted(f"run-{number}" for number in range(24))


def test_what_a_kill_left_is_cleared_and_what_others_write_is_not(trained: Path, small: Study) -> None:
    dead = 2**22 + 1  # more than Linux gives out
    left = [trained / f".study.json.{dead}.tmp", trained / "bases" / f".x.safetensors.{dead}.tmp"]
    alive = trained / f".results.csv.{os.getppid()}.tmp"
    for file in (*left, alive):
        file.write_bytes(b"half")
    run_grid(small, trained, device="cpu")
    assert [file.exists() for file in (*left, alive)] == [False, False, True]


def test_pairs_that_were_not_asked_for_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, counted = make_store(tmp_path / "store"), []
    real = pairs._measure
    monkeypatch.setattr(
        pairs, "_measure", lambda tree, some, names: counted.append(list(some)) or real(tree, some, names)
    )
    first = measured_pairs(store, [(FC, BN)], "l2")
    measured_pairs(store, [(FC, FC1)], "l2")
    assert measured_pairs(store, [(FC, BN)], "l2").identical(first)
    assert counted == [[(FC, BN)], [(FC, FC1)]]
    both = measured_pairs(store, [(FC, BN)], ["l2", "mean_abs"])
    assert both["bn/l2"].identical(first["bn/l2"])
    assert len(counted) == 3


def test_a_result_that_cannot_be_put_in_place_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = make_store(tmp_path / "store"), tmp_path / "found.zarr"
    formats.save(divergence(open_store(store), "l2"), out)
    before = formats.load(out)
    monkeypatch.setattr(formats.os, "replace", _refuse)
    with pytest.raises(OSError, match="no"):
        formats.save(divergence(open_store(store), "mean_abs"), out)
    monkeypatch.undo()
    assert formats.load(out).identical(before)
    assert [path.name for path in tmp_path.iterdir() if path.name != "store"] == ["found.zarr"]


def _refuse(*_: object) -> None:
    raise OSError("no")


@pytest.mark.filterwarnings("ignore::wdiv.errors.LeftOut")
@pytest.mark.parametrize("what", ["no record", "a folder"])
def test_a_run_that_nobody_can_read_ends_nothing(trained: Path, small: Study, what: str) -> None:
    """A record that is none beside no history; a history that cannot be read."""
    if what == "no record":
        (trained / "runs" / "y").mkdir()
        (trained / "runs" / "y" / "run.json").write_text("hi")
        lost = "y"
    else:
        first = sorted((trained / "runs").iterdir())[0]
        (first / "history.jsonl").unlink()
        (first / "history.jsonl").mkdir()
        lost = first.name
    run_grid(small, trained, device="cpu")
    for command in ("status", "measure", "report"):
        done = wdiv(command, trained)
        assert f"{lost} is left out" in done.stderr or command == "status", command
    assert lost in wdiv("verify", trained, code=2).stderr
