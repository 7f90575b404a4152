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
    directions  the leading right singular vectors, (…, in, k), k = min(8, out, in); zeros where there is none
    """

    frobenius: NDArray[np.float64]
    values: NDArray[np.float64]
    directions: NDArray[np.float64]


def spectrum(matrices: ArrayLike, directions: bool = True) -> Spectrum:
    """Singular values of each matrix, in float64, and its leading input directions.

    They are the roots of the eigenvalues of WWᵀ or WᵀW, whichever is smaller: exact to rounding for the large ones,
    while those below 1e-7 of the largest are noise, and have no direction. Matrices that hold inf or NaN give NaN.

    >>> found = spectrum([[3.0, 0.0], [0.0, 4.0]])
    >>> found.values.tolist(), float(found.frobenius)
    ([4.0, 3.0], 25.0)
    """
    w = np.asarray(matrices, dtype=np.float64)
    finite = np.asarray(np.isfinite(w).all(axis=(-2, -1)))
    w = np.where(finite[..., None, None], w, 0.0)
    wide = w.shape[-2] <= w.shape[-1]
    gram = w @ np.swapaxes(w, -1, -2) if wide else np.swapaxes(w, -1, -2) @ w
    k = min(DIRECTIONS, gram.shape[-1])
    if directions:
        squares, vectors = np.linalg.eigh(gram)
        leading = vectors[..., ::-1][..., :k]
        values = np.sqrt(np.clip(squares[..., ::-1], 0.0, None))
        known = values[..., None, :k] > NOISE * values[..., None, :1]
        if wide:
            leading = (np.swapaxes(w, -1, -2) @ leading) / np.where(known, values[..., None, :k], 1.0)
        leading = np.where(known, leading, 0.0)
    else:
        values = np.sqrt(np.clip(np.linalg.eigvalsh(gram)[..., ::-1], 0.0, None))
        leading = np.zeros((*w.shape[:-2], w.shape[-1], 0))
    nan = np.where(finite, 1.0, np.nan)
    frobenius = np.trace(gram, axis1=-2, axis2=-1)  # einsum would add up a stack in another order than one matrix
    return Spectrum(frobenius * nan, values * nan[..., None], leading * nan[..., None, None])
