"""Metrics of the values as they are, against SciPy and NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from scipy import spatial, stats

from tests.metrics.facts import Pair, single, weights
from wdiv.metrics import METRICS
from wdiv.metrics.empirical import histogram_js, kolmogorov_smirnov, wasserstein1


@settings(max_examples=100)
@given(pair=weights())
def test_wasserstein1_is_scipy_s(pair: Pair) -> None:
    wanted = stats.wasserstein_distance(*(x.astype(np.float64) for x in pair))
    assert math.isclose(
        single(METRICS["wasserstein1"], *pair), wanted, rel_tol=1e-9, abs_tol=1e-12 * np.abs(pair).max()
    )


@settings(max_examples=100)
@given(pair=weights())
def test_kolmogorov_smirnov_is_scipy_s(pair: Pair) -> None:
    doubles = (x.astype(np.float64) for x in pair)  # SciPy ≥ 1.18 answers in the precision that it is given
    wanted = stats.ks_2samp(*doubles, method="asymp").statistic
    assert single(METRICS["kolmogorov_smirnov"], *pair) == pytest.approx(wanted, abs=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_of_weights_is_scipy_s_too(dtype: type) -> None:
    rng = np.random.default_rng(3)
    a = rng.normal(0.0, 0.05, 20000).astype(dtype)
    b = (a + rng.normal(0.001, 0.01, 20000)).astype(dtype)
    assert single(METRICS["wasserstein1"], a, b) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-6)
    wanted = stats.ks_2samp(a.astype(np.float64), b.astype(np.float64), method="asymp").statistic
    assert single(METRICS["kolmogorov_smirnov"], a, b) == pytest.approx(wanted, abs=1e-15)
    both = np.concatenate([a, b]).astype(np.float64)
    p, q = (np.histogram(x, 64, (both.min(), both.max()))[0] / 20000 for x in (a, b))
    wanted = spatial.distance.jensenshannon(p, q) ** 2
    assert single(METRICS["histogram_js"], a, b) == pytest.approx(wanted, rel=1e-9)


def test_bounds_are_reached() -> None:
    low, high = np.array([0.0, 0.1]), np.array([0.9, 1.0])
    assert float(kolmogorov_smirnov(low, high)) == 1.0
    assert float(histogram_js(low, high)) == METRICS["histogram_js"].upper == math.log(2)


def test_a_common_shift_is_the_distance() -> None:
    a = np.sort(np.random.default_rng(0).normal(size=1000))
    assert float(wasserstein1(a, a + 0.25)) == pytest.approx(0.25, rel=1e-14)
