"""Inner products of images' features, and what two such matrices have in common. n images give (n, n), whatever the
features' number: that is all a comparison of features needs to keep."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["LEAST_IMAGES", "bures_squared", "gram", "inner", "u_centre"]

Float = NDArray[np.float64]

LEAST_IMAGES = 4
"""The unbiased estimate divides by n − 3."""
_BLOCK = 1 << 17
"""Elements that are held in float64 at a time (1 MiB, so that they stay in the cache)."""


def gram(x: ArrayLike) -> Float:
    """Inner products of the rows of ``x``, each column less its mean: (n, …) -> (n, n).

    Whatever follows the first axis counts as columns, in the order in which they lie in memory; their order does not
    matter, and so nothing is copied. Sums run in float64 over blocks of columns. Columns that are constant add
    exactly 0.

    >>> gram([[1.0, 5.0], [3.0, 5.0]]).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    rows = _as_rows(np.asarray(x))
    count, width = rows.shape
    step = max(1, _BLOCK // max(1, count))
    total = np.zeros((count, count))
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite stays visible in the result
        for start in range(0, width, step):
            block = rows[:, start : start + step].astype(np.float64)
            block -= block[:1].copy()  # exact for a constant column, where x - mean(x) need not be
            block -= block.mean(axis=0)
            total += block @ block.T
    return total


def _as_rows(x: NDArray[np.generic]) -> NDArray[np.generic]:
    """(n, …) -> (n, columns) without a copy, where the rows lie apart."""
    rest = sorted(range(1, x.ndim), key=lambda axis: -abs(x.strides[axis]))
    return x.transpose(0, *rest).reshape(len(x), math.prod(x.shape[1:]))


def u_centre(k: ArrayLike) -> Float:
    """The off-diagonal elements less their row's and column's effect (Székely and Rizzo 2014): (…, n, n), n > 3.

    A[i, j] = K[i, j] − R[i]/(n−2) − R[j]/(n−2) + S/((n−1)(n−2)), with R the rows' sums and S their sum, the diagonal
    of K left out; A[i, i] = 0. Every row of A sums to 0. What is left by rounding alone becomes 0.

    Raises ``ValueError`` for fewer than four images.

    >>> bool(np.allclose(u_centre(np.diag([1.0, 2.0, 3.0, 4.0]) + 7.0), 0))
    True
    """
    k = np.array(k, dtype=np.float64)
    n = k.shape[-1]
    if k.ndim < 2 or k.shape[-2] != n or n < LEAST_IMAGES:
        raise ValueError(f"Gram matrices of at least {LEAST_IMAGES} images wanted, not of shape {k.shape}")
    size = _norm(k)
    diagonal = np.arange(n)
    k[..., diagonal, diagonal] = 0.0
    sums = k.sum(axis=-1)
    effect = sums / (n - 2)
    k -= effect[..., :, None] + effect[..., None, :]
    k += (sums.sum(axis=-1) / ((n - 1) * (n - 2)))[..., None, None]
    k[..., diagonal, diagonal] = 0.0
    k[_norm(k) <= 8 * n * np.finfo(float).eps * size] = 0.0
    return k


def inner(a: Float, b: Float) -> Float:
    """Sum of the elementwise products of matrices: (…, n, n), (…, n, n) -> (…).

    Of two U-centred ones, n(n−3) times the unbiased estimate HSIC₁ (Song et al. 2012, eq. 5), without the cancellation
    of its three terms [tr(K̃L̃) + 1ᵀK̃1·1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2)·1ᵀK̃L̃1], K̃ and L̃ being K and L less their diagonals.
    """
    left, right = (m.reshape(*m.shape[:-2], -1) for m in (a, b))
    return np.matmul(left[..., None, :], right[..., :, None])[..., 0, 0]  # one BLAS dot a pair


def bures_squared(k: ArrayLike, l: ArrayLike) -> Float:  # noqa: E741 - K and L are the papers' names
    """min over rotations Q of ‖X − YQ‖² = tr K + tr L − 2‖XᵀY‖_*, from K = XXᵀ and L = YYᵀ: (…, n, n) -> (…).

    ‖XᵀY‖_*, the nuclear norm, is the sum of the singular values of L^½ᵀK^½. They give the best rotation of one root
    onto the other, and what remains between the two is summed: the difference of the three terms would lose every
    digit where K and L are nearly equal. Exactly 0 for equal matrices. Against 50 digits, for features with no nearly
    dependent images: relative error below 1e-8 where they differ by a millionth, 1e-7 where by 1e-8 (the difference
    of terms: 1e-3, and no digit). Directions that one has and the other has but by rounding cost up to 1e-11 of the
    trace. Leading axes broadcast; each matrix is decomposed once. Finite input is the caller's to see to.

    >>> x, y = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 2.0], [2.0, 0.0]])
    >>> round(float(bures_squared(x @ x.T, y @ y.T)), 12)
    2.0
    """
    k, l = np.asarray(k, dtype=np.float64), np.asarray(l, dtype=np.float64)  # noqa: E741
    root_k, root_l = _root(k), _root(l)
    u, _, vt = np.linalg.svd(np.swapaxes(root_l, -1, -2) @ root_k)
    apart = root_k - root_l @ (u @ vt)
    same = (k == l).all(axis=(-2, -1))
    return np.where(same, 0.0, inner(apart, apart))


def _root(k: Float) -> Float:
    """F with FFᵀ = K. Directions that K has by rounding alone are left out."""
    values, vectors = np.linalg.eigh(k)
    least = k.shape[-1] * np.finfo(float).eps * values[..., -1:]
    return vectors * np.sqrt(np.where(values > least, values, 0.0))[..., None, :]


def _norm(k: Float) -> Float:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(inner(k, k))
