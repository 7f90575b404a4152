"""One pass over the bytes: what a metric needs to know of an array, or of two, in a few float64 numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Moments", "PairSums", "moments", "pair_sums"]

Float = NDArray[np.float64]


class Moments(NamedTuple):
    """Mean and standard deviation (ddof 0)."""

    mean: Float
    std: Float


class PairSums(NamedTuple):
    """Sums over paired elements. ``difference`` is Σ(a−b)(a+b) = Σa² − Σb², without the cancellation."""

    squared_distance: Float
    difference: Float
    squared_a: Float
    squared_b: Float


def _rows(x: ArrayLike) -> NDArray[Any]:
    """``x`` as contiguous rows of float32 or float64: (…, n) -> (rows, n)."""
    array = np.asarray(x)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    array = np.atleast_1d(array)
    return np.ascontiguousarray(array.reshape(math.prod(array.shape[:-1]), array.shape[-1]))


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
    rows = _rows(x)
    mean, std = np.empty(len(rows)), np.empty(len(rows))
    row_moments(rows, mean, std)
    return Moments(mean.reshape(shape), std.reshape(shape))


def pair_sums(a: ArrayLike, b: ArrayLike) -> PairSums:
    """The sums that every paired metric is made of, over the last axis, accumulated in float64.

    a: (n,) or (…, n); b: (…, n) of the same length. Returns four arrays of shape (…).

    >>> pair_sums([3.0, 4.0], [[3.0, 4.0], [0.0, 0.0]]).squared_distance.tolist()
    [0.0, 25.0]
    """
    from wdiv.numerics.kernels import row_pair_sums

    rows_a, rows_b = _rows(a), _rows(b)
    if rows_a.shape[1] != rows_b.shape[1] or len(rows_a) not in (1, len(rows_b)):
        raise ValueError(f"cannot pair arrays of shapes {np.shape(a)} and {np.shape(b)}")
    shape = np.atleast_1d(np.asarray(b)).shape[:-1]
    out = np.zeros((4, len(rows_b)))
    row_pair_sums(rows_a, rows_b, out)
    return PairSums(*(row.reshape(shape) for row in out))
