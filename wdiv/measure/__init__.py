"""The one place where metrics meet labels: a tree of weights in, a tree of divergence out.

Every metric is metric(A, B) with A the reference: ``divergence(tree, reference=R)`` is metric(R, run), and
``diff(a, b)`` is metric(a, b). LAW: this room imports :mod:`wdiv.metrics` and
:mod:`wdiv.layers` of wdiv, numpy and xarray; dask where a tree is in chunks.
"""

from wdiv.measure.across import pairwise
from wdiv.measure.along import divergence, with_derived
from wdiv.measure.between import Weights, diff
from wdiv.measure.flags import INCOMPARABLE, REASONS, UNDEFINED, Flag, why
from wdiv.measure.plan import stored_names
from wdiv.measure.reference import position_of
from wdiv.measure.roles import by_roles, roles_of, together
from wdiv.measure.rows import DEFAULT_METRICS, Comparison, Tensors, compare

__all__ = [
    "DEFAULT_METRICS", "INCOMPARABLE", "REASONS", "UNDEFINED", "Comparison", "Flag", "Tensors", "Weights",
    "by_roles", "compare", "diff", "divergence", "pairwise", "position_of", "roles_of", "stored_names", "together",
    "why", "with_derived",
]  # fmt: skip
