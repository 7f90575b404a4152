"""Two samples of the same size, without a model of how they are distributed. Arrays come sorted along the last axis."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdiv.numerics.reduce import paired_rows

__all__ = ["BINS", "histograms", "largest_gap", "mean_quantile_distance"]

BINS = 64


def mean_quantile_distance(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Mean |a₍ᵢ₎ − b₍ᵢ₎| of sorted samples: the Wasserstein-1 distance of their empirical distributions.

    a: (n,) or (…, n); b: (…, n). Returns (…).

    >>> float(mean_quantile_distance([0.0, 1.0], [2.0, 3.0]))
    2.0
    """
    rows_a, rows_b, shape = paired_rows(a, b)
    if rows_b.shape[1] == 0:
        return np.full(shape, np.nan)
    found = [np.abs(np.subtract(rows_a[i % len(rows_a)], row, dtype=np.float64)).mean() for i, row in enumerate(rows_b)]
    return np.reshape(found, shape)


def largest_gap(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """max |F_a − F_b| of the empirical distribution functions of sorted samples (Kolmogorov and Smirnov).

    a: (n,) or (…, n); b: (…, n). Returns (…), NaN for samples that are empty or not finite.

    >>> float(largest_gap([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]))
    0.25
    """
    from wdiv.numerics.kernels import row_largest_gap

    rows_a, rows_b, shape = paired_rows(a, b)
    out = np.empty(len(rows_b))
    row_largest_gap(rows_a, rows_b, out)
    return np.where(_finite(rows_a, rows_b), out, np.nan).reshape(shape)


def histograms(a: ArrayLike, b: ArrayLike, bins: int = BINS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Shares of two sorted samples in equal bins from the smallest to the largest value of both together.

    Bin k holds what is at least lo + (hi − lo)·k/bins and below the next edge; the last one holds hi too. Where all
    values are equal, the first bin holds everything.
    a: (n,) or (…, n); b: (…, n). Returns two arrays (…, bins), NaN for samples that are empty or not finite.

    >>> p, q = histograms([0.0, 0.0, 1.0, 4.0], [1.0, 2.0, 3.0, 4.0], bins=2)
    >>> p.tolist(), q.tolist()
    ([0.75, 0.25], [0.25, 0.75])
    """
    rows_a, rows_b, shape = paired_rows(a, b)
    shares = np.full((2, len(rows_b), bins), np.nan)
    for i in np.flatnonzero(_finite(rows_a, rows_b)):
        row = rows_b[i]
        other = rows_a[i % len(rows_a)]
        low, high = min(float(other[0]), float(row[0])), max(float(other[-1]), float(row[-1]))
        edges = low + (high - low) * (np.arange(1, bins) / bins)
        for share, sample in zip(shares[:, i], (other, row), strict=True):
            below = np.searchsorted(sample, edges, side="left") if high > low else np.full(bins - 1, sample.size)
            share[:] = np.diff([0, *below, sample.size]) / sample.size
    return shares[0].reshape(*shape, bins), shares[1].reshape(*shape, bins)


def _finite(rows_a: NDArray[Any], rows_b: NDArray[Any]) -> NDArray[np.bool_]:
    """Rows of ``b`` that hold something, and neither inf nor NaN, nor do the rows of ``a`` that they pair with."""
    if rows_b.shape[1] == 0:
        return np.zeros(len(rows_b), dtype=bool)
    a, b = (np.isfinite(rows[:, [0, -1]]).all(axis=1) for rows in (rows_a, rows_b))  # where sorting puts them
    return np.tile(a, len(b) // max(1, len(a))) & b
