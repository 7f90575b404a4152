"""A difference of two means: how sure, over what was drawn; what could have been found, and with how many draws."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "ALIKE", "COMPLETE", "POWER", "Effect", "Unseen", "crossed_effect", "images_needed", "mcnemar", "paired_effect",
    "power", "smallest_difference", "smallest_effect", "smallest_margin", "unpaired_effect", "units_needed",
]  # fmt: skip

ALIKE = 1e-9
"""Units whose numbers differ by less than this share of their size are taken for equal: what differs is rounding."""
POWER = 0.8
"""How often an effect shall be found that is said to be findable."""


class Effect(NamedTuple):
    """A mean difference, and the variance that it has for each thing that was drawn.

    value      the mean;  units: how many seeds (or sources, or whatever was drawn anew) it is over
    of_units   its variance for other units;  of_images: for other test images, 0 where these are what it is about
    freedom    degrees of freedom of the two together, by Satterthwaite (1946)
    error      its standard error; 0 where units show no difference among each other, NaN of fewer than 2
    """

    value: float
    units: int
    of_units: float
    of_images: float
    freedom: float
    error: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's; NaN where the error is 0 or not known.

        >>> [round(end, 2) for end in paired_effect([1.0, 2.0, 3.0]).interval()]
        [-0.48, 4.48]
        """
        from scipy.special import stdtrit

        if not self.error > 0:
            return math.nan, math.nan
        half = float(stdtrit(self.freedom, (1.0 + level) / 2.0)) * self.error
        return self.value - half, self.value + half

    def p_above(self, bound: float = 0.0) -> float:
        """p of the one-sided t test that the true mean lies above a bound; small where it surely does.

        Units that are all equal, as happens where few test images are told apart, show no noise to test against. Then
        the test is that of signs, exact for noise of either sign alike: 2⁻ⁿ. (Were p 0 there, a third of reports on 5
        claims in which nothing differs would decide something, of 2 seeds and 100 test images of which 95 % are told
        right.) NaN for fewer than 2 units.

        >>> round(paired_effect([1.0, 2.0, 3.0]).p_above(), 3), paired_effect([0.5, 0.5, 0.5]).p_above()
        (0.037, 0.125)
        """
        from scipy.special import stdtr

        off = self.value - bound
        if self.error > 0:
            return float(stdtr(self.freedom, -off / self.error))
        if math.isnan(self.error):
            return math.nan
        surely = 0.5**self.units
        return 0.5 if abs(off) <= ALIKE * abs(bound) else surely if off > 0 else 1.0 - surely

    def p_below(self, bound: float = 0.0) -> float:
        """As :meth:`p_above`, that it lies below."""
        return self._replace(value=-self.value).p_above(-bound)


class Unseen(NamedTuple):
    """Variance of a mean of units' numbers that does not show in how these differ, since some were made of others.

    freedom  with which it is known;  most: degrees of freedom of it and of what does show, together
    """

    variance: float
    freedom: float
    most: float


COMPLETE = Unseen(0.0, math.inf, math.inf)
"""Where no number is made of others."""


def paired_effect(numbers: ArrayLike) -> Effect:
    """The mean of one difference a unit. Its variance is s² / n, of n − 1 degrees of freedom.

    >>> paired_effect([1.0, 3.0])
    Effect(value=2.0, units=2, of_units=1.0, of_images=0.0, freedom=1.0, error=1.0)
    """
    return crossed_effect(numbers, ())


