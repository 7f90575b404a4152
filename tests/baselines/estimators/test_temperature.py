"""The temperature is where the cross entropy is least, and stays finite where answers are all right or say nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.estimators.temperature import HOTTEST, cross_entropy, fit_temperature, probabilities


def plain(decisions: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    p = probabilities(decisions, temperature)
    n, k = p.shape
    targets = np.full((n, k), 1 / (n + k))
    targets[np.arange(n), labels] = (n + 1) / (n + k)
    return float(-(targets * np.log(p)).sum(axis=1).mean())


@given(st.integers(1, 30), st.sampled_from([1, 3, 6]), st.integers(0, 10**6), st.floats(0.1, 10.0))
def test_the_cross_entropy_is_that_of_the_probabilities_and_the_smoothed_labels(
    n: int, k: int, seed: int, temperature: float
) -> None:
    rng = np.random.default_rng(seed)
    labels, decisions = rng.integers(0, max(k, 2), n), rng.normal(size=(n, k))
    found = cross_entropy(decisions, labels, temperature)
    assert found == pytest.approx(plain(decisions, labels, temperature), rel=1e-12)
    assert cross_entropy(1e6 * decisions, labels, temperature) < np.inf


@settings(max_examples=40)
@given(st.integers(1, 30), st.sampled_from([1, 3, 6]), st.integers(0, 10**6), st.sampled_from([0.01, 1.0, 50.0]))
def test_no_temperature_nearby_is_better(n: int, k: int, seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(k, 2), n)
    decisions = rng.normal(size=(n, k)) * size
    found = fit_temperature(decisions, labels)
    assert 0 < found <= HOTTEST
    least = plain(decisions, labels, found)
    for factor in (0.5, 0.99, 1.01, 2.0):
        if found * factor <= HOTTEST:
            assert plain(decisions, labels, found * factor) >= least - 1e-12 * abs(least)


def test_values_of_a_calibrated_model_have_temperature_one() -> None:
    rng = np.random.default_rng(0)
    decisions = 1.5 * rng.normal(size=(20_000, 4))
    labels = (decisions + rng.gumbel(size=decisions.shape)).argmax(axis=1)
    assert fit_temperature(decisions, labels) == pytest.approx(1, abs=0.03)
    assert fit_temperature(8 * decisions, labels) == pytest.approx(8, abs=0.24)
    two = decisions[:, :1]
    assert fit_temperature(two, (rng.random((20_000, 1)) < probabilities(two)[:, 1:])[:, 0] * 1) == pytest.approx(
        1, abs=0.05
    )


@pytest.mark.parametrize(("n", "k"), [(10, 2), (100, 2), (30, 3)])
def test_n_right_answers_are_as_sure_as_n_can_make(n: int, k: int) -> None:
    labels = np.arange(n) % k
    decisions = 5.0 * np.eye(k)[labels]
    p = probabilities(decisions, fit_temperature(decisions, labels))
    np.testing.assert_allclose(p[np.arange(n), labels], (n + 1) / (n + k))


def test_values_that_say_nothing_or_the_contrary_are_as_hot_as_can_be() -> None:
    labels = np.array([0, 1, 0, 1])
    assert fit_temperature(np.zeros((4, 2)), labels) == HOTTEST
    assert fit_temperature(-np.eye(2)[labels], labels) == HOTTEST
    assert probabilities(-np.eye(2)[labels], HOTTEST).argmax(axis=1).tolist() == [1, 0, 1, 0], "the order is kept"


def test_large_values_do_not_overflow() -> None:
    assert probabilities(np.array([[1e6, 0.0], [0.0, 1e6]])).tolist() == [[1, 0], [0, 1]]
    assert probabilities(np.array([[-1e6], [1e6]])).tolist() == [[1, 0], [0, 1]]
