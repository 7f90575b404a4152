"""Metrics of kernels as matrices (out, in·kh·kw): how strongly a layer acts, along how many directions, and which.

A grouped kernel is the block-diagonal matrix that it acts as: each output sees the inputs of its own group."""

from __future__ import annotations

import numpy as np

from wdiv.metrics.record import family
from wdiv.numerics import Spectrum

__all__ = ["delta_stable_rank", "spectral_norm_change", "stable_rank_change", "subspace_overlap"]

spectral = family("spectral", takes="three Spectrum records, of A, of B and of B − A", reductions=("layer",))


@spectral(
    long_name="relative change of the spectral norm",
    formula="‖B‖₂ / ‖A‖₂ − 1",
    source="Miyato et al. (2018), on the spectral norm of reshaped kernels",
    lower=-1.0,
    undefined="norm",
)
def spectral_norm_change(a: Spectrum, b: Spectrum, delta: Spectrum) -> np.ndarray:
    """By what share the largest singular value has grown (above 0) or shrunk. Not the convolution's operator norm.

    >>> from wdiv.numerics import spectrum
    >>> a, b = np.diag([2.0, 1.0]), np.diag([3.0, 1.0])
    >>> float(spectral_norm_change(spectrum(a), spectrum(b), spectrum(b - a)))
    0.5
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        change = (b.values[..., 0] - a.values[..., 0]) / a.values[..., 0]
    return np.where(delta.frobenius == 0, 0.0, np.where(a.values[..., 0] == 0, np.nan, change))


@spectral(
    long_name="change of the stable rank",
    formula="‖B‖_F²/‖B‖₂² − ‖A‖_F²/‖A‖₂²",
    source="Rudelson and Vershynin (2007), the stable rank",
    lower=-np.inf,
    undefined="norm",
)
def stable_rank_change(a: Spectrum, b: Spectrum, delta: Spectrum) -> np.ndarray:
    """Along how many more (above 0) or fewer directions the layer acts.

    >>> from wdiv.numerics import spectrum
    >>> a, b = np.diag([2.0, 0.0]), np.diag([2.0, 2.0])
    >>> float(stable_rank_change(spectrum(a), spectrum(b), spectrum(b - a)))
    1.0
    """
    return np.where(delta.frobenius == 0, 0.0, _stable_rank(b) - _stable_rank(a))


@spectral(
    long_name="stable rank of the change",
    formula="‖B − A‖_F² / ‖B − A‖₂²",
    source="Rudelson and Vershynin (2007), of the difference as in Hu et al. (2022)",
    symmetric=True,
)
def delta_stable_rank(a: Spectrum, b: Spectrum, delta: Spectrum) -> np.ndarray:
    """Along how many directions the layer has moved: near 1 for an update of rank one, 0 if it has not moved.

    >>> from wdiv.numerics import spectrum
    >>> a, b = np.zeros((2, 2)), np.eye(2)
    >>> float(delta_stable_rank(spectrum(a), spectrum(b), spectrum(b - a)))
    2.0
    """
    return np.where(delta.frobenius == 0, 0.0, _stable_rank(delta))


@spectral(
    long_name="overlap of the leading input directions, corrected for chance",
    formula="(o − k/in) / (1 − k/in), o = ‖V_AᵀV_B‖_F² / k, V the first k = min(8, out, in/2) right singular vectors",
    source="Hu et al. (2022), eq. (4), less its mean for subspaces drawn at random, k/in",
    lower=-1.0,
    upper=1.0,
    identity=1.0,
    symmetric=True,
    undefined="norm",
)
def subspace_overlap(a: Spectrum, b: Spectrum, delta: Spectrum) -> np.ndarray:
    """How much of what the layer responds to most is what it was: 1 the same subspace, about 0 an unrelated one.

    k directions of ``in`` (channels · kh · kw of all groups) that were drawn anew overlap by k/in: .44 for kernels of
    nine inputs, .05 for 147. Of that the overlap is cleared as Cohen's κ is: 0 is what chance gives on average, below
    it lies what avoids the old directions, down to −k/(in − k). Where there is one input alone, 1.
    Where the k-th and the next singular value are equal the subspace is not determined, nor is this number.
    Directions of a matrix of rank below k count as not overlapping. NaN where one matrix is zero and the other not.

    >>> from wdiv.numerics import spectrum
    >>> a, b = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 5.0]])
    >>> round(float(subspace_overlap(spectrum(a), spectrum(b), spectrum(b - a))), 12)
    -0.5
    >>> draw = np.random.default_rng(0).normal(size=(2, 500, 16, 9))
    >>> a, b = spectrum(draw[0]), spectrum(draw[1])
    >>> bool(abs(subspace_overlap(a, b, spectrum(draw[1] - draw[0])).mean()) < 0.02)
    True
    """
    inputs, k = a.directions.shape[-2:]
    common = np.swapaxes(a.directions, -1, -2) @ b.directions
    overlap = np.clip(np.sum(common * common, axis=-1).sum(axis=-1) / k, 0.0, 1.0)
    chance = k / inputs
    corrected = (overlap - chance) / (1.0 - chance) if k < inputs else np.ones_like(overlap)
    nothing = (a.frobenius == 0) | (b.frobenius == 0)
    return np.where(delta.frobenius == 0, 1.0, np.where(nothing, np.nan, np.clip(corrected, -1.0, 1.0)))


def _stable_rank(x: Spectrum) -> np.ndarray:
    largest = x.values[..., 0] * x.values[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(largest == 0, np.nan, x.frobenius / largest)
