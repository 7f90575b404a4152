"""A store that is open sees what is written after it was opened, and reads nothing twice that has not changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fabric import edit_record, make_store, shorten
from tests.opening import opened
from wdiv.errors import BadInput, BadStore
from wdiv.store.files import write_atomically
from wdiv.store.reader import CheckpointStore

FC, BN = "toynet-toy-n2-fc-auto-s0", "toynet-toy-n2-bn+fc-auto-s0"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", ("fc", "bn+fc"), (0,), 3)


def test_each_file_is_read_once(full: Path) -> None:
    store = CheckpointStore.open(full)
    with opened() as counts:
        for _ in range(3):
            for run in CheckpointStore.open(store):
                assert (run.record.id, run.epochs(), run.finished, run.final) == (run.path.name, [0, 1, 2, 3], True, 3)
            assert list(store.by_label()) == ["toynet"]
            assert store[FC].path.name == FC
    assert {count for file, count in counts.items() if file.is_file()} == {1}


def test_an_epoch_that_ends_is_seen(full: Path) -> None:
    whole = (full / "runs" / FC / "history.jsonl").read_text()
    files = {file.name: file.read_bytes() for file in (full / "runs" / FC / "epochs").iterdir()}
    shorten(full, FC, 1)
    run = CheckpointStore.open(full)[FC]
    assert run.epochs() == [0, 1]
    for name, data in files.items():
        (run.path / "epochs" / name).write_bytes(data)
    write_atomically(full / "runs" / FC / "history.jsonl", lambda temporary: temporary.write_text(whole))
    assert (run.epochs(), run.finished) == ([0, 1, 2, 3], True)


def test_what_a_caller_does_to_a_row_is_not_seen_by_others(full: Path) -> None:
    run = CheckpointStore.open(full)[FC]
    run.history()[0]["epoch"] = 7
    run.history().clear()
    assert run.epochs() == [0, 1, 2, 3]


def test_a_run_that_begins_one_that_goes_and_one_that_is_made_anew(full: Path) -> None:
    store = CheckpointStore.open(full)
    before = {run.path.name: run for run in store}
    assert store[FC] is before[FC], "what is read stays read"
    make_store(full, ("conv+fc",), (0,), 3)
    os.rename(full / "runs" / BN, full / "gone")
    edit_record(full / "runs" / FC, lambda record: record.update(seed=8))
    assert {run.path.name: run.record.seed for run in store} == {FC: 8, "toynet-toy-n2-conv+fc-auto-s0": 0}
    with pytest.raises(BadInput, match="no run 'toynet-toy-n2-bn"):
        store[BN]


def test_what_is_damaged_is_told_each_time(full: Path) -> None:
    run = CheckpointStore.open(full)[FC]
    (full / "runs" / FC / "history.jsonl").write_text("{")
    for _ in range(2):
        with pytest.raises(BadStore, match=r"history\.jsonl: damaged"):
            run.history()
    (full / "runs" / FC / "history.jsonl").unlink()
    assert run.history() == []
