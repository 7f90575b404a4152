"""An independent computation of every metric: slow, plain, in 50 digits or correctly rounded sums.

An oracle takes the two lists of numbers and shares no code with wdiv. To add a metric, add one function here under
the metric's own name.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache

import numpy as np
from mpmath import mp, mpf, workdps

from tests.metrics.test_features import cka_oracle, procrustes_oracle

Oracle = Callable[[list[float], list[float]], float]
ORACLES: dict[str, Oracle] = {}


def oracle(function: Oracle) -> Oracle:
    """Enter the function under its own name and run it in 50 digits."""

    def precise(a: list[float], b: list[float]) -> float:
        with workdps(50):
            return float(function(a, b))

    ORACLES[function.__name__] = precise
    return function


def apart(name: str, a: list[float], b: list[float], identity: float) -> float:
    """How far metric(A, B) lies from its value at identity: the difference, too, is taken in 50 digits."""
    with workdps(50):
        return float(EXACT[name](a, b) - mpf(identity)) if name in EXACT else ORACLES[name](a, b) - identity


# ------------------------------------------------------------------------------------------------------- Gaussian fits


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
def gaussian_kl_reverse(a: list[float], b: list[float]) -> float:
    return gaussian_kl(b, a)


@oracle
def jeffreys(a: list[float], b: list[float]) -> float:
    """(v − w)² / 2vw + (μ − ν)²(1/v + 1/w)/2: the logarithms have gone."""
    (mean_a, v), (mean_b, w) = fit(a), fit(b)
    return (v - w) ** 2 / (2 * v * w) + (mean_a - mean_b) ** 2 * (1 / v + 1 / w) / 2


@oracle
def wasserstein2_gaussian(a: list[float], b: list[float]) -> float:
    """By Dowson and Landau's trace formula."""
    (mean_a, v), (mean_b, w) = fit(a), fit(b)
    return mp.sqrt((mean_a - mean_b) ** 2 + v + w - 2 * mp.sqrt(v * w))


def overlap(a: list[float], b: list[float]) -> mpf:
    """The Bhattacharyya coefficient ∫√(pq)."""
    (mean_a, v), (mean_b, w) = fit(a), fit(b)
    return mp.sqrt(2 * mp.sqrt(v * w) / (v + w)) * mp.exp(-((mean_a - mean_b) ** 2) / (4 * (v + w)))


@oracle
def hellinger(a: list[float], b: list[float]) -> float:
    return mp.sqrt(1 - overlap(a, b))


@oracle
def bhattacharyya(a: list[float], b: list[float]) -> float:
    return -mp.log(overlap(a, b))


@oracle
def mean_shift(a: list[float], b: list[float]) -> float:
    (mean_a, var_a), (mean_b, _) = fit(a), fit(b)
    return (mean_b - mean_a) / mp.sqrt(var_a)


@oracle
def log_std_ratio(a: list[float], b: list[float]) -> float:
    return (mp.log(fit(b)[1]) - mp.log(fit(a)[1])) / 2


# ------------------------------------------------------------------------------------------------------ paired elements


@oracle
def l2(a: list[float], b: list[float]) -> float:
    return math.dist(a, b)


@oracle
def relative_l2(a: list[float], b: list[float]) -> float:
    return math.dist(a, b) / math.hypot(*a)


@oracle
def output_change(a: list[float], b: list[float]) -> float:
    """Of the mean square of the outputs: the number of them cancels."""
    mean = mp.fsum((mpf(y) - mpf(x)) ** 2 for x, y in zip(a, b, strict=True)) / len(a)
    return mp.sqrt(mean) / mp.sqrt(mp.fsum(mpf(x) ** 2 for x in a) / len(a))


@oracle
def output_change_proxy(a: list[float], b: list[float]) -> float:
    """By the cosine rule."""
    squares = [mp.fsum(mpf(x) * mpf(y) for x, y in zip(*pair, strict=True)) for pair in ((a, a), (b, b), (a, b))]
    return mp.sqrt(squares[0] + squares[1] - 2 * squares[2]) / mp.sqrt(squares[0])


def cosine(a: list[mpf], b: list[mpf]) -> mpf:
    dot = mp.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / mp.sqrt(mp.fsum(x**2 for x in a) * mp.fsum(y**2 for y in b))


@oracle
def cosine_distance(a: list[float], b: list[float]) -> float:
    """The textbook form, which 50 digits can afford."""
    return 1 - cosine([mpf(x) for x in a], [mpf(y) for y in b])


@oracle
def pearson_distance(a: list[float], b: list[float]) -> float:
    (mean_a, _), (mean_b, _) = fit(a), fit(b)
    return 1 - cosine([x - mean_a for x in a], [y - mean_b for y in b])


