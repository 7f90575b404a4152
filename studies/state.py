"""How far a store's runs are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wdiv.errors import BadStore
from wdiv.store.files import read_json
from wdiv.store.reader import Run
from wdiv.store.writer import is_being_written

__all__ = ["State", "states"]


@dataclass(frozen=True)
class State:
    """state: ``finished``, ``running``, ``stopped`` (goes on when the study is run again) or ``waiting``."""

    run: str
    state: str
    epoch: int | None = None
    of: int | None = None
    last: float | None = None
    best: float | None = None
    seconds: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def states(store: Path) -> list[State]:
    """The state of every run of a study, in the study's order; then of runs that are there besides."""
    if not store.is_dir():
        raise BadStore(f"{store}: no such folder")
    there = {file.parent.name: Run(file.parent) for file in sorted(store.glob("runs/*/run.json"))}
    planned = read_json(store / "study.json")["runs"] if (store / "study.json").exists() else []
    if not there and not planned:
        raise BadStore(f"{store}: not a wdiv store; it has neither study.json nor runs")
    names = dict.fromkeys([*planned, *there])
    return [_state(there[name]) if name in there else State(name, "waiting") for name in names]


def _state(run: Run) -> State:
    rows = run.history()
    name = "finished" if run.finished else "running" if is_being_written(run) else "stopped"
    of = int(run.record.recipe["epochs"])
    if not rows:
        return State(run.path.name, name, None, of)
    accuracies = [row["test_accuracy"] for row in rows if row.get("test_accuracy") is not None]  # of an import: none
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return State(
        run.path.name, name, rows[-1]["epoch"], of, rows[-1].get("test_accuracy"),
        max(accuracies, default=None), round(sum(seconds), 1) if seconds else None,
    )  # fmt: skip
