"""Moments and pair sums against exact arithmetic: fractions for small arrays, correctly rounded sums for large ones."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wdiv.numerics import PairSums, kernels, moments, pair_sums
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


def test_a_mean_is_right_to_its_last_digit() -> None:
    """Summed from a first element that lies far from it, and in whatever order the compiler chose."""
    rng = np.random.default_rng(2)
    for n in range(2, 300):
        x = np.r_[4.0, rng.normal(0.3, 1.0, n)]
        assert abs(Fraction(float(moments(x).mean)) - sum(map(Fraction, x.tolist())) / x.size) < 2.0**-52, n


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


@pytest.mark.parametrize("offset", [0.0, 0.05, 100.0, -1e4])
def test_a_layer_of_a_million_weights_is_exact(offset: float) -> None:
    """Within 1e-12 of correctly rounded sums, whatever the mean."""
    x = np.random.default_rng(8).normal(offset, 1.0, 10**6)
    mean = math.fsum(x) / x.size
    shifted = x - mean  # whose rounding is 1e-16 of x, and random
    variance = math.fsum(shifted * shifted) / x.size - (math.fsum(shifted) / x.size) ** 2
    found = moments(x)
    assert float(found.mean) == pytest.approx(mean, rel=1e-12, abs=1e-14)
    assert float(found.std) == pytest.approx(math.sqrt(variance), rel=1e-12)


@pytest.mark.parametrize("change", [1e-6, 1e-2])
def test_pair_sums_of_a_million_weights_are_exact(change: float) -> None:
    rng = np.random.default_rng(9)
    a = rng.normal(0.02, 0.05, 10**6).astype(np.float32)
    b = (a * (1 + change) + change * rng.normal(0.1, 0.05, 10**6)).astype(np.float32)
    d = a.astype(np.float64) - b  # exact: neighbours
    found = pair_sums(a, b)
    wanted = {
        "squared_distance": math.fsum(d * d), "absolute": math.fsum(np.abs(d)), "mean_d": math.fsum(d) / d.size,
        "difference": math.fsum(d * (a.astype(np.float64) + b)), "largest": float(np.abs(d).max()),
        "flips": float((a * np.sign(b) < 0).sum()),
    }  # fmt: skip
    for name, value in wanted.items():
        assert float(getattr(found, name)) == pytest.approx(value, rel=1e-12), name


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
    sums = pair_sums(x, x)
    assert sums.n == shape[-1]
    assert all(getattr(sums, name).shape == shape[:-1] for name in SUMS)


@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, SLICE, SLICE + 5])
def test_inf_and_nan_spoil_their_own_row_only(hole: float, place: int) -> None:
    x = np.ones((2, SLICE + 6), np.float32)
    x[1, place] = hole
    assert np.isfinite(moments(x).std).tolist() == [True, False]
    assert np.isfinite(pair_sums(x[:1], x).squared_distance).tolist() == [True, False]


SUMS = (
    "mean_d", "central_d", "co", "absolute", "largest", "flips", "squared_distance", "difference", "squared_a",
    "squared_b", "central_a", "central_b", "central_difference",
)  # fmt: skip
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
    assert_same_sums(pair_sums(view, view * 2), pair_sums(plain, plain * 2))


def test_lists_and_numbers_are_arrays_too() -> None:
    assert [float(v) for v in moments([1, 2, 3, 4])] == [2.5, math.sqrt(1.25)]
    assert [float(v) for v in moments(7)] == [7.0, 0.0]
    found = pair_sums([1, 2], [3, 5])
    assert [float(getattr(found, name)) for name in SUMS] == [-2.5, 0.5, -1, 5, 3, 0, 13, -29, 5, 34, 0.5, 2, -1.5]


def test_inputs_are_left_alone() -> None:
    x, y = BASE.copy(), BASE.copy() * 2
    moments(x)
    pair_sums(x, y)
    np.testing.assert_array_equal(x, BASE)
    np.testing.assert_array_equal(y, BASE * 2)


def test_results_repeat_to_the_bit() -> None:
    x = np.random.default_rng(4).normal(size=2 * SLICE + 3)
    assert moments(x) == moments(x)
    assert_same_sums(pair_sums(x, x * 1.1), pair_sums(x, x * 1.1))


# -------------------------------------------------------------------------------------------------------- pair sums


def assert_same_sums(found: PairSums, wanted: PairSums) -> None:
    assert found.n == wanted.n
    for name in SUMS:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def exact_sums(a: list[float], b: list[float]) -> dict[str, tuple[float, float]]:
    """Name of a sum -> its value and the size of its terms, from fractions: correctly rounded, without cancellation."""
    x, y = [Fraction(v) for v in a], [Fraction(v) for v in b]
    d = [p - q for p, q in zip(x, y, strict=True)]
    centred_x, centred_y, centred_d = ([v - sum(row) / len(row) for v in row] for row in (x, y, d))
    terms = {
        "mean_d": [v / len(d) for v in d],
        "central_d": [v * v for v in centred_d],
        "co": [p * q for p, q in zip(centred_d, centred_y, strict=True)],
        "absolute": [abs(v) for v in d],
        "squared_distance": [v * v for v in d],
        "difference": [p * p - q * q for p, q in zip(x, y, strict=True)],
        "squared_a": [v * v for v in x],
        "squared_b": [v * v for v in y],
        "central_a": [v * v for v in centred_x],
        "central_b": [v * v for v in centred_y],
        "central_difference": [p * p - q * q for p, q in zip(centred_x, centred_y, strict=True)],
    }
    found = {name: (float(sum(values)), float(sum(map(abs, values)))) for name, values in terms.items()}
    found["largest"] = (max(float(abs(v)) for v in d), 0.0)
    found["flips"] = (float(sum(p * q < 0 for p, q in zip(x, y, strict=True))), 0.0)
    return found


def assert_pair_sums(a: np.ndarray, b: np.ndarray) -> None:
    """``a`` of one row or as many as divide those of ``b``."""
    found = pair_sums(a, b)
    rows_a, rows_b = (x.reshape(-1, x.shape[-1]).astype(np.float64).tolist() for x in (a, b))
    assert found.n == len(rows_b[0])
    for r, row_b in enumerate(rows_b):
        row_a = rows_a[r % len(rows_a)]
        sums = exact_sums(row_a, row_b)
        spacing = math.sqrt(len(row_b)) * math.ulp(max(map(abs, [*row_a, *row_b])))
        joint = sums["absolute"][0] * max(map(abs, [*row_a, *row_b]))  # the three that change sign cancel against it
        for name, (wanted, size) in sums.items():
            ours = float(getattr(found, name).flat[r])
            slack = 1e-14 * joint if name in ("co", "central_difference", "difference") else 0.0
            slack += spacing**2 if name.startswith("central") else 0.0  # from a mean that is itself rounded
            assert abs(ours - wanted) <= 1e-12 * size + slack, name
        assert float(found.a.mean.flat[r]) == float(moments(row_a).mean)
        assert float(found.b.std.flat[r]) == float(moments(row_b).std)


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


BORDERS = [
    1,
    63,
    64,
    65,
    127,
    128,
    129,
    SLICE - 1,
    SLICE,
    SLICE + 1,
    SLICE + 63,
    SLICE + 64,
    SLICE + 65,
    2 * SLICE + 17,
]


def plain_sums(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """By NumPy in one piece."""
    a, b = a.astype(np.longdouble), b.astype(np.longdouble)
    d = a - b
    found = {
        "mean_d": d.mean(), "central_d": ((d - d.mean()) ** 2).sum(), "absolute": np.abs(d).sum(),
        "co": ((d - d.mean()) * (b - b.mean())).sum(), "largest": np.abs(d).max(), "flips": (a * b < 0).sum(),
        "squared_distance": (d * d).sum(), "difference": (d * (a + b)).sum(),
    }  # fmt: skip
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("n", BORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pair_sums_cover_every_slice(n: int, dtype: type) -> None:
    """Slices of different means and spreads; elements at every border count, whichever is the largest."""
    rng = np.random.default_rng(n)
    drift = 1.0 + np.arange(n) // SLICE
    a = (rng.normal(size=n) * drift + 3.0 * drift).astype(dtype)
    for b in (a + dtype(0.01) * rng.normal(size=n).astype(dtype), rng.normal(size=n).astype(dtype)):
        found = pair_sums(a, b)
        for name, wanted in plain_sums(a, b).items():
            assert float(getattr(found, name)) == pytest.approx(wanted, rel=1e-11, abs=1e-12), name


@pytest.mark.parametrize("n", [65, SLICE + 65])
def test_the_largest_change_and_every_flip_are_found_wherever_they_are(n: int) -> None:
    places = [0, 1, 63, 64, n - 2, n - 1, *(x for x in (SLICE - 1, SLICE, SLICE + 63, SLICE + 64) if x < n)]
    a = np.ones(n, np.float32)
    b = np.stack([np.where(np.arange(n) == place, np.float32(-2), a) for place in places])
    found = pair_sums(a, b)
    assert found.largest.tolist() == [3.0] * len(places)
    assert found.absolute.tolist() == [3.0] * len(places)
    assert found.flips.tolist() == [1.0] * len(places)


@pytest.mark.parametrize(("shape_a", "shape_b"), [((3, 9), (2, 3, 9)), ((1, 3, 9), (4, 3, 9)), ((9,), (2, 2, 9))])
def test_rows_of_a_stand_for_several_rows_of_b(shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> None:
    """The rows of ``a`` are the last axes of b's: row r of b is set against row r modulo the rows of a."""
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=shape_a), rng.normal(size=shape_b)
    assert_pair_sums(a, b)
    assert_same_sums(pair_sums(a, b), pair_sums(np.broadcast_to(a, shape_b), b))


