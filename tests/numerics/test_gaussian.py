"""The divergence of two Gaussians against 50-digit arithmetic, and against the integral that defines it."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from wdiv.numerics import bhattacharyya, gaussian_kl, log_ratio, t_minus_log1p

TOLERANCE = 1e-12  # the design asks for 1e-9
STEPS = [0.0, *(sign * 10.0**-k for k in range(7) for sign in (1, -1) if (k, sign) != (0, -1)), 0.05, 9.0, 1e4]
BOUNDARY = [math.nextafter(0.1, 0), 0.1, math.nextafter(0.1, 1), 0.09, 0.11, 0.3]


def exact_kl(mean_a: float, std_a: float, mean_b: float, std_b: float) -> mpmath.mpf:
    """Textbook form, in 50 digits."""
    with mpmath.workdps(50):
        m1, s1, m2, s2 = map(mpmath.mpf, (mean_a, std_a, mean_b, std_b))
        return mpmath.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - mpmath.mpf(1) / 2


def assert_kl(*arguments: float) -> None:
    ours, true = float(gaussian_kl(*arguments)), exact_kl(*arguments)
    assert abs(ours - true) <= TOLERANCE * true, f"KL{arguments} is {ours}, should be {float(true)}"


@pytest.mark.parametrize("mean_step", STEPS)
@pytest.mark.parametrize("std_step", STEPS)
def test_kl_keeps_its_digits_for_small_and_large_changes(std_step: float, mean_step: float) -> None:
    mean, std = 0.3, 0.7
    assert_kl(mean, std, mean + std * mean_step, std * (1 + std_step))
    assert_kl(mean + std * mean_step, std * (1 + std_step), mean, std)


@pytest.mark.parametrize("ratio", [1e-30, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 1e2, 1e4, 1e8, 1e30])
def test_kl_of_very_different_spreads(ratio: float) -> None:
    """A bias that started at almost nothing is such a reference."""
    assert_kl(0.0, ratio, 0.0, 1.0)
    assert_kl(0.0, ratio, 0.5, 1.0)


MEANS = st.floats(-1e3, 1e3).map(lambda mean: round(mean, 9))  # whose differences 50 digits can still square
SPREADS = st.floats(1e-6, 1e6)


@given(MEANS, SPREADS, MEANS, SPREADS)
def test_kl_is_right_wherever_the_arguments_lie(mean_a: float, std_a: float, mean_b: float, std_b: float) -> None:
    assert_kl(mean_a, std_a, mean_b, std_b)


@given(MEANS, SPREADS, st.floats(-0.5, 2), st.floats(0.5, 1.5))
def test_kl_is_never_negative_and_zero_for_the_same(mean: float, std: float, shift: float, factor: float) -> None:
    assert float(gaussian_kl(mean, std, mean, std)) == 0.0
    moved = (mean + shift * std, std * factor)
    assert float(gaussian_kl(mean, std, *moved)) >= 0.0
    assert moved == (mean, std) or float(gaussian_kl(mean, std, *moved)) > 0.0


@given(MEANS, SPREADS, MEANS, SPREADS, st.sampled_from([2.0**-20, 0.5, 8.0, 2.0**20]))
def test_kl_does_not_see_the_unit(mean_a: float, std_a: float, mean_b: float, std_b: float, unit: float) -> None:
    """Powers of two scale without rounding, so the values agree to the bit."""
    arguments = np.array([mean_a, std_a, mean_b, std_b])
    assert float(gaussian_kl(*arguments)) == float(gaussian_kl(*(arguments * unit)))


@pytest.mark.parametrize("arguments", [(0.0, 1.0, 1.0, 1.0), (0.0, 1.0, 0.0, 2.0), (0.3, 2.0, -1.0, 0.8)])
def test_kl_is_the_integral_that_defines_it(arguments: tuple[float, float, float, float]) -> None:
    a, b = stats.norm(*arguments[:2]), stats.norm(*arguments[2:])
    value, _ = integrate.quad(lambda x: a.pdf(x) * (a.logpdf(x) - b.logpdf(x)), -30, 30, points=arguments[::2])
    assert float(gaussian_kl(*arguments)) == pytest.approx(value, rel=1e-7)


def test_kl_is_directed() -> None:
    assert float(gaussian_kl(0.0, 1.0, 0.0, 2.0)) == pytest.approx(math.log(2) - 3 / 8)
    assert float(gaussian_kl(0.0, 2.0, 0.0, 1.0)) == pytest.approx(3 / 2 - math.log(2))


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((1.0, 0.0, 1.0, 0.0), 0.0),
        ((1.0, 0.0, 2.0, 0.0), math.nan),
        ((0.0, 0.0, 0.0, 1.0), math.nan),
        ((0.0, 1.0, 0.0, 0.0), math.nan),
        ((0.0, 1.0, 1.0, 0.0), math.nan),
        ((math.nan, 1.0, 0.0, 1.0), math.nan),
        ((0.0, math.nan, 0.0, 1.0), math.nan),
        ((0.0, 1.0, math.inf, math.nan), math.nan),
    ],
)
def test_kl_of_point_masses_and_of_nothing(arguments: tuple[float, ...], value: float) -> None:
    np.testing.assert_equal(float(gaussian_kl(*arguments)), value)


def test_kl_takes_arrays_and_broadcasts() -> None:
    means, stds = np.linspace(-1, 1, 3)[:, None], np.linspace(0.5, 2, 4)
    whole = gaussian_kl(0.1, 1.0, means, stds)
    assert whole.shape == (3, 4)
    assert whole.tolist() == [[float(gaussian_kl(0.1, 1.0, m, s)) for s in stds] for (m,) in means]


# ---------------------------------------------------------------------------------------------------- t − log(1 + t)


def assert_t_minus_log1p(t: float) -> None:
    with mpmath.workdps(400):  # of which t = 1e-156 leaves 88
        true = mpmath.mpf(t) - mpmath.log(1 + mpmath.mpf(t))
    assert abs(float(t_minus_log1p(t)) - true) <= 1e-13 * true, t


@pytest.mark.parametrize(
    "t", [sign * t for sign in (1, -1) for t in (*BOUNDARY, *(10.0**-k for k in range(2, 154, 7)))]
)
def test_t_minus_log1p_on_both_sides_of_the_series_boundary(t: float) -> None:
    assert_t_minus_log1p(t)


@given(st.one_of(st.floats(-0.999999, 1e6), st.floats(-0.12, 0.12)))
def test_t_minus_log1p_everywhere(t: float) -> None:
    if t == 0 or abs(t) > 1e-150:  # its square is the result's size, and must be a normal number
        assert_t_minus_log1p(t)


def test_t_minus_log1p_at_its_ends() -> None:
    assert t_minus_log1p([0.0, -0.0]).tolist() == [0.0, 0.0]
    assert float(t_minus_log1p(-1.0)) == math.inf
    assert np.isnan(t_minus_log1p(math.nan))


# ------------------------------------------------------------------------------- log ratios, Bhattacharyya's distance


@given(SPREADS, st.floats(-6, 1).map(lambda exponent: 10.0**exponent), st.sampled_from([1, -1]))
def test_log_ratio_keeps_its_digits(a: float, change: float, sign: int) -> None:
    b = a * (1 + sign * min(change, 0.999) if sign < 0 else 1 + change)
    with mpmath.workdps(50):
        true = mpmath.log(mpmath.mpf(b) / mpmath.mpf(a))
    assert abs(float(log_ratio(a, b)) - true) <= 1e-14 * abs(true)
    assert float(log_ratio(b, a)) == pytest.approx(-float(true), rel=1e-14)


@pytest.mark.parametrize("ratio", [1e-300, 1e-30, 0.49, 0.5, 0.51, 1.49, 1.5, 1.51, 1e30, 1e300])
def test_log_ratio_of_very_different_numbers(ratio: float) -> None:
    assert float(log_ratio(1.0, ratio)) == pytest.approx(math.log(ratio), rel=1e-14)


def test_log_ratio_of_nothing() -> None:
    np.testing.assert_equal(log_ratio([0, 0, 1, math.nan, math.inf], [0, 1, 0, 1, math.inf]), [0, *[math.nan] * 3, 0])


def exact_bhattacharyya(mean_a: float, std_a: float, mean_b: float, std_b: float) -> mpmath.mpf:
    with mpmath.workdps(60):
        m1, s1, m2, s2 = map(mpmath.mpf, (mean_a, std_a, mean_b, std_b))
        both = s1**2 + s2**2
        return (m1 - m2) ** 2 / both / 4 + mpmath.log(both / (2 * s1 * s2)) / 2


@pytest.mark.parametrize("mean_step", STEPS[::3])
@pytest.mark.parametrize("std_step", STEPS[::3])
def test_bhattacharyya_keeps_its_digits(std_step: float, mean_step: float) -> None:
    arguments = (0.3, 0.7, 0.3 + 0.7 * mean_step, 0.7 * (1 + std_step))
    ours, true = float(bhattacharyya(*arguments)), exact_bhattacharyya(*arguments)
    assert abs(ours - true) <= TOLERANCE * true
    assert float(bhattacharyya(*arguments[2:], *arguments[:2])) == pytest.approx(ours, rel=1e-14)


@pytest.mark.parametrize("ratio", [1e-60, 1e-8, 1e8, 1e60])
def test_bhattacharyya_of_very_different_spreads(ratio: float) -> None:
    true = exact_bhattacharyya(0.0, 1.0, 0.5, ratio)
    assert float(bhattacharyya(0.0, 1.0, 0.5, ratio)) == pytest.approx(float(true), rel=1e-13)


def test_bhattacharyya_of_point_masses() -> None:
    found = bhattacharyya([1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [1.0, 2.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    np.testing.assert_equal(found, [0.0, math.nan, math.nan, math.nan])


@pytest.mark.parametrize("function", [gaussian_kl, bhattacharyya])
def test_one_number_is_computed_as_an_array_of_them_is(function: object) -> None:
    """To the bit: ``x**2`` of one number is not rounded as that of an array is."""
    arguments = np.random.default_rng(0).uniform(0.01, 1.0, (4, 500))
    together = function(*arguments)  # type: ignore[operator]
    assert together.tolist() == [float(function(*column)) for column in arguments.T]  # type: ignore[operator]