def crossed_effect(numbers: ArrayLike, answers: Sequence[ArrayLike], unseen: Unseen = COMPLETE) -> Effect:
    """The mean of one difference a unit, for other units *and* other test images.

    numbers  (n,) of each unit, which are means over test images
    answers  for each set of test images (n, images): what each image of it adds to the unit's number; the means over
             images of all of them add up to ``numbers``
    unseen   of :func:`wdiv.numerics.incomplete.unit_numbers`: it adds to s²/n, as if known from the same numbers

    Images are drawn once for all units. With s² what the units' numbers vary by, t² what the images' means over the
    units do, and e² what is left of their table without both means, the variance is s²/n + Σ (t² − e²/n) / images, as
    the second has a part of the first in it; but not less than either. Of two units the freedom is 1: the first part is
    then too often small by chance to count on more. Source: the two-way random model without
    replication, Searle, Casella and McCulloch (1992), § 4.3; Owen (2007) on what else resampling both would do.

    >>> crossed_effect([0.5, 0.5], [[[1.0, 0.0], [0.0, 1.0]]]).error
    0.0
    >>> round(crossed_effect([0.5, 0.5], [[[1.0, 0.0], [1.0, 0.0]]]).error, 6)
    0.5
    """
    x = np.asarray(numbers, dtype=np.float64)
    n = len(x)
    if n < 2:
        return Effect(float(x.mean()) if n else math.nan, n, math.nan, math.nan, math.nan, math.nan)
    of_units = 0.0 if x.max() - x.min() <= ALIKE * abs(x).max() else float(x.var(ddof=1)) / n
    told = (of_units / math.sqrt(n - 1) + unseen.variance / math.sqrt(unseen.freedom or math.nan)) ** 2
    of_images = shared = seen = 0.0
    for one in answers:
        table = np.asarray(one, dtype=np.float64)
        images = table.shape[1]
        if images < 2:
            continue
        means = table.mean(axis=0)
        rest = table - means - table.mean(axis=1, keepdims=True) + means.mean()
        of_these = float(means.var(ddof=1)) / images
        of_images += of_these
        shared += float((rest**2).sum()) / ((n - 1) * (images - 1)) / (n * images)
        seen += of_these**2 / (images - 1)
    of_units += unseen.variance
    told = max(told, of_units**2 / min(n - 1, unseen.most)) if unseen.most else math.nan
    return _effect(float(x.mean()), n, of_units, of_images, shared, told + seen)


def unpaired_effect(left: ArrayLike, right: ArrayLike) -> Effect:
    """The difference of the means of two samples, one number a unit, by Welch (1947): variances are not pooled.

    >>> unpaired_effect([3.0, 5.0], [1.0, 1.0]).value, unpaired_effect([3.0, 5.0], [1.0, 1.0]).error
    (3.0, 1.0)
    """
    a, b = (paired_effect(side) for side in (left, right))
    seen = sum(one.of_units**2 / (one.units - 1) if one.units > 1 else math.nan for one in (a, b))
    return _effect(a.value - b.value, min(a.units, b.units), a.of_units + b.of_units, 0.0, 0.0, seen)


def _effect(value: float, units: int, of_units: float, of_images: float, shared: float, seen: float) -> Effect:
    variance = max(of_units + of_images - shared, of_units, of_images)
    freedom = variance**2 / seen if seen > 0 and units > 2 else float(units - 1)
    return Effect(value, units, of_units, of_images, freedom, math.sqrt(variance))


def mcnemar(differences: ArrayLike) -> float:
    """p of McNemar's test that two answer as many of the same images rightly, images drawn and all else held.

    differences  (images,) right of the one less right of the other: −1, 0 or 1, or the mean of that over several
                 runs of each, for which the test counts images and not answers

    One run of each: exact, the two-sided binomial test of the images that one of them alone gets right. Several:
    z = Σd / √Σd² (Durkalski et al. 2003, each image a cluster). 1 where no image tells them apart.
    Source: McNemar (1947).

    >>> mcnemar([1] * 6 + [0] * 94), mcnemar([0.0, 0.0])
    (0.03125, 1.0)
    """
    from scipy.special import ndtr
    from scipy.stats import binomtest

    x = np.asarray(differences, dtype=np.float64)
    told = x[np.abs(x) > ALIKE]
    if not len(told):
        return 1.0
    if np.isin(told, (-1.0, 1.0)).all():
        return float(binomtest(int((told > 0).sum()), len(told)).pvalue)
    return float(2.0 * ndtr(-abs(told.sum()) / math.sqrt(float((told**2).sum()))))


