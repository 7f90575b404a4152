"""The metrics: one function each, registered with its facts.

LAW: this room imports :mod:`wdiv.numerics` and the registry, numpy, scipy and numba. Arrays in, arrays out.
"""

from wdiv.metrics import gaussian, paired  # noqa: F401 - importing registers
from wdiv.metrics.record import METRICS, Metric, metric

__all__ = ["METRICS", "Metric", "metric"]
