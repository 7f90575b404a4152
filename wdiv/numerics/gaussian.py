"""Divergences of two Gaussian fits, without the cancellation of their textbook forms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["bhattacharyya", "gaussian_kl", "log_ratio", "t_minus_log1p"]

_TERMS = 18
_SERIES_BELOW = 0.1  # there the first term left out is below 0.1**18 / 20 of the sum


def t_minus_log1p(t: ArrayLike) -> NDArray[np.float64]:
    """t − log(1 + t) for t > −1, to full relative accuracy near 0, where the two terms cancel.

    Below |t| = 0.1 the series t²/2 − t³/3 + … is summed, smallest term first.

    >>> float(t_minus_log1p(1e-9))
    4.999999996666667e-19
    >>> float(t_minus_log1p(0.0))
    0.0
    """
    t = np.asarray(t, dtype=np.float64)
    small = np.abs(t) < _SERIES_BELOW
    u = np.where(small, t, 0.0)
    series = np.zeros_like(u)
    for k in range(_TERMS + 1, 1, -1):
        series = (1.0 / k if k % 2 == 0 else -1.0 / k) + u * series
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(small, u * u * series, t - np.log1p(t))


def gaussian_kl(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> NDArray[np.float64]:
    """KL(A‖B) of two one-dimensional Gaussians, in nats.

    KL = ½z² + ½(t − log1p t), with r = (σ_A − σ_B)/σ_B, t = r(2 + r) = σ_A²/σ_B² − 1, z = (μ_A − μ_B)/σ_B;
    away from 0, log1p t is computed as 2 log(σ_A/σ_B), because for σ_A ≪ σ_B all digits of 1 + t are lost.
    Never negative; exactly 0 for equal arguments, two equal point masses (σ = 0) included. NaN where a spread is
    zero and the distributions differ: the true value is infinite there, and says nothing about the layer.

    >>> float(gaussian_kl(0.0, 1.0, 1.0, 1.0))
    0.5
    >>> float(gaussian_kl(0.0, 0.0, 1.0, 1.0))
    nan
    """
    mean_a, std_a, mean_b, std_b = (np.asarray(v, dtype=np.float64) for v in (mean_a, std_a, mean_b, std_b))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r = (std_a - std_b) / std_b
        z = (mean_a - mean_b) / std_b
        t = r * (2.0 + r)
        spread = np.where(np.abs(t) < _SERIES_BELOW, t_minus_log1p(t), t - 2.0 * np.log(std_a / std_b))
        kl = 0.5 * z * z + 0.5 * spread
    same = (mean_a == mean_b) & (std_a == std_b)
    degenerate = (std_a == 0) | (std_b == 0)
    return np.where(same, 0.0, np.where(degenerate, np.nan, kl))


def bhattacharyya(mean_a: ArrayLike, std_a: ArrayLike, mean_b: ArrayLike, std_b: ArrayLike) -> NDArray[np.float64]:
    """Bhattacharyya distance of two one-dimensional Gaussians, in nats.

    ¼(μ_A − μ_B)²/(σ_A² + σ_B²) + ½ log((σ_A² + σ_B²)/(2σ_Aσ_B)), the logarithm taken of 1 + (σ_A − σ_B)²/(2σ_Aσ_B).
    Exactly 0 for equal arguments; NaN where a spread is zero and the distributions differ.

    >>> float(bhattacharyya(0.0, 1.0, 2.0, 1.0))
    0.5
    """
    mean_a, std_a, mean_b, std_b = (np.asarray(v, dtype=np.float64) for v in (mean_a, std_a, mean_b, std_b))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift = mean_a - mean_b
        apart = shift * shift / (std_a * std_a + std_b * std_b)
        unlike = ((std_a - std_b) / std_a) * ((std_a - std_b) / std_b)  # a product of small spreads underflows
        distance = 0.25 * apart + 0.5 * np.log1p(0.5 * unlike)
    same = (mean_a == mean_b) & (std_a == std_b)
    return np.where(same, 0.0, np.where((std_a == 0) | (std_b == 0), np.nan, distance))


def log_ratio(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """log(b/a) of positive numbers, to full relative accuracy near 0; 0 where both are zero, NaN where one is.

    >>> float(log_ratio(1.0, 1.0)), float(log_ratio(0.0, 0.0)), float(log_ratio(0.0, 1.0))
    (0.0, 0.0, nan)
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        r = (b - a) / a
        ratio = np.where(np.abs(r) < 0.5, np.log1p(r), np.log(b) - np.log(a))
    return np.where(a == b, 0.0, np.where((a == 0) | (b == 0), np.nan, ratio))