def images_needed(share: float, difference: float, level: float = 0.05) -> int:
    """Test images with which McNemar's test finds a difference between two networks in :data:`POWER` of cases.

    share       that they answer rightly, the mean of the two;  difference: of their shares, above 0

    n = (z₁ √ψ + z₂ √(ψ − d²))² / d², with ψ the share of images that one alone gets right. That is known only when both
    are trained: here half of the images that either gets wrong are taken to be wrong for both, ψ = 2/3 of (1 − share),
    but at least d. Source: Connor (1987), Sample size for testing differences in proportions for the paired-sample
    design.

    >>> images_needed(0.9, 0.05), images_needed(0.7, 0.05)
    (207, 626)
    """
    from scipy.special import ndtri

    apart = max(difference, 2.0 / 3.0 * (1.0 - share))
    first, second = float(ndtri(1.0 - level / 2.0)), float(ndtri(POWER))
    root = first * math.sqrt(apart) + second * math.sqrt(max(apart - difference**2, 0.0))
    return math.ceil((root / difference) ** 2)


def smallest_difference(share: float, images: int, level: float = 0.05) -> float:
    """The difference that so many test images are enough for, by :func:`images_needed`; NaN where not even 1 is found.

    >>> round(smallest_difference(0.9, 207), 3), smallest_difference(0.9, 2)
    (0.05, nan)
    """
    if images_needed(share, 1.0, level) > images:
        return math.nan
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2.0
        low, high = (low, middle) if images_needed(share, middle, level) <= images else (middle, high)
    return high


def power(effect: float, error: float, freedom: float, level: float, sides: int = 2) -> float:
    """How often a t test at a level finds a true effect: of the noncentral t distribution.

    >>> round(power(4.0, 1 / 3**0.5, 2, 0.05), 2), round(power(0.0, 1.0, 5, 0.05), 3)
    (0.91, 0.05)
    """
    from scipy.special import nctdtr, stdtrit

    far, bound = abs(effect) / error, float(stdtrit(freedom, 1.0 - level / sides))
    if far > bound + 40.0 + bound / math.sqrt(freedom) * 8.0:
        return 1.0
    beyond = 1.0 - float(nctdtr(freedom, far, bound))
    return beyond + (float(nctdtr(freedom, far, -bound)) if sides == 2 and far < 5.0 else 0.0)


def smallest_effect(error: float, freedom: float, level: float, sides: int = 2) -> float:
    """The true effect that a t test at a level finds in :data:`POWER` of cases. NaN where the error is not above 0.

    >>> round(smallest_effect(1 / 3**0.5, 2, 0.05), 2)
    3.26
    """
    from scipy.optimize import brentq

    if not error > 0 or not level > 0:
        return math.nan
    high = error
    while power(high, error, freedom, level, sides) < POWER:
        high *= 2.0
    return float(brentq(lambda effect: power(effect, error, freedom, level, sides) - POWER, 0.0, high, rtol=1e-6))


def units_needed(found: Effect, off: float, level: float, sides: int = 2, most: int = 1000) -> int | None:
    """With how many units a true effect, so far off what it is tested against, is found in :data:`POWER` of cases.

    Their variance falls with their number, that for other images does not. None where ``most`` are too few, and where
    nothing tells how far units differ.

    >>> units_needed(paired_effect([1.0, 2.0, 3.0]), 2.0, 0.05)
    5
    """
    if not found.error > 0 or not off:
        return None

    def enough(n: int) -> bool:
        of_units = found.of_units * found.units / n
        variance = of_units + max(found.error**2 - found.of_units, 0.0)
        rest = (found.error**2 - found.of_units) ** 2 / 1e6
        freedom = variance**2 / (of_units**2 / (n - 1) + rest) if of_units else 1e6
        return power(off, math.sqrt(variance), freedom, level, sides) >= POWER

    low, high = 1, 2
    while not enough(high):
        low, high = high, 2 * high
        if low >= most:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high if high <= most else None


def smallest_margin(error: float, freedom: float, level: float) -> float:
    """The margin within which two one-sided t tests find a true difference of 0 in :data:`POWER` of cases.

    error · (t of 1 − level + t of (1 + power) / 2). NaN where the error is not above 0. Source: Julious (2004).

    >>> round(smallest_margin(1.0, 1e6, 0.05), 2)
    2.93
    """
    from scipy.special import stdtrit

    if not error > 0 or not level > 0:
        return math.nan
    return error * float(stdtrit(freedom, 1.0 - level) + stdtrit(freedom, (1.0 + POWER) / 2.0))
