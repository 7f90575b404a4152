"""Metrics of features, held to their records and to computations from the raw features that share no code."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from tests.numerics.test_gram import by_quadruples
from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.metrics.features import linear_cka, procrustes_distance
from wdiv.metrics.record import metric_names
from wdiv.numerics.gram import gram

RECORDS = {name: METRICS[name] for name in ("linear_cka", "procrustes_distance")}
every_metric = pytest.mark.parametrize("name", RECORDS)


def value(name: str, x: np.ndarray, y: np.ndarray) -> float:
    return float(RECORDS[name].function(gram(x), gram(y)))


def features(seed: int, n: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.7, 1.0, (n, width))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, seed = draw(st.integers(4, 12)), draw(st.integers(0, 10**6))
    x = features(seed, n, draw(st.integers(2, 20)))
    near = draw(st.sampled_from([None, 1e-3, 1e-1]))
    y = features(seed + 1, n, draw(st.integers(2, 20))) if near is None else x + near * features(seed + 1, *x.shape)
    return x, y


# ------------------------------------------------------------------------------------------------------------- oracles


def cka_oracle(x: np.ndarray, y: np.ndarray) -> float:
    """By the definition: three U-statistics over all quadruples of images, in 50 digits, of uncentred features."""
    k, l = x @ x.T, y @ y.T  # noqa: E741
    return by_quadruples(k, l) / np.sqrt(by_quadruples(k, k) * by_quadruples(l, l))


def procrustes_oracle(x: np.ndarray, y: np.ndarray) -> float:
    """SciPy's best rotation, applied to the raw features."""
    x, y = (np.pad(f, ((0, 0), (0, 24 - f.shape[1]))) for f in (x - x.mean(axis=0), y - y.mean(axis=0)))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    rotation, _ = orthogonal_procrustes(x, y)
    return float(((x @ rotation - y) ** 2).sum())


@given(pair=pairs().filter(lambda pair: len(pair[0]) < 8))
def test_cka_is_the_ratio_of_u_statistics(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert value("linear_cka", *pair) == pytest.approx(cka_oracle(*pair), rel=1e-9, abs=1e-11)


@given(pair=pairs())
def test_procrustes_is_what_the_best_rotation_leaves(pair: tuple[np.ndarray, np.ndarray]) -> None:
    assert value("procrustes_distance", *pair) == pytest.approx(procrustes_oracle(*pair), rel=1e-9, abs=1e-14)


# --------------------------------------------------------------------------------------------------------- properties


@every_metric
@given(pair=pairs(), seed=st.integers(0, 1000))
def test_what_it_does_not_see(name: str, pair: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    """Rotation and reflection, scale, the place of the origin, and in which order the images come."""
    x, y = pair
    rotation = ortho_group.rvs(y.shape[1], random_state=seed)
    order = np.random.default_rng(seed).permutation(len(x))
    found = value(name, x, y)
    for ours, theirs in ((x, y @ rotation), (x, -37.0 * y), (x + 11.0, y - 5.0), (x[order], y[order]), (y, x)):
        assert value(name, ours, theirs) == pytest.approx(found, rel=1e-8, abs=1e-11)


@every_metric
@given(pair=pairs())
def test_bounds_and_identity(name: str, pair: tuple[np.ndarray, np.ndarray]) -> None:
    record, (x, y) = RECORDS[name], pair
    assert record.lower <= value(name, x, y) <= record.upper
    assert value(name, x, x) == pytest.approx(record.identity, rel=1e-15)
    assert value(name, x, x * 2.0**-40) == pytest.approx(record.identity, rel=1e-15)


def test_the_bounds_are_reached() -> None:
    x = np.array([[1.0], [-1.0], [0.0], [0.0]])
    apart = np.array([[0.0], [0.0], [1.0], [-1.0]])
    assert value("procrustes_distance", x, apart) == pytest.approx(2.0)
    corners = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])  # pairs 01|23
    crossed = corners[[0, 2, 1, 3]]  # pairs 02|13
    assert value("linear_cka", corners, crossed) == pytest.approx(-0.5)
    assert value("linear_cka", x, apart) == pytest.approx(1.0), "alike: one pair apart, the other pair together"


@pytest.mark.parametrize("change", [1e-3, 1e-5, 1e-6])
def test_procrustes_grows_with_the_square_of_the_change(change: float) -> None:
    """Also where the textbook form is nothing but rounding, 1e-16 of its terms."""
    x, step = features(0, 12, 30), features(1, 12, 30)
    found, larger = (value("procrustes_distance", x, x + size * step) for size in (change, 1e-4))
    assert found / change**2 == pytest.approx(larger / 1e-8, rel=1e-2)


# ---------------------------------------------------------------------------------------------------------- undefined


@every_metric
def test_features_that_do_not_differ_give_nan(name: str) -> None:
    same = np.full((6, 5), 0.1)
    for x, y in ((features(0), same), (same, features(0)), (same, same)):
        assert np.isnan(value(name, x, y))


@every_metric
@pytest.mark.parametrize("hole", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_gives_nan_for_itself_alone(name: str, hole: float) -> None:
    bad = features(0)
    bad[2, 1] = hole
    stack = np.stack([gram(features(1)), gram(bad)])
    found = RECORDS[name].function(gram(features(2)), stack)
    assert np.isnan(found).tolist() == [False, True]


def test_images_that_lie_equally_apart_have_no_cka() -> None:
    assert np.isnan(value("linear_cka", np.eye(6), features(0)))
    assert value("procrustes_distance", np.eye(6), np.eye(6)) == 0.0


def test_near_duplicates_are_no_trouble() -> None:
    x = np.repeat(features(0, 3), 3, axis=0) + 1e-7 * features(1, 9)
    y = features(2, 9)
    assert value("linear_cka", x, y) == pytest.approx(cka_oracle(x - x.mean(axis=0), y), rel=1e-7)
    assert value("procrustes_distance", x, y) == pytest.approx(procrustes_oracle(x, y), rel=1e-6)


@every_metric
@pytest.mark.parametrize("n", [1, 3])
def test_three_images_are_too_few(name: str, n: int) -> None:
    with pytest.raises(ValueError, match="at least 4 images"):
        RECORDS[name].function(np.eye(n), np.eye(n))


# ------------------------------------------------------------------------------------------------------------- records


@every_metric
def test_leading_axes_broadcast(name: str) -> None:
    function = RECORDS[name].function
    k, l = (np.stack([gram(features(s + t, 8)) for s in range(3)]) for t in (0, 9))  # noqa: E741
    np.testing.assert_array_equal(function(k, l), [function(x, y) for x, y in zip(k, l, strict=True)])
    np.testing.assert_array_equal(function(k[:, None], l), [[function(x, y) for y in l] for x in k])


@every_metric
def test_the_record_is_complete(name: str) -> None:
    record = RECORDS[name]
    assert record.family == "features"
    assert record.symmetric
    assert record.scale_free
    assert all(record.attrs.values())


@every_metric
def test_weights_alone_do_not_give_it(name: str) -> None:
    with pytest.raises(BadInput, match="wdiv cka"):
        metric_names(name)


def test_the_functions_are_the_registered_ones() -> None:
    assert RECORDS["linear_cka"].function is linear_cka
    assert RECORDS["procrustes_distance"].function is procrustes_distance
