"""Singular values and directions of stacks of matrices, through the Gram matrix of the smaller side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["DIRECTIONS", "Spectrum", "spectrum"]

DIRECTIONS = 8
"""Leading directions that are kept."""
NOISE = 1e-7
"""Share of the largest singular value below which one is noise, being the root of a rounded square."""


class Spectrum(NamedTuple):
    """Of matrices (…, out, in).

    frobenius   ‖W‖_F² (…)
    values      singular values, the largest first (…, min(out, in))
    directions  the leading right singular vectors, (…, in, k), k = min(8, out, in / 2) and at least 1: of more than
                half of all directions any two sets overlap. Zeros where there is none
    """

    frobenius: NDArray[np.float64]
    values: NDArray[np.float64]
    directions: NDArray[np.float64]


def spectrum(matrices: ArrayLike, directions: bool = True, groups: int = 1) -> Spectrum:
    """Singular values of each matrix, in float64, and its leading input directions.

    They are the roots of the eigenvalues of WWᵀ or WᵀW, whichever is smaller: exact to rounding for the large ones,
    while those below 1e-7 of the largest are noise, and have no direction. Matrices that hold inf or NaN give NaN.

    groups  1, or into how many blocks of as many rows (…, out, in / groups) falls: the matrix is block-diagonal, as a
            grouped convolution's is, whose outputs each see the inputs of their own group. Its singular values are
            those of all blocks, and a direction has zeros but for its block's inputs

    >>> found = spectrum([[3.0, 0.0], [0.0, 4.0]])
    >>> found.values.tolist(), float(found.frobenius)
    ([4.0, 3.0], 25.0)
    >>> spectrum([[3.0], [4.0]]).values.tolist(), spectrum([[3.0], [4.0]], groups=2).values.tolist()
    ([5.0], [4.0, 3.0])
    """
    w = np.asarray(matrices, dtype=np.float64)
    finite = np.asarray(np.isfinite(w).all(axis=(-2, -1)))
    nan = np.where(finite, 1.0, np.nan)
    out, fan = w.shape[-2:]
    w = np.where(finite[..., None, None], w, 0.0).reshape(*w.shape[:-2], groups, out // groups, fan)
    wide = w.shape[-2] <= fan
    gram = w @ np.swapaxes(w, -1, -2) if wide else np.swapaxes(w, -1, -2) @ w
    frobenius = np.trace(gram, axis1=-2, axis2=-1).sum(axis=-1)  # einsum would add up a stack in another order
    k = min(DIRECTIONS, groups * gram.shape[-1], max(1, groups * fan // 2)) if directions else 0
    if directions:
        squares, vectors = np.linalg.eigh(gram)
        values = np.sqrt(np.clip(squares[..., ::-1], 0.0, None))
        leading = _leading(w if wide else None, values, vectors[..., ::-1], k)
    else:
        values = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[..., ::-1], 0.0, None))
        leading = np.zeros((*w.shape[:-3], groups * fan, 0))
    values = _descending(values.reshape(*values.shape[:-2], -1))
    return Spectrum(frobenius * nan, values * nan[..., None], leading * nan[..., None, None])


def _leading(
    w: NDArray[np.float64] | None, values: NDArray[np.float64], vectors: NDArray[np.float64], k: int
) -> NDArray[np.float64]:
    """The k leading right singular vectors (…, groups · fan, k) of block-diagonal matrices, from the eigenvectors
    (…, groups, n, n) of each block. w: the blocks, where these are the left ones; None where they are the right."""
    groups, few = values.shape[-2], min(k, values.shape[-1])
    values, vectors = values[..., :few], vectors[..., :few]
    known = values > NOISE * values[..., 0].max(axis=-1)[..., None, None]
    if w is not None:
        vectors = (np.swapaxes(w, -1, -2) @ vectors) / np.where(known, values, 1.0)[..., None, :]
    rows = np.swapaxes(np.where(known[..., None, :], vectors, 0.0), -1, -2)  # (…, groups, few, fan)
    fan, lead = rows.shape[-1], rows.shape[:-3]
    chosen = np.argsort(-values.reshape(*lead, groups * few), axis=-1, kind="stable")[..., :k]
    rows = np.take_along_axis(rows.reshape(*lead, groups * few, fan), chosen[..., None], axis=-2)
    whole = np.zeros((*lead, k, groups, fan))
    np.put_along_axis(whole, (chosen // few)[..., None, None], rows[..., None, :], axis=-2)
    return np.swapaxes(whole.reshape(*lead, k, groups * fan), -1, -2)


def _descending(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(values, axis=-1)[..., ::-1]
