"""Does a claim hold? A test across seeds, corrected for the number of claims, and the numbers behind it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from studies.report.pairing import Observations, of_claim, prepare
from studies.spec.claim import Claim

__all__ = ["FAILS", "HOLDS", "LEVEL", "NOT_DECIDED", "Verdict", "bootstrap", "judge", "p_in_words", "p_value"]

HOLDS = "holds"
FAILS = "fails"
NOT_DECIDED = "not decided"
LEVEL = 0.05
"""The false discovery rate among the claims of a report that are decided."""
DRAWS = 10_000
MOST = 700.0
"""The greatest logarithm whose ratio is still a number."""
ALIKE = 1e-9
"""Seeds whose numbers differ by less than this share of their size are taken for equal: what differs is rounding."""

EQUAL = "every seed gives the same number, so nothing tells how far noise goes"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim.

    verdict    ``holds``, ``fails``, or ``not decided``, and then the reason
    effect     left less right, mean over the seeds; of a ratio, the geometric mean of left / right
    low, high  95 % bootstrap interval of the effect over seeds. It decides nothing: see :func:`bootstrap`
    p, q       of :func:`p_value`, and adjusted for all claims judged together; NaN where nothing was tested
    pairs      that were compared; agreeing: those that come out as claimed, each for itself
    left_out   values that are missing, infinite, or for a ratio not above 0
    """

    claim: Claim
    verdict: str
    effect: float
    low: float
    high: float
    p: float
    q: float
    seeds: int
    pairs: int
    agreeing: int
    left_out: int
    reason: str

    @property
    def in_words(self) -> str:
        """The effect, and how many pairs agree: ``+1.0 points, 5 of 6 pairs`` or ``×13, 18 of 18 pairs``."""
        if not self.pairs:
            return self.reason
        if self.claim.scale == "ratio":
            size = f"×{self.effect:.3g}"
        elif set(self.claim.side("left")["measure"]) <= {"accuracy", "train_accuracy"}:
            size = f"{100 * self.effect:+.1f} points"
        else:
            size = f"{self.effect:+.3g}"
        return f"{size}, {self.agreeing} of {self.pairs} pair{'' if self.pairs == 1 else 's'}"

    def to_json(self) -> dict[str, Any]:
        """The claim by its name; what is not known is None."""
        known = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in vars(self).items()}
        return known | {"claim": self.claim.name, "in_words": self.in_words}


def judge(claims: Sequence[Claim], observations: pd.DataFrame, level: float = LEVEL) -> list[Verdict]:
    """A verdict on each claim of a report.

    observations  one row a value, with the columns of :data:`~studies.spec.columns.COLUMNS`

    Differences of pairs are averaged within each seed; the seeds' numbers are tested (:func:`p_value`), and the p
    values of all claims adjusted by Benjamini and Hochberg (1995). At or below ``level`` a claim holds where the effect
    is as claimed, and fails where it is against it: for ``same``, where it is beyond the margin. A seed is one draw of
    the training images, the new head and the order of batches; the test images are the same in all, so a verdict is
    about these test images.

    Raises :class:`~wdiv.errors.BadInput` for a table that lacks a column.
    """
    from wdiv.numerics import false_discovery

    prepared = prepare(observations)
    tested = [_tested(claim, prepared) for claim in claims]
    adjusted = false_discovery([one.p for one in tested]).tolist()
    return [_decided(replace(one, q=q), level) for one, q in zip(tested, adjusted, strict=True)]


def p_value(numbers: ArrayLike, margin: float = 0.0) -> float:
    """Of t tests that the mean of one number a seed lies off the margin, on the side where it was found.

    Without a margin: the two-sided t test of mean 0. With one: where the mean is found within ± margin, the larger of
    two one-sided t tests, that it is above −margin and below +margin (Schuirmann 1987); where it is found beyond, the
    two-sided t test of a mean at the nearer margin. NaN for fewer than 2 numbers.

    Numbers that are all equal show no noise to test against, as happens when few test images are told apart. Then each
    test is that of signs, exact for noise of either sign alike: 2⁻ⁿ a side. Six seeds are needed to decide by that.
    (Were p 0 there, a third of reports on 5 claims in which nothing differs would decide something, of 2 seeds and 100
    test images of which 95 % are told right.)

    >>> p_value([0.01, 0.02, 0.03]) < 0.1, round(p_value([0.01, 0.01, 0.01]), 3), p_value([0.01])
    (True, 0.25, nan)
    >>> p_value([-0.001, 0.001, 0.0], margin=0.01) < 0.01
    True
    """
    from scipy.special import stdtr

    x = np.asarray(numbers, dtype=np.float64)
    n = len(x)
    if n < 2:
        return math.nan
    mean, off = float(x.mean()), abs(abs(float(x.mean())) - margin)
    sides = 1 if abs(mean) < margin else 2
    if _all_equal(x):
        return sides * 0.5**n if off > ALIKE * margin and off > 0 else 1.0
    error = float(x.std(ddof=1)) / math.sqrt(n)
    return float(sides * stdtr(n - 1, -off / error))


