"""Metrics of what two networks make of the same images. They see features only through their Gram matrices, and so
not how many there are nor how they are rotated."""

from __future__ import annotations

import numpy as np

from wdiv.metrics.record import family
from wdiv.numerics.gram import LEAST_IMAGES, bures_squared, inner, u_centre

__all__ = ["linear_cka", "procrustes_distance"]

features = family("features", takes="two Gram matrices (…, n, n) of the same images", reductions=())


@features(
    long_name="linear CKA, unbiased",
    formula="HSIC₁(K, L) / √(HSIC₁(K, K) HSIC₁(L, L)), K = XXᵀ, L = YYᵀ",
    source="Nguyen, Raghu and Kornblith (2021), eqs. (2) and (3); HSIC₁ of Song et al. (2012)",
    lower=-1.0,
    upper=1.0,
    identity=1.0,
    symmetric=True,
    undefined="spread",
)
def linear_cka(k: np.ndarray, l: np.ndarray) -> np.ndarray:  # noqa: E741 - K and L are the papers' names
    """How alike two representations are: 1 for equal ones up to rotation and scale, about 0 for unrelated ones.

    k, l: (…, n, n) Gram matrices of the same n > 3 images; leading axes broadcast. Not biased towards 1 as the plain
    estimate is where there are more features than images, and for that reason below 0 now and then: a cosine of two
    U-centred matrices, it lies in [−1, 1]. NaN where the images' features do not differ, or are not finite.
    Raises ``ValueError`` for fewer than four images.

    >>> from wdiv.numerics.gram import gram
    >>> x = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [4.0, 0.0]])
    >>> round(float(linear_cka(gram(x), gram(-2 * x[:, ::-1]))), 12)
    1.0
    """
    a, b = u_centre(_unit(k)), u_centre(_unit(l))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(inner(a, b) / np.sqrt(inner(a, a) * inner(b, b)), -1.0, 1.0)


@features(
    long_name="orthogonal Procrustes distance (squared) of centred features of length 1",
    formula="‖X‖² + ‖Y‖² − 2‖XᵀY‖_*, ‖X‖ = ‖Y‖ = 1",
    source="Ding, Denain and Steinhardt (2021); Williams et al. (2021) take its root",
    upper=2.0,
    symmetric=True,
    undefined="spread",
)
def procrustes_distance(k: np.ndarray, l: np.ndarray) -> np.ndarray:  # noqa: E741
    """How much of one representation no rotation brings onto the other, from 0 to 2, both scaled to length 1.

    k, l: (…, n, n) Gram matrices of the same n > 3 centred images; leading axes broadcast. It is a squared distance,
    as in the paper. Features that have nothing to do with one another come to no more than about n/4p for n images of
    p features, .016 for 32 of 512, as there is always a rotation that brings few images onto few others: set beside it
    what it is with the images of one side shuffled (:func:`wdiv.similarity.similarity` gives both). Exactly 0 for
    equal matrices, and with most of its digits for nearly equal ones (:func:`~wdiv.numerics.gram.bures_squared` says
    how many). NaN where the images' features do not differ, or are not finite. Raises ``ValueError`` for fewer than
    four images.

    >>> from wdiv.numerics.gram import gram
    >>> x = np.array([[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [4.0, 0.0]])
    >>> float(procrustes_distance(gram(x), gram(x)))
    0.0
    """
    k, l = _unit(k), _unit(l)  # noqa: E741
    known = ~np.isnan(k[..., 0, 0] + l[..., 0, 0])
    distance = np.clip(bures_squared(np.nan_to_num(k), np.nan_to_num(l)), 0.0, 2.0)
    return np.where(known, distance, np.nan)


def _unit(k: np.ndarray) -> np.ndarray:
    """Gram matrices of features of Frobenius length 1; all NaN where that cannot be."""
    k = np.asarray(k, dtype=np.float64)
    n = k.shape[-1]
    if k.ndim < 2 or k.shape[-2] != n or n < LEAST_IMAGES:
        raise ValueError(f"Gram matrices of at least {LEAST_IMAGES} images wanted, not of shape {k.shape}")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        trace = np.trace(k, axis1=-2, axis2=-1)[..., None, None]
        scaled = k / trace
    usable = np.isfinite(scaled).all(axis=(-2, -1), keepdims=True)
    return np.where(usable, scaled, np.nan)
