"""Sorted samples against loops that count, with ties, edges and holes."""

from __future__ import annotations

import bisect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wdiv.numerics import histograms, largest_gap, mean_quantile_distance
from wdiv.numerics.empirical import BINS

TIED = hnp.arrays(np.float64, (2, 12), elements=st.integers(-3, 3).map(float))
"""Few values, many times each."""


def plain_gap(a: list[float], b: list[float]) -> float:
    return max(abs(bisect.bisect_right(a, x) - bisect.bisect_right(b, x)) for x in {*a, *b}) / len(a)


@given(TIED)
def test_largest_gap_with_ties(pair: np.ndarray) -> None:
    a, b = np.sort(pair)
    assert float(largest_gap(a, b)) == plain_gap(a.tolist(), b.tolist()) == float(largest_gap(b, a))


@pytest.mark.parametrize(
    ("a", "b", "gap"),
    [
        ([1, 1, 1, 1], [1, 1, 1, 1], 0.0),
        ([1, 1, 1, 2], [1, 2, 2, 2], 0.5),
        ([0, 0, 0, 0], [0, 0, 0, 1], 0.25),
        ([-0.0, 0.0], [0.0, 0.0], 0.0),
        ([1, 2], [3, 4], 1.0),
        ([3, 4], [1, 2], 1.0),
        ([5], [5], 0.0),
        ([5], [6], 1.0),
    ],
)
def test_largest_gap_of_a_few(a: list[float], b: list[float], gap: float) -> None:
    assert float(largest_gap(a, b)) == gap


def test_samples_of_two_types_are_compared_as_numbers() -> None:
    a = np.float32([0.1, 0.2])
    assert float(largest_gap(a, np.float64([0.1, 0.2]))) == 0.5, "float32's 0.1 is above 0.1, and so is its 0.2"
    assert float(largest_gap(a, a.astype(np.float64))) == 0.0


@given(TIED)
def test_quantile_distance_is_the_mean_of_sorted_differences(pair: np.ndarray) -> None:
    a, b = np.sort(pair)
    wanted = math.fsum(abs(x - y) for x, y in zip(a.tolist(), b.tolist(), strict=True)) / 12
    assert float(mean_quantile_distance(a, b)) == pytest.approx(wanted, rel=1e-14)


def plain_shares(sample: list[float], low: float, high: float, bins: int) -> list[float]:
    counts = [0] * bins
    for x in sample:
        counts[sum(x >= low + (high - low) * (k / bins) for k in range(1, bins)) if high > low else 0] += 1
    return [count / len(sample) for count in counts]


@given(TIED, st.sampled_from([1, 2, 3, 4, BINS]))
def test_histograms_count_every_value_in_one_bin(pair: np.ndarray, bins: int) -> None:
    a, b = np.sort(pair)
    low, high = min(a[0], b[0]), max(a[-1], b[-1])
    for found, sample in zip(histograms(a, b, bins), (a, b), strict=True):
        assert found.tolist() == plain_shares(sample.tolist(), low, high, bins)


def test_a_value_on_an_edge_belongs_to_the_bin_above_and_the_largest_to_the_last() -> None:
    p, q = histograms([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 2.0, 4.0, 4.0], bins=4)
    assert (p * 5).tolist() == [1, 1, 1, 2]
    assert (q * 5).tolist() == [2, 0, 1, 2]


def test_values_that_are_all_equal_fill_the_first_bin() -> None:
    for shares in histograms([0.1] * 3, [0.1] * 3):
        assert shares.tolist() == [1.0] + [0.0] * (BINS - 1)


def test_neighbours_in_floating_point_still_have_a_range() -> None:
    low, high = 1.0, math.nextafter(1.0, 2.0)
    p, q = histograms([low, low], [low, high])
    assert p.sum() == q.sum() == 1.0
    assert p.max() == 1.0
    assert p.tolist() != q.tolist()


FUNCTIONS = {"gap": largest_gap, "distance": mean_quantile_distance, "p": lambda a, b: histograms(a, b)[0]}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@every_function
@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_spoils_its_own_row_only(function: object, hole: float) -> None:
    bad = np.sort([hole, 0.0, 1.0])
    good = np.array([0.5, 2.0, 3.0])
    for a, b, spoiled in ((good, [bad, good], [True, False]), ([good, bad], [good, good], [False, True])):
        found = np.asarray(function(a, b))  # type: ignore[operator]
        assert (~np.isfinite(found.reshape(2, -1)).any(axis=1)).tolist() == spoiled


@every_function
def test_rows_of_a_stand_for_several_rows_of_b(function: object) -> None:
    a, b = (np.sort(np.random.default_rng(0).normal(size=shape)) for shape in ((3, 20), (2, 3, 20)))
    found = np.asarray(function(a, b))  # type: ignore[operator]
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(found[i, j], function(a[j], b[i, j]))  # type: ignore[operator]


@every_function
@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_samples_of_nothing(function: object, shape: tuple[int, ...]) -> None:
    found = np.asarray(function(np.zeros(shape), np.zeros(shape)))  # type: ignore[operator]
    assert found.shape[: len(shape) - 1] == shape[:-1]
    assert np.isnan(found).all()
