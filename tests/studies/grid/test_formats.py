"""Every file of a store says its format: one without a number is of before there were any, a later one is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from baselines import trials
from studies.grid import domain_distance
from studies.grid.domain_distance import Distance
from studies.grid.state import states
from studies.grid.study_file import read_study, write_study_json
from studies.spec.study import Study
from tests.fabric import make_store
from tests.studies.report.test_reading import OUTCOME
from wdiv.errors import BadStore, LeftOut
from wdiv.store.engine import open_store
from wdiv.store.seals import read_sealed, write_sealed

DISTANCE = Distance("toynet", "toy", "toy", 2, 0, 6, 6, "", "", "", 1.0, 0.5)
READ: dict[str, Callable[[Path], Any]] = {
    "study.json": lambda out: (read_study(out), states(out)),
    "baselines/x.json": trials.load,
    "distance.json": domain_distance.load,
    "runs/toynet-toy-n2-fc-auto-s0/run.json": lambda out: open_store(out).attrs,
}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of this wdiv with one of each file."""
    out = make_store(tmp_path / "store", ("fc",), (0,), 1)
    write_study_json(out, {"study": Study("toy").to_json()})
    trials.save(trials.Outcome(**OUTCOME, id="x", seed=0), out)
    write_sealed(out / "distance.json", {"format": 2, "distances": [asdict(DISTANCE)]})
    return out


def say(file: Path, number: Any) -> None:
    told = read_sealed(file)
    assert told.pop("format") == 2
    file.write_text(json.dumps(told if number is None else {"format": number, **told}))


@pytest.mark.parametrize("name", READ)
def test_a_later_one_is_refused_in_one_line(store: Path, name: str) -> None:
    READ[name](store)
    say(store / name, 3)
    with pytest.warns(LeftOut) if "runs" in name else nullcontext(), pytest.raises(BadStore) as error:
        READ[name](store)
    assert str(error.value) == f"{store / name}: written in format 3; this wdiv reads formats 1 to 2"


@pytest.mark.parametrize("name", list(READ)[:3])
def test_without_a_number_it_is_read_as_before(store: Path, name: str) -> None:
    now = READ[name](store)
    say(store / name, None)
    assert READ[name](store) == now
