"""What each (run, epoch) is set against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import xarray as xr

from wdiv.errors import BadInput
from wdiv.measure.columns import Cell, Column, kinds_of
from wdiv.measure.flags import Flag
from wdiv.registry import did_you_mean

__all__ = ["FIRST", "STEP", "Reference", "epoch_of_each", "position_of"]


@dataclass(frozen=True)
class Reference:
    """``pretrained``; ``previous`` or ``first``, epochs saved by the run itself; an ``epoch``; or another ``run``.

    at       position of the epoch or of the run.  A ``step`` is ``previous``, the first epoch being its own.
    thinned  of each run, the positions of epochs that it was trained for and that are not kept: what is on either side
             of one did not follow the other, and what comes after the first is not the first
    """

    kind: str
    at: int = -1
    thinned: tuple[frozenset[int], ...] = ()

    @classmethod
    def of(cls, tree: xr.DataTree, reference: str | int) -> Reference:
        """Raises :class:`~wdiv.errors.BadInput` for what the tree does not have."""
        kinds_of(tree)
        root = tree.to_dataset()
        epochs, runs = root["epoch"].values.tolist(), root["run"].values.tolist()
        rows = root["thinned"].values if "thinned" in root else np.zeros((len(runs), 0), dtype=bool)
        gone = tuple(frozenset(np.flatnonzero(row).tolist()) for row in rows)
        if reference in ("pretrained", "previous"):
            return cls(str(reference), thinned=gone)
        if isinstance(reference, str) and reference in runs:
            return cls("run", runs.index(reference), gone)
        if isinstance(reference, int) or str(reference).isdecimal():
            if int(reference) not in epochs:
                raise BadInput(f"reference epoch {reference} is not saved; saved: {epochs[0]} to {epochs[-1]}")
            return cls("epoch", position_of(int(reference), epochs, root["saved"].values, "reference epoch"), gone)
        known = ["pretrained", "previous", *runs]
        raise BadInput(f"reference {reference!r}: an epoch number, or {did_you_mean(reference, known)}")

    @property
    def fixed(self) -> bool:
        """One tensor of each run stands against all of its epochs."""
        return self.kind in ("pretrained", "epoch", "first")

    def able(self, column: Column, saved: np.ndarray, run: int) -> tuple[list[int], Flag]:
        """The run's saved epochs that have a reference, and what the others lack."""
        epochs = np.flatnonzero(saved[run]).tolist()
        if column.complex[run] or (self.kind == "run" and column.complex[self.at]):
            return [], Flag.COMPLEX
        if self.kind == "pretrained":
            return (epochs if column.started[run] else []), Flag.NO_START
        if self.kind == "previous":
            return self._steps(epochs, run), Flag.FIRST_EPOCH
        if self.kind == "step":
            return [*self._first(epochs, run), *self._steps(epochs, run)], Flag.FIRST_EPOCH
        if self.kind == "first":
            return (epochs if self._first(epochs, run) else []), Flag.FIRST_EPOCH
        if self.kind == "epoch":
            return (epochs if saved[run, self.at] else []), Flag.NOT_SAVED
        if self.kind == "run":
            return [epoch for epoch in epochs if saved[self.at, epoch]], Flag.NOT_SAVED
        return epochs, Flag.NOT_SAVED

    def _first(self, epochs: list[int], run: int) -> list[int]:
        """The first of a run's saved epochs; nothing, where one before it is thinned."""
        return [epoch for epoch in epochs[:1] if self.thinned[run].isdisjoint(range(epoch))]

    def _steps(self, epochs: list[int], run: int) -> list[int]:
        """Those of a run's saved epochs that follow another, none between the two being thinned."""
        return [b for a, b in pairwise(epochs) if self.thinned[run].isdisjoint(range(a, b))]

    def still(self, column: Column, run: int) -> bool:
        """Neither side can differ from one epoch to the next."""
        return bool(column.frozen[run]) and (self.kind != "run" or bool(column.frozen[self.at]))

    def select(self, cell: Cell, saved: np.ndarray, run: int, epochs: list[int]) -> xr.Variable:
        """The reference of these epochs of a run, not yet read: (1, …) where it is fixed, else (epochs, …)."""
        if self.kind == "pretrained":
            return cell.start.isel(run=[run])
        if self.kind == "epoch":
            return cell.values.isel(run=run, epoch=[self.at])
        if self.kind == "run":
            return cell.values.isel(run=self.at, epoch=epochs)
        have = np.flatnonzero(saved[run]).tolist()
        if self.kind == "first":
            return cell.values.isel(run=run, epoch=have[:1])
        before = dict(zip(have, [have[0], *have[:-1]], strict=True))
        return cell.values.isel(run=run, epoch=[before[epoch] for epoch in epochs])


STEP = Reference("step")
FIRST = Reference("first")


def epoch_of_each(tree: xr.DataTree, epoch: int | str) -> list[int | None]:
    """Each run's position of an epoch (``last``: its own that counts); None where it has not saved it."""
    kinds_of(tree)
    root = tree.to_dataset()
    epochs, saved = root["epoch"].values.tolist(), root["saved"].values
    if epoch == "last":
        return final_positions(root)
    if not str(epoch).isdecimal() or int(epoch) not in epochs:
        raise BadInput(f"epoch {epoch!r}: 'last', or one of those saved, {epochs[0]} to {epochs[-1]}")
    at = position_of(int(epoch), epochs, saved)
    return [at if row[at] else None for row in saved]


def position_of(epoch: int, epochs: Sequence[int], saved: np.ndarray, what: str = "epoch") -> int:
    """Where an epoch is on its axis; saved: (run, epoch).

    Raises :class:`~wdiv.errors.BadInput` where no run has it, and names those nearest to it that one has.
    """
    at = list(epochs).index(epoch)
    if saved[:, at].any():
        return at
    there = np.array(epochs)[saved.any(axis=0)].tolist()
    if not there:
        return at
    near = sorted(sorted(there, key=lambda other: abs(other - epoch))[:2])
    raise BadInput(f"{what} {epoch} is thinned, no run has kept it; nearest to it are {' and '.join(map(str, near))}")


def final_positions(root: xr.Dataset) -> list[int | None]:
    """Each run's position of the epoch that counts: of a tree saved by an older wdiv, the last that it has."""
    if "final" in root.coords:
        epochs = root["epoch"].values.tolist()
        return [epochs.index(number) for number in root["final"].values.tolist()]
    return [int(np.flatnonzero(row)[-1]) if row.any() else None for row in root["saved"].values]
