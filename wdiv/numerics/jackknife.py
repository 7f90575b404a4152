"""Do points lie farther from a start than from one another? A test for distances, which are not independent."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NoiseTest", "farther_than_apart"]


class NoiseTest(NamedTuple):
    """moved, apart: mean distance from the start, and between points; log_ratio of the two; one-sided p; all (…)."""

    moved: NDArray[np.float64]
    apart: NDArray[np.float64]
    log_ratio: NDArray[np.float64]
    p: NDArray[np.float64]


def farther_than_apart(from_start: ArrayLike, between: ArrayLike) -> NoiseTest:
    """One-sided jackknife t test of H₀: E d(start, x) ≤ E d(x, x′), for independent x, x′ and a fixed start.

    from_start: (points, …); between: (points, points, …), the diagonal ignored, both directions averaged.

    The statistic is θ = log(mean distance from the start / mean distance between points), a smooth function of two
    U-statistics. Its standard error comes from leaving out one point at a time (with all of its distances), and
    θ / s.e. is set against Student's t with points − 1 degrees of freedom. Fewer than 3 points: p is NaN, as it is
    where a mean distance is 0. Source: Arvesen (1969), Jackknifing U-statistics.

    >>> from_start = [9.0, 10.0, 11.0]
    >>> between = [[0.0, 1.0, 1.1], [1.0, 0.0, 0.9], [1.1, 0.9, 0.0]]
    >>> test = farther_than_apart(from_start, between)
    >>> float(test.moved), round(float(test.apart), 6), bool(test.p < 0.01)
    (10.0, 1.0, True)
    """
    m = np.asarray(from_start, dtype=np.float64)
    d = np.asarray(between, dtype=np.float64)
    d = (d + np.swapaxes(d, 0, 1)) / 2.0
    points = len(m)
    d[np.arange(points), np.arange(points)] = 0.0
    moved, apart, theta = _log_ratio(m.sum(0), d.sum((0, 1)), points)
    if points < 3:
        return NoiseTest(moved, apart, theta, np.full_like(theta, np.nan))
    without = _log_ratio(m.sum(0) - m, d.sum((0, 1)) - 2.0 * d.sum(1), points - 1)[2]
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt((points - 1) / points * ((without - without.mean(0)) ** 2).sum(0))
        t = theta / error
    from scipy.special import stdtr

    return NoiseTest(moved, apart, theta, np.where(np.isfinite(t), stdtr(points - 1, -t), np.nan))


def _log_ratio(
    total: NDArray[np.float64], pairs: NDArray[np.float64], points: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    with np.errstate(invalid="ignore", divide="ignore"):
        moved, apart = total / points, pairs / (points * (points - 1))
        theta = np.log(moved) - np.log(apart)
    return moved, apart, np.where((moved > 0) & (apart > 0), theta, np.nan)
