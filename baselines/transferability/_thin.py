"""Labels seen from the thin SVD of the features: never a d×d matrix where there are fewer images than features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Seen(NamedTuple):
    """Targets Y in the directions U of F = U diag(singular) Vᵀ.

    singular  (k,), k = min(n, d), falling; what is zero up to rounding is 0
    along     (k, targets), UᵀY
    beyond    (targets,), ‖Y‖² outside of U
    """

    singular: np.ndarray
    along: np.ndarray
    beyond: np.ndarray


def seen(features: np.ndarray, targets: np.ndarray) -> Seen:
    """Singular values up to max(n, d)·ε of the largest count as 0, as in ``numpy.linalg.matrix_rank``.

    The longer side goes by a QR decomposition whose Q is never formed. Beside the features it takes in the targets, so
    that what lies beyond them is found without a difference.
    """
    n, d = features.shape
    if n > d:
        r = triangle(np.hstack([features, targets]))
        u, singular, _ = np.linalg.svd(r[:d, :d])
        along, beyond = u.T @ r[:d, d:], np.sum(r[d:, d:] ** 2, axis=0)
    else:
        u, singular, _ = np.linalg.svd(triangle(features.T).T)
        along, beyond = u.T @ targets, np.zeros(targets.shape[1])
    cutoff = singular[0] * max(n, d) * np.finfo(np.float64).eps
    return Seen(np.where(singular > cutoff, singular, 0.0), along, beyond)


def triangle(matrix: np.ndarray) -> np.ndarray:
    """R of the QR decomposition, of which RᵀR = matrixᵀ matrix."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def centred(rows: np.ndarray) -> np.ndarray:
    """Without their mean. From the first row on, so that a constant column becomes 0 and not its rounding error."""
    rows = rows - rows[0]
    return rows - rows.mean(axis=0)