@oracle
def max_abs(a: list[float], b: list[float]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


@oracle
def mean_abs(a: list[float], b: list[float]) -> float:
    return mp.fsum(abs(mpf(x) - mpf(y)) for x, y in zip(a, b, strict=True)) / len(a)


@oracle
def sign_flips(a: list[float], b: list[float]) -> float:
    return sum(min(x, y) < 0 < max(x, y) for x, y in zip(a, b, strict=True)) / len(a)


# ------------------------------------------------------------------------------------------------- values as they are


def share_up_to(values: list[float], x: float) -> mpf:
    return mpf(sum(v <= x for v in values)) / len(values)


@oracle
def wasserstein1(a: list[float], b: list[float]) -> float:
    """The area between the two distribution functions."""
    places = sorted({*a, *b})
    steps = itertools.pairwise(places)
    return mp.fsum(abs(share_up_to(a, x) - share_up_to(b, x)) * (mpf(y) - mpf(x)) for x, y in steps)


@oracle
def kolmogorov_smirnov(a: list[float], b: list[float]) -> float:
    return max(abs(share_up_to(a, x) - share_up_to(b, x)) for x in {*a, *b})


@oracle
def histogram_js(a: list[float], b: list[float]) -> float:
    """Every value is put into its bin by looking at the edges, one after the other."""
    low, high = min(*a, *b), max(*a, *b)
    edges = [low + (high - low) * (k / 64) for k in range(1, 64)]
    p, q = ([mpf(0)] * 64 for _ in "pq")
    for shares, values in ((p, a), (q, b)):
        for v in values:
            shares[sum(v >= edge for edge in edges) if high > low else 0] += mpf(1) / len(values)
    pairs = list(zip(p, q, strict=True))
    entropy = [-x * mp.log(x) if x else mpf(0) for pair in pairs for x in (sum(pair) / 2, *pair)]
    return mp.fsum(entropy[::3]) - mp.fsum(entropy[1::3]) / 2 - mp.fsum(entropy[2::3]) / 2


# ------------------------------------------------------------------------------------------------------------- spectra


def matrix(values: list[float]) -> mp.matrix:
    """As square as it can be, wider than tall."""
    out = max(d for d in range(1, len(values) + 1) if len(values) % d == 0 and d * d <= len(values))
    width = len(values) // out
    return mp.matrix([values[i * width : (i + 1) * width] for i in range(out)])


@cache
def decomposed(values: tuple[float, ...]) -> tuple[mp.matrix, mp.matrix]:
    """Singular values and right singular vectors (as rows)."""
    with workdps(50):
        _, s, v = mp.svd_r(matrix(list(values)))
    return s, v


def stable_rank(values: list[float]) -> mpf:
    s, _ = decomposed(tuple(values))
    return mp.fsum(mpf(v) ** 2 for v in values) / s[0] ** 2


@oracle
def spectral_norm_change(a: list[float], b: list[float]) -> float:
    return decomposed(tuple(b))[0][0] / decomposed(tuple(a))[0][0] - 1


@oracle
def stable_rank_change(a: list[float], b: list[float]) -> float:
    return stable_rank(b) - stable_rank(a)


@oracle
def delta_stable_rank(a: list[float], b: list[float]) -> float:
    return stable_rank([y - x for x, y in zip(a, b, strict=True)])


@oracle
def subspace_overlap(a: list[float], b: list[float]) -> float:
    """The sum of the squared cosines between all pairs of leading directions, on the scale from chance to 1."""
    (_, v), (_, w) = decomposed(tuple(a)), decomposed(tuple(b))
    k = min(8, v.rows, max(1, v.cols // 2))
    if k == v.cols:
        return mpf(1)
    cosines = ((v[i, :] * w[j, :].T)[0] for i in range(k) for j in range(k))
    chance = mpf(k) / v.cols
    return (mp.fsum(c**2 for c in cosines) / k - chance) / (1 - chance)


# --------------------------------------------------------------------------- a path of two epochs, A and then B


@oracle
def epoch_step(a: list[float], b: list[float]) -> float:
    return math.dist(a, b)


@oracle
def displacement(a: list[float], b: list[float]) -> float:
    return math.dist(a, b)


@oracle
def path_length(a: list[float], b: list[float]) -> float:
    return math.dist(a, a) + math.dist(a, b)


@oracle
def straightness(a: list[float], b: list[float]) -> float:
    return math.dist(a, b) / (math.dist(a, a) + math.dist(a, b))


# ---------------------------------------------------------------------- features of six images, one after the other


def _of_features(function: Callable[[np.ndarray, np.ndarray], float]) -> Oracle:
    return lambda a, b: function(*(np.reshape(values, (6, -1)) for values in (a, b)))


ORACLES["linear_cka"] = _of_features(cka_oracle)
ORACLES["procrustes_distance"] = _of_features(procrustes_oracle)
EXACT = {name: globals()[name] for name in ORACLES if name in globals()}
"""The oracles that give all their digits."""
