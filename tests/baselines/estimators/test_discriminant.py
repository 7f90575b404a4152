"""The nearest mean and the shrunk discriminant, against scikit-learn's and against the formula written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from baselines.estimators.discriminant import Discriminant, NearestMean, shrinkage
from tests.baselines.estimators.made import blobs

SHAPES = [(60, 8), (20, 50), (30, 30)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 4])
def test_the_nearest_mean_is_nearest(shape: tuple[int, int], k: int) -> None:
    x, y = blobs(*shape, k, apart=0.5)
    means = np.array([x[y == c].mean(axis=0) for c in range(k)])
    other, _ = blobs(50, shape[1], k, apart=0.5, seed=1)
    np.testing.assert_array_equal(NearestMean().fit(x, y).predict(other), cdist(other, means).argmin(axis=1))


@settings(max_examples=40)
@given(st.integers(2, 20), st.integers(1, 20), st.integers(0, 10**6))
def test_the_shrinkage_is_scikit_learn_s(n: int, d: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, d)) * np.geomspace(1, 5, d)
    assert shrinkage(rows) == pytest.approx(ledoit_wolf(rows, assume_centered=True)[1], rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 3])
def test_the_discriminant_is_the_formula_s(shape: tuple[int, int], k: int) -> None:
    x, y = blobs(*shape, k, apart=0.4)
    x, y = x[5:], y[5:]  # so that the priors differ
    means = np.array([x[y == c].mean(axis=0) for c in range(k)])
    covariance, share = ledoit_wolf(x - means[y], assume_centered=True)
    back = np.linalg.inv(covariance)
    other, _ = blobs(50, shape[1], k, apart=0.4, seed=1)
    apart = other[:, None] - means
    density = np.exp(-0.5 * np.einsum("nkd,de,nke->nk", apart, back, apart)) * np.bincount(y)
    machine = Discriminant().fit(x, y)
    assert machine.shrinkage_ == pytest.approx(share)
    np.testing.assert_allclose(
        machine.predict_proba(other), density / density.sum(axis=1, keepdims=True), rtol=1e-6, atol=1e-9
    )


def test_without_shrinkage_it_is_scikit_learn_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("baselines.estimators.discriminant.shrinkage", lambda rows: 0.0)
    x, y = blobs(60, 8, 3, apart=0.3)
    theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(x, y)
    np.testing.assert_allclose(Discriminant().fit(x, y).predict_proba(x), theirs.predict_proba(x), rtol=1e-6)


def test_without_spread_within_the_classes_the_nearest_mean_decides() -> None:
    x = np.repeat([[0.1, 0.7], [0.9, 0.2]], [3, 3], axis=0)
    machine = Discriminant().fit(x, [0, 0, 0, 1, 1, 1])
    assert math.isnan(machine.shrinkage_)
    np.testing.assert_array_equal(machine.predict([[0.2, 0.6], [0.8, 0.3]]), [0, 1])


def test_without_any_spread_the_largest_class_is_the_answer() -> None:
    machine = Discriminant().fit(np.full((5, 3), 0.1), [0, 1, 1, 1, 2])
    np.testing.assert_array_equal(machine.predict([[0.1, 0.1, 0.1], [5.0, 0.0, 0.0]]), [1, 1])


def test_a_covariance_of_one_direction_is_not_divided_by() -> None:
    x = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [4.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    machine = Discriminant().fit(x, [0, 0, 1, 1])
    assert machine.shrinkage_ == 0
    np.testing.assert_array_equal(machine.predict(x), [0, 0, 1, 1])
