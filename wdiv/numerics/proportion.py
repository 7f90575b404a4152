"""How sure is a share? Wilson's interval, with as many images as the share is worth."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Share", "difference_interval", "grouped_interval", "in_words", "share_interval", "wilson"]


class Share(NamedTuple):
    """A share of 1 and the ends of its interval, all (…)."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def wilson(share: ArrayLike, n: ArrayLike, level: float = 0.95, freedom: ArrayLike = np.inf) -> Share:
    """Wilson's score interval of a share of n that were drawn one by one; they broadcast.

    (p + z²/2n ∓ z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z the quantile (1 + level) / 2 of the normal distribution, or of
    Student's with ``freedom`` degrees where the share's variance was estimated. At a share of 1 it begins at
    n / (n + z²) and ends in 1. n need not be whole: of shares that are no plain count, it is p(1−p) / variance. NaN
    where the share is, and where n is not above 0. Source: Wilson (1927); such n as in Korn and Graubard (1998).

    >>> wilson(1.0, 50).low.round(3), wilson(0.5, 50).low.round(3), wilson(0.5, 50).high.round(3)
    (np.float64(0.929), np.float64(0.366), np.float64(0.634))
    """
    from scipy.special import ndtri, stdtrit

    p, n, freedom = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (share, n, freedom)))
    tail = (1.0 + level) / 2.0
    z = np.where(np.isinf(freedom), ndtri(tail), stdtrit(np.where(np.isinf(freedom), 1.0, freedom), tail))
    n = np.where(n > 0, n, np.nan)
    middle, wide = p + z * z / (2.0 * n), z * np.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    scale = 1.0 + z * z / n
    low, high = (np.clip(end / scale, 0.0, 1.0) for end in (middle - wide, middle + wide))
    return Share(p, np.where(p == 0, 0.0 * low, low), np.where(p == 1, 1.0 + 0.0 * high, high))


def share_interval(shares: ArrayLike, n: ArrayLike, level: float = 0.95) -> Share:
    """The mean of the shares that several seeds have of the same images: sure of other images *and* of other seeds.

    shares  (seeds, …), of each seed, of n images, answered rightly; NaN is left out
    n       images, (…) or a number

    Images are drawn once for all seeds, so there are n of them, never seeds · n: the variance of the mean p is at most
    p(1−p) / n, and on top of it s² / seeds for what seeds differ by. :func:`wilson` has p(1−p) / variance for n, and
    degrees of freedom by Satterthwaite (1946): seeds − 1 for the second part. NaN where no share or no n is known.

    >>> share_interval([1.0, 1.0, 1.0], 50).low.round(3), share_interval([0.92], 50).low.round(3)
    (np.float64(0.929), np.float64(0.812))
    >>> share_interval([0.96, 0.92, 0.88], 50).low.round(3)
    np.float64(0.78)
    """
    x, images = np.asarray(shares, dtype=np.float64), np.asarray(n, dtype=np.float64)
    p, of_seeds, seeds = _over_seeds(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _wilson(p, images, p * (1.0 - p) / images, np.inf, of_seeds, seeds - 1.0, level)


def grouped_interval(shares: ArrayLike, n: ArrayLike, level: float = 0.95) -> Share:
    """:func:`share_interval` of images that were drawn in groups: several of one patient, of one plate.

    shares  (seeds, groups), of each seed, of a group's images, answered rightly
    n       (groups,) images of each group

    What was drawn are G groups. The first variance becomes G/(G−1) Σ (n_g/n)² (p_g − p)², of G − 1 degrees of freedom,
    if that is more. Where all images are answered rightly, or none, nothing tells how alike those of a group are, and
    n is the number of groups. Source: Cochran (1977), ratio estimates, § 3.12.

    >>> grouped_interval([[1.0, 1.0, 1.0, 0.2]], [20, 20, 20, 20]).low.round(3)
    np.float64(0.184)
    """
    x, images = np.asarray(shares, dtype=np.float64), np.asarray(n, dtype=np.float64)
    groups, weight = len(images), images / images.sum()
    p, of_seeds, seeds = _over_seeds(x @ images / images.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        apart = groups / (groups - 1.0) * (weight**2 * (x.mean(0) - p) ** 2).sum()
    return _wilson(p, groups, np.fmax(apart, p * (1.0 - p) / images.sum()), groups - 1.0, of_seeds, seeds - 1.0, level)


def difference_interval(
    differences: ArrayLike, groups: ArrayLike | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Ends of the interval of a mean difference between two shares of the same images, for other images.

    differences  (n,) right of the one less right of the other: −1, 0 or 1, or means of that over several draws
    groups       (n,) anything; images of one were drawn together, and their differences are summed first

    To the n differences half a one of +1, half a one of −1 and one of 0 are added, so that where no image tells the two
    apart the interval is not nothing; then mean ∓ z √variance. Of groups z is Student's, of their number less one. NaN
    of no images.
    Source: Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions.

    >>> [round(end, 3) for end in difference_interval([1] * 6 + [0] * 94)]
    [0.009, 0.108]
    >>> [round(end, 3) for end in difference_interval([0] * 98)]
    [-0.02, 0.02]
    """
    from scipy.special import ndtri, stdtrit

    d = np.asarray(differences, dtype=np.float64)
    if not len(d):
        return math.nan, math.nan
    n, tail = len(d) + 2.0, (1.0 + level) / 2.0
    mean, z = d.sum() / n, float(ndtri(tail))
    variance = ((d**2).sum() + 1.0 - n * mean**2) / n**2
    if groups is not None:
        _, of = np.unique(np.asarray(groups), return_inverse=True)
        sums = np.bincount(of, d - mean)
        apart = ((sums**2).sum() + 1.0) / n**2
        count = len(sums)
        z = float(stdtrit(max(count - 1.0, 1.0), tail))
        variance = max(variance, apart * count / max(count - 1.0, 1.0))
    half = z * math.sqrt(variance)
    return max(-1.0, float(mean - half)), min(1.0, float(mean + half))


def in_words(share: float, n: int) -> str:
    """A share of n in percent, and its interval; of no known n, itself alone.

    >>> in_words(0.96, 50), in_words(0.96, 0)
    ('96.0 % (86.5 to 98.9)', '96.0 %')
    """
    told = f"{100 * share:.1f} %"
    if n <= 0:
        return told
    _, low, high = wilson(share, n)
    return f"{told} ({100 * low:.1f} to {100 * high:.1f})"


def _over_seeds(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The mean over the first axis, what it varies by, and of how many, each (…); NaN is left out."""
    known = np.isfinite(x)
    seeds = known.sum(0).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.where(known, x, 0.0).sum(0) / seeds
        squares = np.where(known, (x - p) ** 2, 0.0).sum(0)
        return p, np.where(seeds > 1, squares / (seeds - 1.0) / seeds, 0.0), seeds


def _wilson(
    p: NDArray[np.float64], n: ArrayLike, first: NDArray[np.float64], free_first: float,
    second: NDArray[np.float64], free_second: NDArray[np.float64], level: float,
) -> Share:  # fmt: skip
    """Wilson's interval of a share with two variances, of images and of seeds; n is for a share without any."""
    total = np.asarray(first + second)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = total**2 / (first**2 / free_first + np.where(second > 0, second**2 / free_second, 0.0))
        worth = p * (1.0 - p) / total
    return wilson(p, np.where(total > 0, worth, n), level, np.where(np.isfinite(freedom), freedom, np.inf))
