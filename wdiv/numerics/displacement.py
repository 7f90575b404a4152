"""Did points move the same way from where they started? A test that needs no more than their distances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["NoiseTest", "common_displacement"]

STEP, REACH = 0.2, (-36.0, 60.0)
"""Of the trapezoidal rule in log t, whose error falls as exp(−π² / STEP), and which leaves out less than 1e-13."""
DIGITS = 1e-12
"""To which p is known; it is never less."""
ROUNDING = 1e-6
"""Share of the largest eigenvalue below which a negative one is rounding."""


class NoiseTest(NamedTuple):
    """moved, apart: root mean square distance from the start, and between points; their ratio; p; all (…)."""

    moved: NDArray[np.float64]
    apart: NDArray[np.float64]
    ratio: NDArray[np.float64]
    p: NDArray[np.float64]


def common_displacement(from_start: ArrayLike, between: ArrayLike) -> NoiseTest:
    """Test of H₀: displacements from the start are independent and alike, with mean 0. p is the larger of two.

    from_start: (points, …); between: (points, points, …), the diagonal ignored, both directions averaged. Both are
    Euclidean distances in one unit, and all points have one start.

    They give the inner products of the displacements δ, Gᵢⱼ = (mᵢ² + mⱼ² − dᵢⱼ²) / 2. With u = (1, …, 1)/√points, uᵀGu
    is points · ‖mean δ‖². Normal noise of mean 0, whatever its covariances, stays as likely when the points are rotated
    into one another, so P(vᵀGv ≥ uᵀGu) for v uniform on the unit sphere is the share of rotations that leave a mean as
    long as this one: exact for any number of points and of dimensions, and in one dimension the two-sided t test.
    Source: Langsrud (2005), Rotation tests; P(Σ aₖzₖ² ≥ 0) as in Imhof (1961).

    Other noise, such as steps that all have one length, is more regular than rotations know, and would be found too
    often. In many dimensions inner products of different points are nearly independent and normal whatever the noise,
    so the second test is Student's, one-sided, of the Gᵢⱼ of all pairs.

    Such noise has a ratio of √½ on average (of squares, ½), for points lie √2 times as far from one another as from
    where they started. p is NaN for fewer than 3 points, where a mean distance is 0, and where the distances are not
    those of points around one start (G has a negative eigenvalue).

    >>> start, points = 0.0, np.array([9.0, 10.0, 11.0])
    >>> test = common_displacement(abs(points - start), abs(points[:, None] - points))
    >>> float(test.moved.round(3)), float(test.apart.round(3)), float(test.p.round(6))  # scipy.stats.ttest_1samp
    (10.033, 1.414, 0.003317)
    """
    m = np.asarray(from_start, dtype=np.float64)
    d = np.asarray(between, dtype=np.float64)
    d = (d + np.swapaxes(d, 0, 1)) / 2.0
    points = len(m)
    d[np.arange(points), np.arange(points)] = 0.0
    squares = (m * m).sum(0)
    moved, apart = np.sqrt(squares / points), np.sqrt((d * d).sum((0, 1)) / (points * (points - 1)))
    able = np.isfinite(moved) & np.isfinite(apart) & (moved > 0) & (apart > 0)
    ratio = np.full(moved.shape, np.nan)
    np.divide(moved, apart, out=ratio, where=able)
    p = np.full(moved.shape, np.nan)
    if points < 3 or not able.any():
        return NoiseTest(moved, apart, ratio, p)
    m, d = m[:, able] / moved[able], d[:, :, able] / moved[able]
    gram = np.moveaxis(m[:, None] ** 2 + m[None] ** 2 - d**2, -1, 0) / 2.0
    eigenvalues = np.linalg.eigvalsh(gram)
    one_start = eigenvalues[:, 0] > -ROUNDING * eigenvalues[:, -1]
    rotated = np.clip(_share_above_0(eigenvalues - gram.mean((1, 2))[:, None] * points), DIGITS, 1.0)
    p[able] = np.where(one_start, np.fmax(rotated, _above_0(gram[(slice(None), *np.triu_indices(points, 1))])), np.nan)
    return NoiseTest(moved, apart, ratio, p)


def _above_0(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Student's one-sided p that the mean over the last axis is above 0; NaN where all are 0."""
    from scipy.special import stdtr

    n = x.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        t = x.mean(-1) / (x.std(-1, ddof=1) / np.sqrt(n))
    return np.asarray(stdtr(n - 1, -t))


def _share_above_0(a: NDArray[np.float64]) -> NDArray[np.float64]:
    """P(Σ aₖzₖ² ≥ 0) of independent standard normal z, over the last axis: ½ + ∫ sin θ(t) / ρ(t) d log t / π, with
    θ = ½ Σ atan aₖt and ρ = Π (1 + aₖ²t²)^¼, which is smooth in log t."""
    largest = np.abs(a).max(-1, keepdims=True)
    a = np.divide(a, largest, out=np.zeros_like(a), where=largest > 0)
    total = np.zeros(a.shape[:-1])
    for t in np.exp(np.arange(*REACH, STEP)):
        total += np.sin(np.arctan(a * t).sum(-1) / 2.0) / np.exp(np.log1p((a * t) ** 2).sum(-1) / 4.0)
    return np.asarray(0.5 + STEP / np.pi * total)