def test_moments_that_are_known_are_used() -> None:
    a, b = np.random.default_rng(7).normal(size=(2, 4, 100))
    assert_same_sums(pair_sums(a, b, moments(a), moments(b)), pair_sums(a, b))


def test_sums_of_what_is_not_finite_are_not_numbers() -> None:
    """Neither those that compare, which would pass over NaN."""
    for hole in (math.nan, math.inf, -math.inf):
        with np.errstate(invalid="ignore"):
            found = pair_sums([1.0, 2.0], [[3.0, hole], [hole, 5.0], [-3.0, 5.0]])
            sums = {name: getattr(found, name) for name in SUMS if name not in ("squared_a", "central_a")}
        for name, values in sums.items():
            assert np.isfinite(values).tolist() == [False, False, True], name


def test_difference_keeps_the_digits_that_subtracting_squares_would_lose() -> None:
    found = pair_sums([1.0, 1.0], [1.0, 1.0 + 2**-40])
    assert float(found.difference) == -(2**-40) * (2 + 2**-40)
    assert float(found.squared_distance) == 2.0**-80


@pytest.mark.parametrize(("a", "b"), [((3,), (4,)), ((2, 3), (3, 3)), ((2, 3), (1, 3)), ((3, 2), (2, 3)), ((0,), (3,))])
def test_arrays_that_do_not_pair_are_refused(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="cannot pair arrays of shapes"):
        pair_sums(np.ones(a), np.ones(b))


def test_sums_are_in_one_order_in_every_process() -> None:
    """A loop that is called is linked to another copy where it was compiled than where it was loaded from the cache."""
    called = {name: f for name, f in vars(kernels).items() if name.startswith("_") and hasattr(f, "targetoptions")}
    assert {"_sums", "_deviations"} <= called.keys()
    assert {name for name, f in called.items() if not f.targetoptions.get("forceinline")} == set()
