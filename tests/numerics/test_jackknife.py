"""Farther from the start than from one another: the jackknife against plain loops, its level, and its power."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wdiv.numerics import farther_than_apart

DIMENSIONS, LAYERS = 200, 400


def measured(points: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """points (points, layers, n), start (layers, n) -> distances from the start, and between points."""
    between = np.linalg.norm(points[:, None] - points[None, :], axis=-1)
    return np.linalg.norm(points - start, axis=-1), between


def drawn(seeds: int, far: float, layers: int = LAYERS) -> tuple[np.ndarray, np.ndarray]:
    """Seeds around a mean; the start lies ``far`` times the noise radius from it, where 1 is the null."""
    rng = np.random.default_rng([seeds, 17])
    points = rng.normal(size=(seeds, layers, DIMENSIONS))
    start = rng.normal(size=(layers, DIMENSIONS))
    start *= far * math.sqrt(DIMENSIONS) / np.linalg.norm(start, axis=-1, keepdims=True)
    return measured(points, start)


def plainly(m: list[float], d: list[list[float]]) -> tuple[float, float, float]:
    """(moved, apart, p), with a loop for everything."""

    def theta(kept: list[int]) -> float:
        pairs = [(d[i][j] + d[j][i]) / 2 for i in kept for j in kept if i < j]
        return math.log(sum(m[i] for i in kept) / len(kept)) - math.log(sum(pairs) / len(pairs))

    everyone = list(range(len(m)))
    without = [theta([i for i in everyone if i != left]) for left in everyone]
    mean = sum(without) / len(m)
    error = math.sqrt((len(m) - 1) / len(m) * sum((value - mean) ** 2 for value in without))
    pairs = [(d[i][j] + d[j][i]) / 2 for i in everyone for j in everyone if i < j]
    p = float(stats.t.sf(theta(everyone) / error, len(m) - 1))
    return sum(m) / len(m), sum(pairs) / len(pairs), p


@pytest.mark.parametrize("seeds", [3, 4, 7])
def test_it_is_the_jackknife_that_leaves_one_point_out_at_a_time(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    m, d = rng.uniform(1, 2, (seeds, 2, 3)), rng.uniform(1, 2, (seeds, seeds, 2, 3))
    found = farther_than_apart(m, d)
    for place in np.ndindex(2, 3):
        at = (slice(None), *place)
        moved, apart, p = plainly(m[at].tolist(), d[(slice(None), *at)].tolist())
        assert found.moved[place] == pytest.approx(moved, rel=1e-12)
        assert found.apart[place] == pytest.approx(apart, rel=1e-12)
        assert found.log_ratio[place] == pytest.approx(math.log(moved / apart), rel=1e-9, abs=1e-12)
        assert found.p[place] == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("seeds", [3, 5])
def test_under_the_null_few_are_found(seeds: int) -> None:
    """The start is one radius of the noise from the mean: as far from each seed as the seeds from one another."""
    found = farther_than_apart(*drawn(seeds, 1.0))
    assert abs(np.median(found.log_ratio)) < 0.02, "this is the null"
    assert (found.p < 0.05).mean() < 0.08


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_start_amid_the_seeds_is_not_found(seeds: int) -> None:
    found = farther_than_apart(*drawn(seeds, 0.0))
    np.testing.assert_allclose(np.exp(found.log_ratio).mean(), math.sqrt(0.5), rtol=0.02)
    assert (found.p > 0.5).all()


@pytest.mark.parametrize("seeds", [3, 5])
def test_a_start_three_times_as_far_is_found(seeds: int) -> None:
    found = farther_than_apart(*drawn(seeds, 3.0))
    assert (found.p < 0.05).mean() > 0.99


@given(st.integers(2, 6), st.floats(1e-6, 1e6), st.integers(0, 999))
def test_neither_scale_nor_order_of_the_points_matters(seeds: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, d = measured(rng.normal(size=(seeds, 3, 5)), rng.normal(size=(3, 5)))
    order = rng.permutation(seeds)
    wanted = farther_than_apart(m, d)
    found = farther_than_apart(scale * m[order], scale * d[np.ix_(order, order)])
    np.testing.assert_allclose(found.log_ratio, wanted.log_ratio, atol=1e-9)
    np.testing.assert_allclose(found.p, wanted.p, rtol=1e-6)
    np.testing.assert_allclose(found.moved, scale * wanted.moved, rtol=1e-9)


def test_both_directions_count_and_the_diagonal_does_not() -> None:
    m, d = drawn(4, 2.0, layers=5)
    wanted = farther_than_apart(m, d)
    crooked = d * np.where(np.tri(4, dtype=bool), 1.5, 0.5)[:, :, None]
    crooked[range(4), range(4)] = np.nan
    found = farther_than_apart(m, crooked)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_what_is_given_is_not_changed() -> None:
    m, d = drawn(3, 1.0, layers=2)
    before = m.copy(), d.copy()
    farther_than_apart(m, d)
    np.testing.assert_array_equal(m, before[0])
    np.testing.assert_array_equal(d, before[1])


def test_two_points_have_a_ratio_and_no_p() -> None:
    found = farther_than_apart([2.0, 4.0], [[0.0, 1.5], [1.5, 0.0]])
    assert (found.moved, found.apart) == (3.0, 1.5)
    assert np.exp(found.log_ratio) == pytest.approx(2.0)
    assert np.isnan(found.p)


@pytest.mark.parametrize(("m", "d"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (np.nan, 1.0), (1.0, np.nan)])
def test_what_did_not_move_or_is_unknown_has_no_p(m: float, d: float) -> None:
    found = farther_than_apart(np.full((3, 1), m), np.full((3, 3, 1), d))
    assert np.isnan(found.p).all()
