"""Metrics of two Gaussian fits. A fit ignores which element moved: report a paired metric beside it. And what chance
makes of one depends on a tensor's size: it says nothing of which of two tensors of different sizes moved farther."""

from __future__ import annotations

import numpy as np

from wdiv import numerics
from wdiv.metrics.record import family
from wdiv.numerics import Moments

__all__ = [
    "bhattacharyya", "gaussian_kl", "gaussian_kl_peng2020", "gaussian_kl_reverse", "hellinger", "jeffreys",
    "log_std_ratio", "mean_shift", "wasserstein2_gaussian",
]  # fmt: skip

gaussian = family("gaussian", takes="two Moments, of A and of B", permutable=True)


@gaussian(
    long_name="Kullback-Leibler divergence of Gaussian fits, KL(A‖B)",
    formula="log(σ_B/σ_A) + (σ_A² + (μ_A − μ_B)²) / (2σ_B²) − ½",
    source="Kullback and Leibler (1951)",
    units="nat",
    undefined="spread",
)
def gaussian_kl(a: Moments, b: Moments) -> np.ndarray:
    """KL(A‖B) of the Gaussian fits of A (the reference) and B, in nats.

    Two draws of n values from one normal distribution have, on average, about 2/n:

    n      16     256     4096     65536
    value  0.154  0.0079  0.00047  0.000030

    >>> a = Moments(np.array(0.0), np.array(1.0))
    >>> b = Moments(np.array(1.0), np.array(1.0))
    >>> float(gaussian_kl(a, b))
    0.5
    """
    return numerics.gaussian_kl(a.mean, a.std, b.mean, b.std)


@gaussian(
    long_name="Kullback-Leibler divergence of Gaussian fits the other way, KL(B‖A)",
    formula="log(σ_A/σ_B) + (σ_B² + (μ_A − μ_B)²) / (2σ_A²) − ½",
    source="Kullback and Leibler (1951)",
    units="nat",
    undefined="spread",
)
def gaussian_kl_reverse(a: Moments, b: Moments) -> np.ndarray:
    """KL(B‖A): what the reference's fit loses in describing B, in nats.

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(0.0), np.array(2.0))
    >>> round(float(gaussian_kl_reverse(a, b)), 4), round(float(gaussian_kl(a, b)), 4)
    (0.8069, 0.3181)
    """
    return gaussian_kl(b, a)


@gaussian(
    long_name="equation (1) of Peng and Wang (2020): KL(A‖B) + ½",
    formula="log(σ_B/σ_A) + (σ_A² + (μ_A − μ_B)²) / (2σ_B²)",
    source="Peng and Wang (2020), eq. (1), which leaves out the −½ of the true divergence",
    units="nat",
    lower=0.5,
    identity=0.5,
    undefined="spread",
)
def gaussian_kl_peng2020(a: Moments, b: Moments) -> np.ndarray:
    """The paper's figure, for setting ours beside it. It is ½ for identical layers; prefer :func:`gaussian_kl`.

    >>> a = Moments(np.array(0.0), np.array(1.0))
    >>> float(gaussian_kl_peng2020(a, a))
    0.5
    """
    return gaussian_kl(a, b) + 0.5


@gaussian(
    long_name="Jeffreys divergence of Gaussian fits, KL(A‖B) + KL(B‖A)",
    formula="KL(A‖B) + KL(B‖A)",
    source="Jeffreys (1946); the sum, not its half",
    units="nat",
    symmetric=True,
    undefined="spread",
)
def jeffreys(a: Moments, b: Moments) -> np.ndarray:
    """The symmetric form of the Kullback-Leibler divergence, in nats.

    Two draws of n values from one normal distribution have, on average, about 4/n:

    n      16     256    4096     65536
    value  0.306  0.016  0.00094  0.000060

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(1.0), np.array(1.0))
    >>> float(jeffreys(a, b))
    1.0
    """
    return gaussian_kl(a, b) + gaussian_kl(b, a)


@gaussian(
    long_name="Wasserstein-2 distance of Gaussian fits",
    formula="√((μ_A − μ_B)² + (σ_A − σ_B)²)",
    source="Dowson and Landau (1982)",
    units="weight",
    symmetric=True,
    scale_free=False,
)
def wasserstein2_gaussian(a: Moments, b: Moments) -> np.ndarray:
    """How far the mass of one fit lies from the other's, in units of the weights. Defined for constant tensors too.

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(3.0), np.array(5.0))
    >>> float(wasserstein2_gaussian(a, b))
    5.0
    """
    return np.hypot(np.subtract(a.mean, b.mean), np.subtract(a.std, b.std))


@gaussian(
    long_name="Hellinger distance of Gaussian fits",
    formula="√(1 − exp(−D_B)), D_B the Bhattacharyya distance",
    source="Hellinger (1909); Pardo (2006)",
    upper=1.0,
    symmetric=True,
    undefined="spread",
)
def hellinger(a: Moments, b: Moments) -> np.ndarray:
    """0 for equal fits, towards 1 as they cease to overlap.

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(2.0), np.array(1.0))
    >>> round(float(hellinger(a, b)) ** 2, 4)
    0.3935
    """
    return np.sqrt(-np.expm1(-bhattacharyya(a, b)))


@gaussian(
    long_name="Bhattacharyya distance of Gaussian fits",
    formula="¼(μ_A − μ_B)²/(σ_A² + σ_B²) + ½ log((σ_A² + σ_B²)/(2σ_Aσ_B))",
    source="Bhattacharyya (1943)",
    units="nat",
    symmetric=True,
    undefined="spread",
)
def bhattacharyya(a: Moments, b: Moments) -> np.ndarray:
    """−log of the overlap ∫√(pq) of the two fits, in nats.

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(2.0), np.array(1.0))
    >>> float(bhattacharyya(a, b))
    0.5
    """
    return numerics.bhattacharyya(a.mean, a.std, b.mean, b.std)


@gaussian(
    long_name="shift of the mean, in standard deviations of the reference",
    formula="(μ_B − μ_A) / σ_A",
    source="Glass (1976), his Δ",
    lower=-np.inf,
    undefined="spread",
)
def mean_shift(a: Moments, b: Moments) -> np.ndarray:
    """Where the mean went, in standard deviations of A; the sign says which way.

    >>> a, b = Moments(np.array(1.0), np.array(2.0)), Moments(np.array(0.0), np.array(9.0))
    >>> float(mean_shift(a, b))
    -0.5
    """
    shift = np.subtract(b.mean, a.mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(np.equal(a.std, 0), np.nan, shift / a.std)
    return np.where((shift == 0) & np.equal(a.std, b.std), 0.0, found)


@gaussian(
    long_name="log of the ratio of standard deviations, B to A",
    formula="log(σ_B / σ_A)",
    source="Nakagawa et al. (2015), lnVR without its small-sample term",
    units="nat",
    lower=-np.inf,
    undefined="spread",
)
def log_std_ratio(a: Moments, b: Moments) -> np.ndarray:
    """Whether the weights spread (above 0) or shrank together (below 0).

    >>> a, b = Moments(np.array(0.0), np.array(1.0)), Moments(np.array(0.0), np.array(np.e))
    >>> round(float(log_std_ratio(a, b)), 12)
    1.0
    """
    return numerics.log_ratio(a.std, b.std)
