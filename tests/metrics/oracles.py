"""An independent computation of every metric: slow, plain, in 50 digits or correctly rounded sums.

An oracle takes the two lists of numbers and shares no code with wdiv. To add a metric, add one function here under
the metric's own name.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mpmath import mp, mpf, workdps

Oracle = Callable[[list[float], list[float]], float]
ORACLES: dict[str, Oracle] = {}


def oracle(function: Oracle) -> Oracle:
    """Enter the function under its own name and run it in 50 digits."""

    def precise(a: list[float], b: list[float]) -> float:
        with workdps(50):
            return float(function(a, b))

    ORACLES[function.__name__] = precise
    return function


def fit(values: list[float]) -> tuple[mpf, mpf]:
    """Mean and variance (ddof 0)."""
    mean = mp.fsum(map(mpf, values)) / len(values)
    return mean, mp.fsum((mpf(v) - mean) ** 2 for v in values) / len(values)


@oracle
def gaussian_kl_peng2020(a: list[float], b: list[float]) -> float:
    """Equation (1) of the paper, as it stands there."""
    (mean_a, var_a), (mean_b, var_b) = fit(a), fit(b)
    return mp.log(mp.sqrt(var_b) / mp.sqrt(var_a)) + (var_a + (mean_a - mean_b) ** 2) / (2 * var_b)


@oracle
def gaussian_kl(a: list[float], b: list[float]) -> float:
    """Cross entropy less entropy."""
    (mean_a, var_a), (mean_b, var_b) = fit(a), fit(b)
    entropy = mp.log(2 * mp.pi * mp.e * var_a) / 2
    return mp.log(2 * mp.pi * var_b) / 2 + (var_a + (mean_a - mean_b) ** 2) / (2 * var_b) - entropy


@oracle
def relative_l2(a: list[float], b: list[float]) -> float:
    return math.dist(a, b) / math.hypot(*a)


@oracle
def cosine_distance(a: list[float], b: list[float]) -> float:
    """The textbook form, which 50 digits can afford."""
    dot = mp.fsum(mpf(x) * mpf(y) for x, y in zip(a, b, strict=True))
    return 1 - dot / mp.sqrt(mp.fsum(mpf(x) ** 2 for x in a) * mp.fsum(mpf(y) ** 2 for y in b))
