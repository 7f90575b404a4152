"""One pass over the bytes: what a metric needs to know of an array, or of two, in a few float64 numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Moments", "PairSums", "moments", "pair_sums", "rows_of"]

Float = NDArray[np.float64]


class Moments(NamedTuple):
    """Mean and standard deviation (ddof 0)."""

    mean: Float
    std: Float


class PairSums(NamedTuple):
    """What two arrays of paired elements have in common; d is a − b, a bar the mean.

    n          elements;  a, b: the moments of each
    mean_d, central_d   d̄, Σ(d−d̄)²
    co         Σ(d−d̄)(b−b̄)
    absolute   Σ|d|;  largest: max|d|;  flips: elements that are negative in one and positive in the other

    The others follow without cancellation: from sums of squares they would lose every digit for small changes.
    (Squares are products: of one number, ``x**2`` is rounded otherwise than of an array.)
    """

    n: int
    a: Moments
    b: Moments
    mean_d: Float
    central_d: Float
    co: Float
    absolute: Float
    largest: Float
    flips: Float

    @classmethod
    def join(cls, parts: Sequence[PairSums]) -> PairSums:
        """Parts of one whole, one after the other along the first axis."""
        moments_of = ([part.a for part in parts], [part.b for part in parts])
        a, b = (Moments(*map(np.concatenate, zip(*side, strict=True))) for side in moments_of)
        rest = (np.concatenate([part[i] for part in parts]) for i in range(3, len(cls._fields)))
        return cls(parts[0].n, a, b, *rest)

    @property
    def central_a(self) -> Float:
        """Σ(a−ā)²"""
        return self.n * (self.a.std * self.a.std)

    @property
    def central_b(self) -> Float:
        """Σ(b−b̄)²"""
        return self.n * (self.b.std * self.b.std)

    @property
    def central_difference(self) -> Float:
        """Σ(a−ā)² − Σ(b−b̄)²"""
        return self.central_d + 2.0 * self.co

    @property
    def squared_distance(self) -> Float:
        """Σ(a−b)²"""
        return self.central_d + self.n * (self.mean_d * self.mean_d)

    @property
    def squared_a(self) -> Float:
        """Σa²"""
        return self.central_a + self.n * (self.a.mean * self.a.mean)

    @property
    def squared_b(self) -> Float:
        """Σb²"""
        return self.central_b + self.n * (self.b.mean * self.b.mean)

    @property
    def difference(self) -> Float:
        """Σa² − Σb²"""
        return self.central_difference + self.n * self.mean_d * (self.mean_d + 2.0 * self.b.mean)


def rows_of(x: ArrayLike) -> NDArray[Any]:
    """``x`` as contiguous rows of float32 or float64: (…, n) -> (rows, n)."""
    array = np.asarray(x)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    array = np.atleast_1d(array)
    return np.ascontiguousarray(array.reshape(math.prod(array.shape[:-1]), array.shape[-1]))


def paired_rows(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[Any], NDArray[Any], tuple[int, ...]]:
    """Rows of both, and the shape (…) of what is computed from each pair of rows."""
    rows_a, rows_b = rows_of(a), rows_of(b)
    if rows_a.shape[1] != rows_b.shape[1] or len(rows_b) % max(1, len(rows_a)) or len(rows_a) == 0 < len(rows_b):
        raise ValueError(f"cannot pair arrays of shapes {np.shape(a)} and {np.shape(b)}")
    return rows_a, rows_b, np.atleast_1d(np.asarray(b)).shape[:-1]


def moments(x: ArrayLike) -> Moments:
    """Mean and standard deviation over the last axis, accumulated in float64.

    x: (…, n) of any real dtype. Returns two arrays of shape (…). An empty axis gives NaN; a constant one a
    standard deviation of exactly 0.

    >>> mean, std = moments(np.array([[1.0, 3.0], [2.0, 2.0]]))
    >>> mean.tolist(), std.tolist()
    ([2.0, 2.0], [1.0, 0.0])
    """
    from wdiv.numerics.kernels import row_moments

    shape = np.atleast_1d(np.asarray(x)).shape[:-1]
    rows = rows_of(x)
    mean, std = np.empty(len(rows)), np.empty(len(rows))
    row_moments(rows, mean, std)
    return Moments(mean.reshape(shape), std.reshape(shape))


def pair_sums(
    a: ArrayLike, b: ArrayLike, fit_a: Moments | None = None, fit_b: Moments | None = None, *, fits: bool = True
) -> PairSums:
    """The sums that every paired metric is made of, over the last axis, accumulated in float64.

    a: (n,) or (…, n); b: (…, n) of the same length; the rows of ``a`` may be the last few axes of b's, and stand for
    all before them. fit_a, fit_b: their moments, where they are known already. Fields have the shape (…).
    fits: False where distances are enough: no moments are computed, and what follows from them is NaN.

    >>> pair_sums([3.0, 4.0], [[3.0, 4.0], [0.0, 0.0]]).squared_distance.tolist()
    [0.0, 25.0]
    """
    from wdiv.numerics.kernels import row_pair_sums

    rows_a, rows_b, shape = paired_rows(a, b)
    n = rows_b.shape[1]
    out = np.zeros((6, len(rows_b)))
    row_pair_sums(rows_a, rows_b, out)
    out[4:, ~np.isfinite(out[3])] = np.nan  # comparisons pass over NaN
    if fits:
        fit_a, fit_b = fit_a or moments(a), fit_b or moments(b)
        with np.errstate(invalid="ignore"):  # of a row that holds inf
            out[2] -= (np.ravel(fit_b.mean) - rows_b[:, 0]) * (n * out[0]) if n else 0.0
    else:
        nothing = np.full(shape, np.nan)
        fit_a = fit_b = Moments(nothing, nothing)
        out[2] = np.nan
    if np.shape(fit_a.mean) != shape:
        repeats = len(rows_b) // max(1, len(rows_a))
        fit_a = Moments(*(np.tile(np.ravel(value), repeats).reshape(shape) for value in fit_a))
    return PairSums(n, fit_a, fit_b, *(row.reshape(shape) for row in out))
