"""What run.json says of a run; and what is known of runs whose run.json was written before it said that."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fabric import base_state, run_record
from wdiv.errors import BadStore
from wdiv.store.record import RunRecord


def written(**changes: Any) -> dict[str, Any]:
    record = replace(run_record("bn+fc", 3, 2, "0" * 64, base_state(), size=20), **changes)
    found: dict[str, Any] = json.loads(json.dumps(record.to_json()))
    return found


def test_what_was_written_comes_back() -> None:
    record = run_record("bn+fc", 3, 2, "0" * 64, base_state(), size=20)
    assert RunRecord.from_json(written(), "run.json") == record


@pytest.mark.parametrize("size", [None, 7])
def test_nothing_is_read_off_a_name(size: int | None) -> None:
    told = written(per_class=size)
    assert "-n20-" in told["id"]
    assert RunRecord.from_json(told, "run.json").per_class == size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("toynet-toy-n20-bn+fc-auto-s3", 20),
        ("toynet-toy-all-bn+fc-auto-s3", None),
        ("somebody's run", None),
        ("toynet-toy-n20-bn+fc-auto-s4", None),
    ],
)
def test_of_a_run_of_before_the_name_is_all_there_is(name: str, size: int | None) -> None:
    told = written(id=name)
    del told["per_class"]
    assert RunRecord.from_json(told, "run.json").per_class == size


def test_what_is_no_record_is_one_line() -> None:
    for told in ([], {}, written() | {"format": 3}):
        with pytest.raises(BadStore, match="this wdiv reads formats 1 to 2"):
            RunRecord.from_json(told, Path("run.json"))  # type: ignore[arg-type]
    told = written()
    del told["table"], told["seed"]
    with pytest.raises(BadStore, match=r"run\.json: lacks seed, table"):
        RunRecord.from_json(told, Path("run.json"))
