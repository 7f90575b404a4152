"""Weights that hardly move are what is measured here: how many digits of a small change each metric keeps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.metrics.facts import single
from tests.metrics.oracles import ORACLES, apart
from wdiv.metrics import METRICS

EPS = float(np.finfo(float).eps)
LOST = {
    "subspace_overlap": 1e-12,  # 1 less a squared angle
    "linear_cka": 1e-13,  # likewise
    "straightness": math.inf,  # 1, however small the step
}
"""Absolute error where the change itself is not what a metric keeps; the others are right relative to the change."""


@pytest.mark.parametrize("name", list(METRICS))
@pytest.mark.parametrize("change", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("sign", [1, -1])
def test_six_digits_of_a_small_change_are_right(name: str, change: float, sign: int) -> None:
    """Relative to how far the value lies from the one at identity, on whichever side."""
    record, n = METRICS[name], 84
    rng = np.random.default_rng(7)
    a = rng.normal(0.1, 1.0, n)
    b = a * (1 + sign * change) + change * rng.normal(0.3, 1.0, n)
    if name == "straightness":
        assert single(record, a, b) == ORACLES[name](a.tolist(), b.tolist()) == 1.0
        return
    wanted = apart(name, a.tolist(), b.tolist(), record.identity)
    if name not in ("sign_flips", "histogram_js"):  # they count, and nothing need have crossed a border
        assert wanted != 0
    rounding = LOST.get(name, 4 * EPS * abs(record.identity))
    assert single(record, a, b) - record.identity == pytest.approx(wanted, rel=1e-6, abs=rounding)


CHANGES = st.floats(-6.0, 0.0).map(lambda exponent: 10.0**exponent)


@settings(max_examples=100)
@given(st.integers(0, 10**6), st.integers(2, 300), st.floats(-1, 1), CHANGES, st.floats(-1, 1), st.floats(-1, 1))
def test_gaussian_kl_is_exact_to_1e_9_down_to_changes_of_1e_6(
    seed: int, n: int, mean: float, change: float, growth: float, shift: float
) -> None:
    """The promise of the design, from weights to value, for random layers."""
    assume(max(abs(growth), abs(shift)) > 0.3)
    rng = np.random.default_rng(seed)
    a = rng.normal(mean, 1.0, n)
    b = a * (1 + 0.9 * growth * change) + shift * change + 0.01 * change * rng.normal(size=n)
    assume(all(x.std() > 0.1 for x in (a, b)))
    for name in ("gaussian_kl", "gaussian_kl_reverse", "jeffreys"):
        wanted = ORACLES[name](a.tolist(), b.tolist())
        assume(wanted > 0.01 * change**2)
        assert math.isclose(single(METRICS[name], a, b), wanted, rel_tol=1e-9)


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(-6, -1).map(lambda e: 10.0**e))
def test_gaussian_kl_is_as_exact_for_float32_layers(seed: int, change: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(0.01, 0.05, 200).astype(np.float32)
    b = (a * (1 + change) + 0.05 * change * rng.normal(1.0, 0.1, 200)).astype(np.float32)
    wanted = ORACLES["gaussian_kl"](a.tolist(), b.tolist())
    assume(wanted > 0.01 * change**2)
    assert math.isclose(single(METRICS["gaussian_kl"], a, b), wanted, rel_tol=1e-9)


@pytest.mark.parametrize("growth", [0.0, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("turn", [1e-3, 1e-6, 1e-9])
@pytest.mark.parametrize("name", ["cosine_distance", "pearson_distance"])
def test_a_small_turn_keeps_its_digits_beside_a_growth_in_length(name: str, turn: float, growth: float) -> None:
    a, aside = np.random.default_rng(0).normal(size=(2, 50))
    b = (1 + growth) * (a + turn * aside)
    lost = 1e-12 + 4e-15 * (growth / turn) ** 2
    wanted = ORACLES[name](a.tolist(), b.tolist())
    assert single(METRICS[name], a, b) == pytest.approx(wanted, rel=lost, abs=0)
