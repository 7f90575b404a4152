"""Runs of a grid that came to nothing, while the others went on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wdiv.errors import Damaged, WdivError
from wdiv.store.reader import CheckpointStore
from wdiv.tuning.training.loop import Diverged

__all__ = ["OF_ONE_RUN", "Failure", "in_words", "with_damaged"]

OF_ONE_RUN = (Diverged, Damaged)
"""Errors that end a run, and not the grid."""


@dataclass(frozen=True)
class Failure:
    """A run's name, and what is wrong with it."""

    run: str
    error: WdivError

    def __str__(self) -> str:
        return f"{self.run}: {self.error}"

    @property
    def what(self) -> str:
        """What was done about it."""
        return "stopped" if isinstance(self.error, Diverged) else "left out"


def with_damaged(failures: Sequence[Failure], opened: Mapping[str, CheckpointStore]) -> list[Failure]:
    """And the runs that were found damaged since, when they were read. opened: condition -> its store."""
    found = {one.run: one for one in failures}
    for condition, store in opened.items():
        for name, error in store.damaged.items():
            run = "/".join(filter(None, (condition, name)))
            found.setdefault(run, Failure(run, error))
    return list(found.values())


def in_words(failures: Sequence[Failure], out: Path) -> str:
    """What a command says at its end.

    >>> in_words([Failure("a", Diverged("the loss is nan")), Failure("b", Damaged(Path("b/run.json")))], Path("runs/x"))
    "1 of the runs diverged: a: the loss is nan. 1 of the runs left out: b: b/run.json: damaged: not what was written; \
'wdiv verify runs/x --repair' makes again what can be"
    """
    diverged = [str(one) for one in failures if isinstance(one.error, Diverged)]
    others = [str(one) for one in failures if not isinstance(one.error, Diverged)]
    told = []
    if diverged:
        told.append(f"{len(diverged)} of the runs diverged: " + "; ".join(diverged))
    if others:
        hint = f"'wdiv verify {out} --repair' makes again what can be"
        told.append(f"{len(others)} of the runs left out: " + "; ".join([*others, hint]))
    return ". ".join(told)
