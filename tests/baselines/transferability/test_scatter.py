"""H-scores beside scikit-learn's and NumPy's matrices, and where there are more features than images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.transferability import h_score, h_score_shrunk
from tests.baselines.transferability.facts import CALLS, Given, given_to


def by_class(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.stack([x[labels == label].mean(axis=0) for label in labels])


def test_is_the_formula_with_dense_matrices() -> None:
    x, labels = CALLS["features"](np.random.default_rng(0), 80, 20, 4)
    inverse = np.linalg.pinv(np.cov(x.T), hermitian=True)
    assert h_score(x, labels) == pytest.approx(np.trace(inverse @ np.cov(by_class(x, labels).T)), rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(80, 20), (30, 70), (12, 1)])
def test_shrinks_as_scikit_learn_does(n: int, d: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    x, labels = CALLS["features"](np.random.default_rng(1), n, d, 3)
    fit = covariance.LedoitWolf().fit(x)
    between = np.atleast_2d(np.cov(by_class(x, labels).T, ddof=0))
    wanted = (1 - fit.shrinkage_) * np.trace(np.linalg.solve(fit.covariance_, between))
    assert h_score_shrunk(x, labels) == pytest.approx(wanted, rel=1e-10)


@given(given_to("h_score"))
def test_neither_is_above_the_number_of_classes_less_one(given: Given) -> None:
    x, labels = given
    most = len(set(labels)) - 1 + 1e-9
    assert 0 <= h_score_shrunk(x, labels) <= h_score(x, labels) + 1e-9 <= most + 1e-9


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), n=st.integers(4, 12), more=st.integers(0, 20))
def test_with_few_images_the_h_score_says_nothing_and_the_shrunk_one_does(seed: int, n: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(n, n - 1 + more)), np.arange(n) % 2
    assert h_score(x, labels) == pytest.approx(1, abs=1e-6)
    apart = x + 50 * labels[:, None]
    assert h_score(apart, labels) == pytest.approx(1, abs=1e-6)
    assert h_score_shrunk(apart, labels) > h_score_shrunk(x, labels) + 0.05


def test_a_feature_that_repeats_others_changes_nothing() -> None:
    x, labels = CALLS["features"](np.random.default_rng(2), 40, 5, 3)
    again = np.hstack([x, x @ np.random.default_rng(3).normal(size=(5, 3)), np.full((40, 2), 0.1)])
    assert h_score(again, labels) == pytest.approx(h_score(x, labels), rel=1e-9)
