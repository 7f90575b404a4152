"""Moments and pair sums against exact arithmetic: fractions for small arrays, correctly rounded sums for large ones."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wdiv.numerics import moments, pair_sums
from wdiv.numerics.kernels import SLICE

DTYPES = (np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, np.bool_, ">f4", ">f8")
ORDINARY = hnp.arrays(
    st.sampled_from([np.float32, np.float64]),
    hnp.array_shapes(min_dims=1, max_dims=2, max_side=20),
    elements=st.floats(-1000, 1000, width=32),
)


def exact_moments(row: np.ndarray) -> tuple[float, float]:
    values = row.astype(np.float64).tolist()
    return statistics.fmean(values), statistics.pstdev(values)  # both correctly rounded: fsum, fractions


def assert_moments(x: np.ndarray) -> None:
    mean, std = moments(x)
    assert mean.shape == std.shape == x.shape[:-1]
    assert mean.dtype == std.dtype == np.float64
    for place in np.ndindex(*x.shape[:-1]):
        true_mean, true_std = exact_moments(x[place])
        largest = float(np.abs(x[place].astype(np.float64)).max())
        assert math.isclose(mean[place], true_mean, rel_tol=1e-12, abs_tol=1e-14 * largest)  # a mean may cancel to 0
        assert math.isclose(std[place], true_std, rel_tol=1e-12)


@given(ORDINARY)
def test_moments_are_exact(x: np.ndarray) -> None:
    assert_moments(x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_of_every_type(dtype: str) -> None:
    assert_moments(np.random.default_rng(1).uniform(0, 100, (3, 50)).astype(dtype))


@pytest.mark.parametrize("n", [SLICE - 1, SLICE, SLICE + 1, 2 * SLICE, 3 * SLICE + 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slices_are_joined(n: int, dtype: type) -> None:
    """With slices of different means and spreads, so that joining matters."""
    rng = np.random.default_rng(n)
    slices = np.arange(n) // SLICE
    assert_moments((rng.normal(size=n) * (1 + slices) + 30.0 * slices + 5.0).astype(dtype))


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e6])
def test_a_large_mean_costs_no_digits_of_the_spread(offset: float) -> None:
    assert_moments(np.random.default_rng(2).normal(offset, 1.0, (2, 4000)))


@pytest.mark.parametrize("value", [0.0, 0.1, -0.1, 1 / 3, 1e-30, 1e30, math.pi])
@pytest.mark.parametrize("n", [1, 2, 3, 1000, SLICE + 1, 3 * SLICE + 17])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_row_has_no_spread_at_all(value: float, n: int, dtype: type) -> None:
    x = np.full((2, n), value, dtype)
    mean, std = moments(x)
    assert std.tolist() == [0.0, 0.0]
    assert mean.tolist() == x[:, 0].astype(np.float64).tolist()


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3), (0, 0), (2, 3, 0)])
def test_an_empty_axis_has_no_moments_and_no_sums(shape: tuple[int, ...]) -> None:
    x = np.zeros(shape, np.float32)
    assert all(found.shape == shape[:-1] and np.isnan(found).all() for found in moments(x))
    assert all(found.shape == shape[:-1] and not found.any() for found in pair_sums(x, x))


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, SLICE, SLICE + 5])
def test_inf_and_nan_spoil_their_own_row_only(hole: float, place: int) -> None:
    x = np.ones((2, SLICE + 6), np.float32)
    x[1, place] = hole
    assert np.isfinite(moments(x).std).tolist() == [True, False]
    assert np.isfinite(pair_sums(x[:1], x).squared_distance).tolist() == [True, False]


BASE = np.random.default_rng(3).normal(size=(4, 6, 8)).astype(np.float32)
VIEWS = {
    "every second": BASE[..., ::2],
    "reversed": BASE[..., ::-1],
    "transposed": BASE.T,
    "middle axis last": BASE.swapaxes(1, 2),
    "Fortran order": np.asfortranarray(BASE),
    "broadcast": np.broadcast_to(BASE[0, :1], (5, 8)),
    "read only": np.frombuffer(BASE.tobytes(), np.float32).reshape(BASE.shape),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_the_layout_in_memory_does_not_matter(view: np.ndarray) -> None:
    plain = view.copy(order="C")
    assert_moments(view)
    np.testing.assert_array_equal(moments(view), moments(plain))
    np.testing.assert_array_equal(pair_sums(view, view * 2), pair_sums(plain, plain * 2))


def test_lists_and_numbers_are_arrays_too() -> None:
    assert [float(v) for v in moments([1, 2, 3, 4])] == [2.5, math.sqrt(1.25)]
    assert [float(v) for v in moments(7)] == [7.0, 0.0]
    assert [float(v) for v in pair_sums([1, 2], [3, 5])] == [13.0, -29.0, 5.0, 34.0]


def test_inputs_are_left_alone() -> None:
    x, y = BASE.copy(), BASE.copy() * 2
    moments(x)
    pair_sums(x, y)
    np.testing.assert_array_equal(x, BASE)
    np.testing.assert_array_equal(y, BASE * 2)


def test_results_repeat_to_the_bit() -> None:
    x = np.random.default_rng(4).normal(size=2 * SLICE + 3)
    assert moments(x) == moments(x)
    assert pair_sums(x, x * 1.1) == pair_sums(x, x * 1.1)


# -------------------------------------------------------------------------------------------------------- pair sums


def assert_pair_sums(a: np.ndarray, b: np.ndarray) -> None:
    """``a`` of one row or as many as ``b``; all in terms of correctly rounded sums."""
    found = pair_sums(a, b)
    rows_a, rows_b = np.atleast_2d(a).astype(np.float64), np.atleast_2d(b).astype(np.float64)
    for r, row_b in enumerate(rows_b):
        pairs = list(zip(rows_a[r % len(rows_a)].tolist(), row_b.tolist(), strict=True))
        terms = {
            "squared_distance": [(x - y) ** 2 for x, y in pairs],
            "difference": [(x - y) * (x + y) for x, y in pairs],
            "squared_a": [x * x for x, _ in pairs],
            "squared_b": [y * y for _, y in pairs],
        }
        for name, values in terms.items():
            ours = np.atleast_1d(getattr(found, name))[r]
            slack = 1e-12 * math.fsum(map(abs, values))  # signed terms may cancel; the others are their own size
            assert abs(ours - math.fsum(values)) <= slack, name


@given(ORDINARY, st.integers(0, 2**32), st.sampled_from([1e-9, 1e-3, 1.0]))
def test_pair_sums_are_exact(a: np.ndarray, seed: int, change: float) -> None:
    b = (a + change * np.random.default_rng(seed).normal(size=a.shape)).astype(a.dtype)
    assert_pair_sums(a, b)
    assert_pair_sums(np.atleast_2d(a)[0], b)


@pytest.mark.parametrize("dtype_b", DTYPES)
@pytest.mark.parametrize("dtype_a", [np.float16, np.float32, np.float64, np.int64])
def test_pair_sums_of_every_two_types(dtype_a: str, dtype_b: str) -> None:
    rng = np.random.default_rng(5)
    assert_pair_sums(rng.uniform(0, 100, (3, 20)).astype(dtype_a), rng.uniform(0, 100, (3, 20)).astype(dtype_b))


@pytest.mark.parametrize("n", [SLICE, SLICE + 1, 2 * SLICE + 17])
def test_pair_sums_cover_every_slice(n: int) -> None:
    rng = np.random.default_rng(n)
    a = rng.normal(size=n).astype(np.float32)
    assert_pair_sums(a, np.stack([a + np.float32(0.01), rng.normal(size=n).astype(np.float32)]))


def test_difference_keeps_the_digits_that_subtracting_squares_would_lose() -> None:
    found = pair_sums([1.0, 1.0], [1.0, 1.0 + 2**-40])
    assert float(found.difference) == -(2**-40) * (2 + 2**-40)
    assert float(found.squared_distance) == 2.0**-80


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 3), (3, 3)), ((2, 3), (1, 3)), ((3, 2), (2, 3)), ((0,), (3,))])
def test_arrays_that_do_not_pair_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot pair arrays of shapes"):
        pair_sums(np.ones(a), np.ones(b))
