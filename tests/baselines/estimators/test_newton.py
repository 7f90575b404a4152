"""The Newton solver reaches the minimum that liblinear approaches, and its two forms the same one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.svm import LinearSVC

from baselines.estimators.newton import Dual, Form, Point, Primal, minimise
from tests.baselines.estimators.made import blobs

COSTS = (1e-4, 1e-2, 1.0, 1e2)


def with_ones(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])


def forms(z: np.ndarray) -> dict[str, Form]:
    return {"primal": Primal(z), "dual": Dual(z @ z.T), "shared": Dual(z @ z.T, shared=True)}


def weights(form: Form, z: np.ndarray, point: Point) -> np.ndarray:
    return point.unknowns if isinstance(form, Primal) else point.unknowns @ z


def objective(form: Form, point: Point, signs: np.ndarray, costs: np.ndarray) -> float:
    """½‖w‖² + Σ c max(0, 1 − y f)²."""
    slack = np.maximum(0.0, 1.0 - signs * point.values)
    return 0.5 * form.dot(point, point) + float(costs @ slack**2)


def gradient(z: np.ndarray, w: np.ndarray, signs: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Of the objective, written out; over the size of its parts."""
    slack = np.maximum(0, 1 - signs * (z @ w))
    parts = 2 * (costs * slack * signs)[:, None] * z
    return (w - parts.sum(axis=0)) / (np.abs(w) + np.abs(parts).sum(axis=0)).max()


def problem(n: int, d: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = with_ones(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)))
    signs = np.where(rng.random(n) < 0.4, 1.0, -1.0)
    signs[:2] = 1, -1
    each = rng.choice([0.0, 0.5, 1.0, 3.0], size=n, p=[0.05, 0.3, 0.6, 0.05])
    return z, signs, np.ones(n) if seed % 2 else each


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 10**6), st.sampled_from(COSTS))
def test_at_the_minimum_the_gradient_is_nothing(n: int, d: int, seed: int, cost: float) -> None:
    z, signs, each = problem(n, d, seed)
    for form in forms(z).values():
        point = minimise(form, signs, cost * each)
        assert np.abs(gradient(z, weights(form, z, point), signs, cost * each)).max() < 1e-8
        np.testing.assert_allclose(point.values, z @ weights(form, z, point), rtol=0, atol=1e-6)


@settings(max_examples=40)
@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_both_forms_and_a_path_of_costs_come_to_the_same(n: int, d: int, seed: int) -> None:
    z, signs, each = problem(n, d, seed)
    ends = {}
    for name, form in forms(z).items():
        point = None
        for cost in COSTS:
            point = minimise(form, signs, cost * each, point)
        ends[name] = objective(form, point, signs, COSTS[-1] * each)
        cold = minimise(form, signs, COSTS[-1] * each)
        np.testing.assert_allclose(point.values, cold.values, rtol=0, atol=1e-5)
    assert ends["primal"] == pytest.approx(ends["dual"], rel=1e-9)
    assert ends["shared"] == pytest.approx(ends["dual"], rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (20, 40)])
def test_a_general_minimiser_finds_nothing_lower(n: int, d: int) -> None:
    z, signs, each = problem(n, d, 3)

    def plain(w: np.ndarray) -> float:
        return float(0.5 * w @ w + each @ np.maximum(0, 1 - signs * (z @ w)) ** 2)

    theirs = minimize(plain, np.zeros(d + 1), method="L-BFGS-B", options={"maxiter": 10_000, "ftol": 1e-15})
    for form in forms(z).values():
        ours = objective(form, minimise(form, signs, each), signs, each)
        assert ours <= theirs.fun * (1 + 1e-12)
        assert ours == pytest.approx(theirs.fun, rel=1e-6)


@pytest.mark.parametrize("cost", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize(("n", "d"), [(60, 6), (24, 50)])
def test_liblinear_comes_to_the_same_weights(n: int, d: int, cost: float) -> None:
    x, labels = blobs(n, d, 2, apart=0.3)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    signs = 2.0 * labels - 1
    theirs = LinearSVC(C=cost, dual=d > n, tol=1e-10, max_iter=10**6).fit(x, labels)
    z = with_ones(x)
    for form in forms(z).values():
        found = weights(form, z, minimise(form, signs, np.full(n, cost)))
        np.testing.assert_allclose(found, np.r_[theirs.coef_[0], theirs.intercept_], rtol=0, atol=1e-6)


def test_a_few_steps_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = blobs(200, 20, 2, apart=0.1)
    z, signs, steps = with_ones((x - x.mean(axis=0)) / x.std(axis=0)), 2.0 * labels - 1, []
    newton = Primal.newton
    monkeypatch.setattr(Primal, "newton", lambda *args: (steps.append(1), newton(*args))[1])
    minimise(Primal(z), signs, np.ones(len(z)))
    assert 2 <= len(steps) <= 15


def test_images_without_cost_do_not_count() -> None:
    z, signs, _ = problem(30, 5, 1)
    each = np.where(np.arange(30) < 20, 1.0, 0.0)
    for name, form in forms(z).items():
        some = forms(z[:20])[name]
        found = weights(form, z, minimise(form, signs, each))
        np.testing.assert_allclose(found, weights(some, z[:20], minimise(some, signs[:20], np.ones(20))), atol=1e-12)


def test_the_same_image_twice_and_a_cost_that_rounding_cannot_hold() -> None:
    z = np.repeat(with_ones(np.array([[1e6], [2e6], [-1e6], [-3e6]])), 2, axis=0)
    signs = np.repeat([1.0, 1.0, -1.0, -1.0], 2)
    for form in forms(z).values():
        point = minimise(form, signs, np.full(8, 1e12))
        assert (signs * point.values > 0.999).all(), "as good as the hard margin"
