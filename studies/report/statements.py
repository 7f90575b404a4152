"""What a claim says of several differences at once: that each is above 0, or some are, or that each is small."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from studies.spec.claim import Claim
from wdiv.numerics.comparison import Effect, smallest_effect, smallest_margin, units_needed

__all__ = ["Above", "Members", "Statement", "Within", "of_claim"]

SURE = 0.95


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
        return _at_most_1(2.0 * (self.effect.p_above() if above else self.effect.p_below()))

    def smallest(self, level: float) -> float:
        """The effect that would be found at a level of p; infinite where nothing would."""
        return _known(smallest_effect(self.effect.error, self.effect.freedom, level))

    def needed(self, level: float, true: bool) -> float:
        """With how many units the value as it is would be found true, or false; infinite where it is not."""
        units = units_needed(self.effect, self.value, level) if true == (self.value > 0) else None
        return math.inf if units is None else units

    def interval(self, level: float = SURE) -> tuple[float, float]:
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
        return _at_most_1(2.0 * min(self.effect.p_above(self.margin), self.effect.p_below(-self.margin)))

    def smallest(self, level: float) -> float:
        """The margin within which a difference of 0 would be found."""
        return _known(smallest_margin(self.effect.error, self.effect.freedom, level))

    def needed(self, level: float, true: bool) -> float:
        sides = 1 if true else 2
        units = units_needed(self.effect, self.value, level, sides) if true == (self.value > 0) else None
        return math.inf if units is None else units

    def interval(self, level: float = SURE) -> tuple[float, float]:
        """Of the difference."""
        return self.effect.interval(level)


@dataclass(frozen=True)
class Members:
    """That at least so many of its members are true: all of them, one, or more than half.

    Tested by partial conjunction (Benjamini and Heller 2008): of n members, at least u are true where the u-th least p
    times n − u + 1 is small. For all it is the largest p (intersection and union, Berger 1982), for one the least times
    n. That it is false is that at least n − u + 1 are. The member that decides, the one with the u-th greatest value,
    is thus never chosen before it is tested; the interval of that value allows for it likewise. A member of which
    nothing is known counts as 1, and what could be decided is told of the member whose p it is.
    """

    members: tuple[Above | Within | Members, ...]
    least: int

    @property
    def _spare(self) -> int:
        """How many may be false, and one: as many false ones make it false."""
        return len(self.members) - self.least + 1

    @property
    def _decides(self) -> Above | Within | Members:
        return sorted(self.members, key=lambda one: -math.inf if math.isnan(one.value) else one.value)[self._spare - 1]

    @property
    def value(self) -> float:
        return self._decides.value

    @property
    def binding(self) -> Effect:
        return self._decides.binding

    def _rank(self, true: bool) -> tuple[int, int]:
        """Which p, from below, and times what."""
        return (self.least, self._spare) if true else (self._spare, self.least)

    def p(self, true: bool) -> float:
        known = [one.p(true) for one in self.members]
        if all(map(math.isnan, known)):
            return math.nan
        rank, times = self._rank(true)
        return min(1.0, times * sorted(1.0 if math.isnan(p) else p for p in known)[rank - 1])

    def smallest(self, level: float) -> float:
        rank, times = self._rank(self.value > 0)
        return sorted(one.smallest(level / times) for one in self.members)[rank - 1]

    def needed(self, level: float, true: bool) -> float:
        rank, times = self._rank(true)
        return sorted(one.needed(level / times, true) for one in self.members)[rank - 1]

    def interval(self, level: float = SURE) -> tuple[float, float]:
        if any(isinstance(one, Within) for one in self.members):
            return self.binding.interval(1.0 - (1.0 - level) / len(self.members))
        ends = []
        for end, times in ((0, self._spare), (1, self.least)):
            found = [one.interval(1.0 - (1.0 - level) / times)[end] for one in self.members]
            ends.append(math.nan if any(map(math.isnan, found)) else sorted(found)[self._spare - 1])
        return ends[0], ends[1]


Statement = Above | Within | Members


def of_claim(claim: Claim, effects: Mapping[tuple[int, int], Effect], margin: float) -> Statement:
    """What a claim says of the differences between its sides' values, (left, right) -> difference.

    For ``more`` than the ``best``: the greatest of the left side is more than each of the right one. For ``less`` than
    the best, and for ``more`` than the ``worst``: each of the left side is beaten by some of the right, or beats some.
    """
    if claim.direction == "same":
        leaves = tuple(Within(one, margin) for one in effects.values())
        return leaves[0] if len(leaves) == 1 else Members(leaves, len(leaves))
    sign = 1 if claim.direction == "more" else -1
    some_left = claim.than in ("best", "worst") and (claim.than == "best") == (claim.direction == "more")
    some_right = claim.than in ("best", "worst") and not some_left
    rows: dict[int, list[Above]] = {}
    for (left, _), effect in effects.items():
        rows.setdefault(left, []).append(Above(effect, sign))
    inner = tuple(_members(tuple(row), every=not some_right) for row in rows.values())
    return _members(inner, every=not some_left)


def _known(number: float) -> float:
    return math.inf if math.isnan(number) else number


def _at_most_1(p: float) -> float:
    """A p value; NaN stays NaN."""
    return 1.0 if p > 1.0 else p


def _members(members: tuple[Above | Members, ...], every: bool) -> Above | Members:
    return members[0] if len(members) == 1 else Members(members, len(members) if every else 1)
