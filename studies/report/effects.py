"""Mean differences of a claim's pairs: over cells, within them, and between them; each with how sure it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.report.pairing import Pairs
from wdiv.numerics.comparison import Effect, crossed_effect, unpaired_effect
from wdiv.numerics.incomplete import unit_numbers

__all__ = ["Answers", "Design", "Weights"]

Answers = Mapping[tuple[str, str], tuple[str, NDArray[np.float64]]]
"""Run, by its condition and its name -> which test images it was asked about, and which it got right, 0 or 1."""
Weights = NDArray[np.float64]
"""One a row of a :class:`Design`; they make of its differences the one number a unit that is tested."""
RANDOM = "random"
"""The source of what starts from random weights, which each seed draws anew."""


@dataclass(frozen=True, eq=False)
class Design:
    """A claim's differences: a row for each cell and pair of the sides' values, a column for each unit.

    rows     the keys of its cells, ``left`` and ``right``, as in :class:`~studies.report.pairing.Pairs`
    values   (rows, units), NaN where there is none
    parts    (rows, units): the runs that each is made of
    units    what was drawn anew: seeds; or, where the sides start from different source networks, pairs of those
    sources  whether units are pairs of sources
    """

    rows: pd.DataFrame
    values: NDArray[np.float64]
    parts: NDArray[np.object_]
    units: tuple[tuple[int, ...], ...]
    sources: bool

    @classmethod
    def of(cls, pairs: Pairs) -> Design:
        table, sources = _numbered(pairs)
        columns = ["source", "source_other"] if sources else ["seed"]
        keys = [*pairs.keys, "left", "right"]
        rows = table[keys].drop_duplicates(ignore_index=True)
        units = table[columns].drop_duplicates().sort_values(columns)
        row_of = table[keys].merge(rows.assign(_row=range(len(rows))), on=keys, how="left")["_row"]
        unit_of = table[columns].merge(units.assign(_unit=range(len(units))), on=columns, how="left")["_unit"]
        values = np.full((len(rows), len(units)), np.nan)
        parts = np.full(values.shape, None, dtype=object)
        for place, group in table.groupby([row_of.to_numpy(), unit_of.to_numpy()]):
            values[place] = group["difference"].mean()
            share = 1.0 / len(group)
            parts[place] = tuple((run, share * weight) for one in group["parts"] for run, weight in one)
        return cls(rows, values, parts, tuple(units.itertuples(index=False, name=None)), sources)

    def cells(self, axes: Sequence[str]) -> dict[tuple[str, ...], NDArray[np.bool_]]:
        """The values of some keys -> the rows that are of them, in order; all rows where there are no keys."""
        cells = list(zip(*(self.rows[axis] for axis in axes), strict=True)) or [()] * len(self.rows)
        return {cell: np.array([one == cell for one in cells]) for cell in dict.fromkeys(cells)}

    @property
    def keys(self) -> list[str]:
        """Columns of its rows that tell its cells."""
        return [name for name in self.rows if name not in ("left", "right")]

    @cached_property
    def sides(self) -> NDArray[np.int64]:
        """(rows, 2): which value of the left side, and which of the right one."""
        return self.rows[["left", "right"]].to_numpy(dtype="int64")

    @cached_property
    def paired(self) -> bool:
        """True if each unit is a draw of its own; False where a source of one side meets several of the other."""
        return not self.sources or all(len(set(side)) == len(side) for side in zip(*self.units, strict=True))

    def where(self, rows: NDArray[np.bool_]) -> Design:
        """Some of its rows, and the units that they have."""
        kept = np.flatnonzero(np.isfinite(self.values[rows]).any(axis=0))
        units = tuple(self.units[unit] for unit in kept)
        return Design(
            self.rows[rows].reset_index(drop=True), self.values[rows][:, kept], self.parts[rows][:, kept], units,
            self.sources,
        )  # fmt: skip

    def effect(self, weights: Weights, answers: Answers | None = None) -> Effect:
        """The mean over units of the weighted sum of the rows of each, what is missing made of the others
        (:func:`~wdiv.numerics.incomplete.unit_numbers`); and for other test images, where answers of all are known."""
        kept = self.where(weights != 0)
        weights = weights[weights != 0]
        numbers, unseen = unit_numbers(kept.values, weights)
        if not kept.paired:
            return _of_sources(kept.units, numbers)
        return crossed_effect(numbers, list(kept.answered(weights, answers or {}).values()), unseen)

    def answered(self, weights: Weights, answers: Answers) -> dict[str, NDArray[np.float64]]:
        """Set of test images -> (units, images), what each adds to the unit's number. Empty where one run's answers are
        not known, and where units are not draws of their own."""
        found: dict[str, NDArray[np.float64]] = {}
        if not self.paired:
            return found
        for row, unit in np.argwhere(np.isfinite(self.values)):
            for run, share in self.parts[row, unit]:
                if run not in answers:
                    return {}
                images, right = answers[run]
                table = found.setdefault(images, np.zeros((len(self.units), len(right))))
                table[unit] += weights[row] * share * right
        lacking = ~np.isfinite(self.values)
        for row, unit in np.argwhere(lacking):  # as on average over the units that the row has
            known = np.flatnonzero(~lacking[row])
            for run, share in (part for other in known for part in self.parts[row, other]):
                images, right = answers[run]
                found[images][unit] += weights[row] * share * right / len(known)
        return found


def _numbered(pairs: Pairs) -> tuple[pd.DataFrame, bool]:
    """The pairs, their sources numbered within each network, and whether those are what was drawn: both sides start
    from some, and from different ones. A source of each network by one number makes one draw."""
    table = pairs.table
    random = table[["source", "source_other"]].eq(RANDOM).any(axis=1)
    if not ((table["source"] != table["source_other"]) & ~random).all():
        return table, False
    network = [name for name in ("model",) if name in pairs.keys]
    numbers = {
        name: table.groupby([*network, side])[name].rank(method="dense").astype(int)
        for name, side in (("source", "left"), ("source_other", "right"))
    }
    return table.assign(**numbers), True


def _of_sources(units: Sequence[tuple[int, ...]], numbers: NDArray[np.float64]) -> Effect:
    """Where each source on one side meets several of the other, and sources are what was drawn: of two samples."""
    table = pd.DataFrame(list(units), columns=["left", "right"]).assign(number=numbers)
    left = table.groupby("left")["number"].mean()
    right = left.mean() - table.groupby("right")["number"].mean()
    return unpaired_effect(left.to_numpy(), right.to_numpy())