def bootstrap(numbers: ArrayLike, draws: int = DRAWS) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of one number a seed; repeatable. NaN for fewer than 2 numbers.

    It says how far the seeds spread and is too narrow to decide by: of few seeds it covers the true mean less often
    than 95 % (of three, of normal noise, about 75 %).
    """
    x = np.asarray(numbers, dtype=np.float64)
    if len(x) < 2:
        return math.nan, math.nan
    means = x[np.random.default_rng(0).integers(len(x), size=(draws, len(x)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _all_equal(x: np.ndarray) -> bool:
    return bool(x.max() - x.min() <= ALIKE * abs(x).max())


def _tested(claim: Claim, observations: Observations) -> Verdict:
    pairs = of_claim(claim, observations)
    numbers = pairs.table.groupby("seed")["difference"].mean().to_numpy(dtype="float64")
    equal = len(numbers) > 1 and _all_equal(numbers)
    low, high = bootstrap(numbers)
    return Verdict(
        claim=claim,
        verdict=NOT_DECIDED,
        effect=_spelled(claim, numbers.mean() if len(numbers) else math.nan),
        low=_spelled(claim, low),
        high=_spelled(claim, high),
        p=p_value(numbers, _margin(claim)),
        q=math.nan,
        seeds=len(numbers),
        pairs=len(pairs.table),
        agreeing=int(_agrees(claim, pairs.table["difference"].to_numpy(dtype="float64")).sum()),
        left_out=pairs.left_out,
        reason=pairs.missing or (EQUAL if equal else ""),
    )


def _margin(claim: Claim) -> float:
    """On the scale of the pairs' differences."""
    return math.log(claim.margin or 1.0) if claim.scale == "ratio" else float(claim.margin or 0.0)


def _agrees(claim: Claim, differences: np.ndarray) -> np.ndarray:
    if claim.direction == "same":
        return abs(differences) <= _margin(claim)
    return differences > 0 if claim.direction == "more" else differences < 0


def _spelled(claim: Claim, number: float) -> float:
    return float(number) if claim.scale == "difference" else math.exp(number) if not number > MOST else math.inf


def _decided(verdict: Verdict, level: float) -> Verdict:
    if not verdict.pairs:
        return verdict
    if verdict.seeds < 2:
        return replace(verdict, reason="one seed; a verdict needs two or more")
    way = _way(verdict)
    if verdict.q > level or not way:
        numbers = f"undecided: p = {verdict.p:.2g}, q = {verdict.q:.2g} over {verdict.seeds} seeds"
        return replace(verdict, reason=f"{numbers}; {verdict.reason}" if verdict.reason else numbers)
    return replace(verdict, verdict=HOLDS if way > 0 else FAILS, reason="")


def _way(verdict: Verdict) -> int:
    """1 where the effect is as claimed, −1 where it is against the claim, 0 where it is neither."""
    claim, effect = verdict.claim, verdict.effect
    if claim.margin is not None:
        low = 1 / claim.margin if claim.scale == "ratio" else -claim.margin
        return 1 if low < effect < claim.margin else -1
    none = 1.0 if claim.scale == "ratio" else 0.0
    sign = (effect > none) - (effect < none)
    return sign if claim.direction == "more" else -sign


def p_in_words(value: float | None) -> str:
    """A p or q value; empty where there is none.

    >>> p_in_words(0.0213), p_in_words(1e-5), p_in_words(None), p_in_words(float("nan"))
    ('0.021', '<0.001', '', '')
    """
    if value is None or math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
