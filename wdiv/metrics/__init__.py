"""The metrics: one function each on the sums of ``numerics``, registered with its facts, a file a family.

LAW: this room imports :mod:`wdiv.numerics`, the registry and the errors, numpy, scipy and numba. Arrays in, arrays out.
"""

from wdiv.metrics import gaussian, paired, empirical, spectral, trajectory, features, outputs  # noqa: F401, I001 - registers
from wdiv.metrics.record import FAMILIES, METRICS, REDUCTIONS, Family, Metric, metric, metric_names

__all__ = ["FAMILIES", "METRICS", "REDUCTIONS", "Family", "Metric", "metric", "metric_names"]
