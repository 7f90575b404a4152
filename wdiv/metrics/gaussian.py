"""Metrics of two Gaussian fits. A fit ignores which element moved: report a paired metric beside it."""

from __future__ import annotations

import numpy as np

from wdiv import numerics
from wdiv.metrics.record import metric
from wdiv.numerics import Moments

__all__ = ["gaussian_kl", "gaussian_kl_peng2020"]


@metric(
    takes="moments",
    long_name="Kullback-Leibler divergence of Gaussian fits, KL(A‖B)",
    formula="log(σ_B/σ_A) + (σ_A² + (μ_A − μ_B)²) / (2σ_B²) − ½",
    source="Kullback and Leibler (1951)",
    units="nat",
)
def gaussian_kl(a: Moments, b: Moments) -> np.ndarray:
    """KL(A‖B) of the Gaussian fits of A (the reference) and B, in nats.

    >>> a = Moments(np.array(0.0), np.array(1.0))
    >>> b = Moments(np.array(1.0), np.array(1.0))
    >>> float(gaussian_kl(a, b))
    0.5
    """
    return numerics.gaussian_kl(a.mean, a.std, b.mean, b.std)


@metric(
    takes="moments",
    long_name="equation (1) of Peng and Wang (2020): KL(A‖B) + ½",
    formula="log(σ_B/σ_A) + (σ_A² + (μ_A − μ_B)²) / (2σ_B²)",
    source="Peng and Wang (2020), eq. (1), which leaves out the −½ of the true divergence",
    units="nat",
    lower=0.5,
    identity=0.5,
)
def gaussian_kl_peng2020(a: Moments, b: Moments) -> np.ndarray:
    """The paper's figure, for setting ours beside it. It is ½ for identical layers; prefer :func:`gaussian_kl`.

    >>> a = Moments(np.array(0.0), np.array(1.0))
    >>> float(gaussian_kl_peng2020(a, a))
    0.5
    """
    return gaussian_kl(a, b) + 0.5
