"""H-scores: how much of the features' scatter lies between the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.transferability import _check
from baselines.transferability._thin import centred, seen
from baselines.transferability.record import score

__all__ = ["h_score", "h_score_shrunk"]


@score(
    takes="features",
    long_name="H-score, scatter between classes relative to all",
    formula="tr(cov(f)⁺ cov(E[f | y]))",
    source="Bao, Li, Huang, Zhang, Zheng, Zamir and Guibas (2019)",
    lower=0.0,
)
def h_score(features: Any, labels: Any) -> float:
    """tr(cov(f)⁺ cov(E[f | y])), from 0 to the number of classes less 1; higher is better. Of ``features`` (n, d) and
    ``labels`` (n,), integers or names. It is the same for every invertible linear map of the features.

    From the thin SVD of the centred features, of which singular values up to max(n, d)·ε of the largest count as zero.
    With as many independent features as images less one (d ≥ n − 1 as a rule) it is the number of classes less 1
    whatever the labels: then only :func:`h_score_shrunk` tells something. Constant features count for nothing; with no
    others the score is 0. Raises :class:`~wdiv.errors.BadInput` for arrays of the wrong form,
    :class:`~wdiv.errors.BadData` for fewer than 2 images or classes.

    Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer Learning", ICIP 2019.

    >>> round(h_score([[0.0], [0.2], [1.0], [1.2]], [0, 0, 1, 1]), 4)
    0.9615
    """
    between, singular, _ = _between(features, labels)
    return float(between[singular > 0].sum())


@score(
    takes="features",
    long_name="H-score with shrunk covariance",
    formula="(1 − a) tr(cov_a(f)⁻¹ cov(E[f | y])), cov_a = (1 − a) cov(f) + a tr(cov(f))/d I, a of Ledoit and Wolf",
    source="Ibrahim, Ponomareva and Mazumder (2021); Ledoit and Wolf (2004)",
    lower=0.0,
)
def h_score_shrunk(features: Any, labels: Any) -> float:
    """The H-score with the covariance shrunk towards a sphere, from 0 to the number of classes less 1; higher is
    better. Of ``features`` (n, d), d ≥ n too, and ``labels`` (n,), integers or names.

    (1 − a) tr(cov_a(f)⁻¹ cov(E[f | y])) with cov_a = (1 − a) cov(f) + a tr(cov(f))/d I and the intensity a of Ledoit
    and Wolf. Both covariances divide by n; some published code divides one by n − 1, which gives n/(n − 1) times this.
    Not a d×d matrix is made. Constant features count in d alone; with no others the score is 0. A spherical covariance
    (a single feature, say) needs no shrinking: a = 0. Raises :class:`~wdiv.errors.BadInput` for arrays of the wrong
    form, :class:`~wdiv.errors.BadData` for fewer than 2 images or classes.

    Ibrahim, Ponomareva and Mazumder, "Newer is not always better: Rethinking transferability metrics, their
    peculiarities, stability and performance", 2021; Ledoit and Wolf, "A well-conditioned estimator for
    large-dimensional covariance matrices", 2004.

    >>> features = [[0, 0, 1], [0, 1, 0], [4, 4, 1], [4, 5, 1]]
    >>> round(h_score(features, [0, 0, 1, 1]), 4), round(h_score(features, [0, 1, 0, 1]), 4)
    (1.0, 1.0)
    >>> round(h_score_shrunk(features, [0, 0, 1, 1]), 4), round(h_score_shrunk(features, [0, 1, 0, 1]), 4)
    (0.9777, 0.5737)
    """
    between, singular, rows = _between(features, labels)
    (n, d), used = rows.shape, singular > 0
    variances = singular**2 / n
    a = _shrinkage(rows, variances)
    kept = (1 - a) * variances[used]
    return float(np.sum(between[used] * kept / (kept + a * variances.sum() / d)))


def _between(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of each direction's scatter that is between the classes (k,), the singular values (k,), and the features
    that they are of (n, d): centred, the largest entry 1, which no score here depends on."""
    rows, targets = _check.labelled(features, labels)
    rows = centred(rows)
    rows /= np.abs(rows).max() or 1.0
    found = seen(rows, targets / np.sqrt(targets.sum(axis=0)))
    return np.sum(found.along**2, axis=1), found.singular, rows


def _shrinkage(rows: np.ndarray, variances: np.ndarray) -> float:
    """The intensity of Ledoit and Wolf, 0 to 1, of rows and the eigenvalues of their covariance."""
    n, d = rows.shape
    sphere = variances.sum() / d
    apart = np.sum((variances - sphere) ** 2) + (d - len(variances)) * sphere**2
    noise = (np.sum(np.sum(rows**2, axis=1) ** 2) / n - np.sum(variances**2)) / n
    return float(np.clip(noise / apart, 0.0, 1.0)) if apart > 0 else 0.0
