"""What becomes of a claim, as records: over all its cells, and in each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from studies.report.words import cells_in_words
from studies.spec.claim import Claim
from studies.spec.columns import ACCURACIES

__all__ = ["DEPENDS", "FAILS", "HOLDS", "NOT_DECIDED", "Cell", "Finding", "Verdict", "p_in_words"]

HOLDS = "holds"
FAILS = "fails"
DEPENDS = "depends"
NOT_DECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found of a claim.

    verdict    ``holds``, ``fails``, or ``not decided``, and then the reason
    effect     left less right; of a ratio, left / right, the geometric mean. Where a side has several values and the
               claim is about one of them, it is of that one: of the best, or of the one that fits the claim least;
               likewise of cells, where it is about each or most of them
    low, high  95 % interval of the effect, for other seeds (or sources) and, if ``images``, for other test images.
               Where one of several values decides, it allows for which it is
    p, q       of the test, two-sided but for ``same``, and adjusted for all that was tested with it; NaN if not tested
    seeds      that were compared;  sources: pairs of source networks, where those are what was drawn, else 0
    images     test images that the interval and the test allow for others than; 0: they are about these images
    pairs      cells and seeds that were compared; agreeing: those that come out as claimed, each for itself
    left_out   values that are missing, infinite, or for a ratio not above 0
    smallest   the effect that would have been decided here in 4 of 5 cases; for ``same``, the margin, were they equal
    needed     seeds (or sources) that would decide the effect as found in 4 of 5 cases; None where 1,000 would not
    mcnemar    p of McNemar's test of the two sides' answers to the same images, these runs being what they are
    """

    verdict: str = NOT_DECIDED
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    q: float = math.nan
    seeds: int = 0
    sources: int = 0
    images: int = 0
    pairs: int = 0
    agreeing: int = 0
    left_out: int = 0
    smallest: float = math.nan
    needed: int | None = None
    mcnemar: float = math.nan
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON has it; what is not known is None."""
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in known.items()}


@dataclass(frozen=True, kw_only=True)
class Cell(Finding):
    """A finding where all that a claim does not name is one thing. ``where``: column -> value, of those that vary."""

    where: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return self.plain() | {"where": dict(self.where)}


@dataclass(frozen=True, kw_only=True)
class Verdict(Finding):
    """What became of a claim: over its cells, and in each of them.

    verdict  also ``depends``: it holds in some cells and fails in others
    cells    in each; none where there is one
    differ   the column along which cells differ most, or two, joined by ``and``;  differ_q: of the test that they do,
             adjusted for those of all claims. Empty and NaN where there is nothing to differ
    notes    what else must be known to read it
    """

    claim: Claim
    cells: tuple[Cell, ...] = ()
    differ: str = ""
    differ_q: float = math.nan
    notes: tuple[str, ...] = ()

    @property
    def in_words(self) -> str:
        """The effect, and how many pairs agree: ``+1.0 points, 5 of 6 pairs`` or ``×13, 18 of 18 pairs``."""
        if not self.pairs:
            return self.reason
        return f"{self.spelled(self.effect)}, {self.agreeing} of {self.pairs} pair{'' if self.pairs == 1 else 's'}"

    @property
    def in_cells(self) -> str:
        """In which cells it is what; empty where there are none."""
        return cells_in_words([(cell.where, cell.verdict) for cell in self.cells])

    def spelled(self, effect: float, sign: bool = True) -> str:
        """A number on the claim's scale: ``+1.0 points``, ``×13``."""
        if self.claim.scale == "ratio":
            return f"×{effect:.3g}"
        if set(self.claim.side("left")["measure"]) <= set(ACCURACIES):
            return f"{100 * effect:{'+' if sign else ''}.1f} points"
        return f"{effect:{'+' if sign else ''}.3g}"

    def to_json(self) -> dict[str, Any]:
        """The claim by its name."""
        cells = [cell.to_json() for cell in self.cells]
        return self.plain() | {
            "claim": self.claim.name, "cells": cells, "notes": list(self.notes), "in_words": self.in_words,
            "in_cells": self.in_cells,
        }  # fmt: skip


def p_in_words(value: float | None) -> str:
    """A p or q value; empty where there is none.

    >>> p_in_words(0.0213), p_in_words(1e-5), p_in_words(None), p_in_words(float("nan"))
    ('0.021', '<0.001', '', '')
    """
    if value is None or math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
