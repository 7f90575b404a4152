"""Distances between the features of new images and of the source's: what needs no labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.transferability import _check
from baselines.transferability._thin import centred, triangle
from baselines.transferability.record import score

__all__ = ["frechet_diagonal", "frechet_distance", "mmd"]


@score(
    takes="source",
    long_name="squared Fréchet distance between Gaussian fits of the features",
    formula="‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½)",
    source="Dowson and Landau (1982); on features Heusel et al. (2017)",
    units="feature²",
    higher_is_better=False,
    lower=0.0,
)
def frechet_distance(features: Any, source_features: Any) -> float:
    """‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁Σ₂)^½) of ``features`` (n, d) and ``source_features`` (m, d), in units of squared
    features; lower is nearer. Covariances divide by n − 1. Exact for fewer images than features too, though the
    covariance of few images is a poor estimate: compare values of like n and m only.

    With Σ = AᵀA, tr (Σ₁Σ₂)^½ is the nuclear norm of A₁A₂ᵀ, and the trace is ‖UᵀA₁ − VᵀA₂‖² with the singular vectors of
    A₁A₂ᵀ: no root of a d×d matrix, and no difference of large numbers. Constant features count by their means alone.
    Raises :class:`~wdiv.errors.BadInput` for arrays of the wrong form, :class:`~wdiv.errors.BadData` for fewer than 2
    images.

    Dowson and Landau, "The Fréchet distance between multivariate normal distributions", 1982; Heusel et al., "GANs
    trained by a two time-scale update rule converge to a local Nash equilibrium", NeurIPS 2017.

    >>> round(frechet_distance([[0.0], [2.0]], [[4.0], [4.0]]), 4)
    11.0
    """
    here, there = _check.both(features, source_features)
    shift = here.mean(axis=0) - there.mean(axis=0)
    one, other = _root(here), _root(there)
    rank = max(len(one), len(other))
    one, other = (np.pad(root, ((0, rank - len(root)), (0, 0))) for root in (one, other))
    u, _, vt = np.linalg.svd(one @ other.T)
    return float(np.sum(shift**2) + np.sum((u.T @ one - vt @ other) ** 2))


def _root(rows: np.ndarray) -> np.ndarray:
    """A matrix A of min(n, d) rows with AᵀA the covariance."""
    rows = centred(rows) / np.sqrt(len(rows) - 1)
    return rows if len(rows) <= rows.shape[1] else triangle(rows)


def frechet_diagonal(mean: Any, var: Any, other_mean: Any, other_var: Any) -> float:
    """The squared Fréchet distance of two Gaussians of independent features, Σ (μ − ν)² + (√v − √w)², of four vectors
    (d,); lower is nearer, in units of squared features. It sets a BatchNorm's running statistics beside those of other
    images.

    Raises :class:`~wdiv.errors.BadInput` for variances below 0 and for vectors that are not of one length. Dowson and
    Landau (1982).

    >>> frechet_diagonal([0.0, 1.0], [1.0, 4.0], [3.0, 1.0], [1.0, 9.0])
    10.0
    """
    mean, var, other_mean, other_var = _check.diagonals(mean, var, other_mean, other_var)
    return float(np.sum((mean - other_mean) ** 2 + (np.sqrt(var) - np.sqrt(other_var)) ** 2))


@score(
    takes="source",
    long_name="squared maximum mean discrepancy, unbiased",
    formula="mean_{i≠j} k(xᵢ, xⱼ) + mean_{i≠j} k(sᵢ, sⱼ) − 2 mean_{i,j} k(xᵢ, sⱼ), k(a, b) = exp(−‖a − b‖²/2h²)",
    source="Gretton, Borgwardt, Rasch, Schölkopf and Smola (2012)",
    higher_is_better=False,
    lower=-1.0,
    upper=2.0,
)
def mmd(features: Any, source_features: Any) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of ``features`` (n, d) and ``source_features``
    (m, d); lower is nearer. Around 0, and as often below as above, where both come from one distribution.

    The kernel is Gaussian, its bandwidth h the median distance between two of all n + m rows. NaN where that is 0: most
    rows are alike, and there is no scale. Constant features count for nothing unless they differ between the two. The
    memory is that of (n + m)² numbers. Raises :class:`~wdiv.errors.BadInput` for arrays of the wrong form,
    :class:`~wdiv.errors.BadData` for fewer than 2 images.

    Gretton et al., "A kernel two-sample test", JMLR 2012, equation 3.

    >>> near, far = [[0.0], [1.0]], [[10.0], [11.0]]
    >>> round(mmd(near, [[0.1], [1.1]]), 4), round(mmd(near, far), 4)
    (-0.4202, 0.8393)
    """
    from scipy.spatial.distance import pdist, squareform

    here, there = _check.both(features, source_features)
    squares = pdist(np.vstack([here, there]), "sqeuclidean")
    width = np.median(np.sqrt(squares))
    if width == 0:
        return float("nan")
    kernel, n, m = squareform(np.exp(-squares / (2 * width**2))), len(here), len(there)  # with 0 for i = j
    within, beside = kernel[:n, :n].sum() / (n * (n - 1)), kernel[n:, n:].sum() / (m * (m - 1))
    return float(within + beside - 2 * kernel[:n, n:].mean())
