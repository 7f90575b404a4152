"""What a claim says of several differences at once: that each is above 0, or some are, or that each is small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from studies.spec.claim import Claim
from wdiv.numerics.comparison import Effect

__all__ = ["Above", "Members", "Statement", "Within", "of_claim"]

LEVEL = 0.95


@dataclass(frozen=True)
class Above:
    """That a difference is above 0, times ``sign``. ``value`` is how far it is true."""

    effect: Effect
    sign: int = 1

    @property
    def value(self) -> float:
        return self.sign * self.effect.value

    @property
    def binding(self) -> Effect:
        """The difference that decides."""
        return self.effect

    def p(self, true: bool) -> float:
        """Two-sided, of the t test whose rejection says that it is true, or that it is false."""
        above = true == (self.sign > 0)
        return min(1.0, 2.0 * (self.effect.p_above() if above else self.effect.p_below()))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Of the value."""
        low, high = sorted(self.sign * end for end in self.effect.interval(level))
        return low, high


@dataclass(frozen=True)
class Within:
    """That a difference is less than a margin in size: two one-sided t tests (Schuirmann 1987)."""

    effect: Effect
    margin: float

    @property
    def value(self) -> float:
        return self.margin - abs(self.effect.value)

    @property
    def binding(self) -> Effect:
        return self.effect

    def p(self, true: bool) -> float:
        """The larger of the two, that it is above −margin and below +margin; or two-sided, that it is beyond."""
        if true:
            return max(self.effect.p_above(-self.margin), self.effect.p_below(self.margin))
        return min(1.0, 2.0 * min(self.effect.p_above(self.margin), self.effect.p_below(-self.margin)))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Of the difference."""
        return self.effect.interval(level)


@dataclass(frozen=True)
class Members:
    """That every member is true, or that some member is.

    ``every`` is tested by intersection and union (Berger 1982): it is true where each member is, so its p is the
    largest of theirs, and nothing is chosen; that it is false is shown by the one that shows it best, so its p is the
    least times their number. For ``some`` it is the other way round. The member that decides is thus never chosen
    before it is tested. The interval of the least (or greatest) value has the ends of its members' likewise.
    """

    members: tuple[Above | Within | Members, ...]
    every: bool

    @property
    def value(self) -> float:
        values = [one.value for one in self.members]
        return min(values) if self.every else max(values)

    @property
    def binding(self) -> Effect:
        return next(one.binding for one in self.members if one.value == self.value or math.isnan(self.value))

    def p(self, true: bool) -> float:
        known = [one.p(true) for one in self.members]
        if any(map(math.isnan, known)):
            return math.nan
        return max(known) if true == self.every else min(1.0, len(known) * min(known))

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        sure, surer = level, 1.0 - (1.0 - level) / len(self.members)
        if any(isinstance(one, Within) for one in self.members):
            return self.binding.interval(surer)
        lows, highs = (
            [one.interval(sure if low == self.every else surer)[not low] for one in self.members]
            for low in (True, False)
        )
        pick = np.min if self.every else np.max
        return float(pick(lows)), float(pick(highs))


Statement = Above | Within | Members


def of_claim(claim: Claim, effects: Mapping[tuple[int, int], Effect], margin: float) -> Statement:
    """What a claim says of the differences between its sides' values, (left, right) -> difference.

    For ``more`` than the ``best``: the greatest of the left side is more than each of the right one. For ``less`` than
    the best, and for ``more`` than the ``worst``: each of the left side is beaten by some of the right, or beats some.
    """
    if claim.direction == "same":
        leaves = tuple(Within(one, margin) for one in effects.values())
        return leaves[0] if len(leaves) == 1 else Members(leaves, every=True)
    sign = 1 if claim.direction == "more" else -1
    some_left = claim.than in ("best", "worst") and (claim.than == "best") == (claim.direction == "more")
    some_right = claim.than in ("best", "worst") and not some_left
    rows: dict[int, list[Above]] = {}
    for (left, _), effect in effects.items():
        rows.setdefault(left, []).append(Above(effect, sign))
    inner = tuple(_members(tuple(row), every=not some_right) for row in rows.values())
    return _members(inner, every=not some_left)


def _members(members: tuple[Above | Members, ...], every: bool) -> Above | Members:
    return members[0] if len(members) == 1 else Members(members, every)
