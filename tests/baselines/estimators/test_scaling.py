"""Standardised features by blocks are those of scikit-learn at once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler, normalize

from baselines.estimators import scaling
from baselines.estimators.coordinates import Coordinates
from baselines.estimators.scaling import combined, gram, identity, inner, scaled, standard, unit_rows
from tests.baselines.estimators.made import blobs


@pytest.fixture(params=[3, 1024], ids=["many blocks", "one block"], autouse=True)
def _block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "BLOCK", request.param)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_the_standard_scaler_of_the_rows(dtype: type) -> None:
    x = blobs(30, 11)[0].astype(dtype)
    train, held = np.arange(0, 30, 2), np.arange(1, 30, 2)
    theirs = StandardScaler().fit(x[train].astype(np.float64))
    z, z_held = (theirs.transform(x[rows].astype(np.float64)) for rows in (train, held))
    ours = standard(x, train)
    np.testing.assert_allclose(scaled(x, ours, held), z_held, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(gram(x, ours, train), z @ z.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(inner(x, ours, held, train), z_held @ z.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(combined(x[train], ours, z.T[:2]), z.T[:2] @ z, rtol=1e-12, atol=1e-12)
    assert scaled(x, ours).dtype == gram(x, ours).dtype == np.float64


def test_weights_go_back_to_the_units_of_the_features() -> None:
    x, _ = blobs(20, 7)
    ours, weights, intercepts = standard(x), np.ones((2, 7)), np.array([0.5, -1.0])
    coef, intercept = ours.back(weights, intercepts)
    np.testing.assert_allclose(x @ coef.T + intercept, scaled(x, ours) @ weights.T + intercepts, atol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e8, 1e-300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_feature_is_zero_wherever_it_is_not_constant_too(value: float, dtype: type) -> None:
    x = np.full((7, 4), value, dtype=dtype)
    x[5:] = 12.0
    np.testing.assert_array_equal(scaled(x, standard(x, np.arange(5))), np.zeros((7, 4)))


def test_identity_changes_nothing() -> None:
    x, _ = blobs(9, 5)
    np.testing.assert_array_equal(scaled(x, identity(x)), x)
    np.testing.assert_allclose(gram(x, identity(x)), x @ x.T)


def test_unit_rows_are_scikit_learn_s() -> None:
    x = np.vstack([blobs(9, 5)[0], np.zeros((1, 5))]).astype(np.float32)
    np.testing.assert_allclose(unit_rows(x), normalize(x.astype(np.float64)), rtol=1e-14)


@pytest.mark.parametrize("d", [4, 8, 9, 40])
def test_coordinates_keep_inner_products_and_distances(d: int) -> None:
    rng = np.random.default_rng(d)
    x, y = rng.normal(size=(8, d)), rng.normal(size=(5, d))
    few = Coordinates().fit(x)
    a, b = few.transform(x), few.transform(y)
    assert a.shape[1] == b.shape[1] == min(d, 9)
    np.testing.assert_allclose(a @ a.T, x @ x.T, atol=1e-12)
    np.testing.assert_allclose(b @ a.T, y @ x.T, atol=1e-12)
    for i in range(8):
        np.testing.assert_allclose(np.linalg.norm(b - a[i], axis=1), np.linalg.norm(y - x[i], axis=1))
    weights = rng.normal(size=(2, a.shape[1])) * (1.0 if d <= 9 else np.arange(9) < 8)
    np.testing.assert_allclose(y @ few.back(weights).T, b @ weights.T, atol=1e-12)
