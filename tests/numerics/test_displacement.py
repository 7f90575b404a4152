"""Did points move the same way: the rotation test against drawn rotations, Student's t, its level, and its power."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wdiv.numerics import NoiseTest, common_displacement

LAYERS = 2000
LEVEL, POWER = 0.06, 0.80
Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "unequal": lambda rng, shape: rng.normal(size=shape) / np.arange(1, shape[-1] + 1),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape),
    "one seed wilder than another": lambda rng, shape: rng.normal(size=shape) * rng.lognormal(size=(shape[0], 1, 1)),
}


def of(displacements: np.ndarray) -> NoiseTest:
    """displacements (points, layers, n) -> their test."""
    between = np.linalg.norm(displacements[:, None] - displacements[None], axis=-1)
    return common_displacement(np.linalg.norm(displacements, axis=-1), between)


def of_pairs(x: np.ndarray) -> float:
    """The t test of inner products, of points (points, n)."""
    products = [x[i] @ x[j] for i in range(len(x)) for j in range(i)]
    return float(stats.ttest_1samp(products, 0.0, alternative="greater").pvalue)


@pytest.mark.parametrize(("seeds", "values"), [(3, 2), (4, 3), (6, 40)])
def test_p_is_the_share_of_rotations_that_leave_as_long_a_mean_or_that_of_pairs(seeds: int, values: int) -> None:
    rng = np.random.default_rng(seeds)
    x = rng.normal(0.3, 1.0, (seeds, 8, values))
    turned = np.linalg.qr(rng.normal(size=(20_000, seeds, seeds)))[0]
    larger = []
    for layer, p in enumerate(of(x).p):
        means = (turned[:, 0] @ x[:, layer]) ** 2
        share = (means.sum(-1) >= seeds * (x[:, layer].mean(0) ** 2).sum()).mean()
        assert p == pytest.approx(max(share, of_pairs(x[:, layer])), abs=4 * math.sqrt(0.25 / len(turned)))
        larger.append(share > of_pairs(x[:, layer]))
    assert len(set(larger)) == 2, "now this, now that"


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_of_one_value_it_is_the_t_test_or_that_of_pairs(seeds: int) -> None:
    x = np.random.default_rng(seeds).normal(1.0, 1.0, (seeds, 50, 1))
    pairs = np.array([of_pairs(x[:, layer]) for layer in range(50)])
    alone = stats.ttest_1samp(x[..., 0], 0.0).pvalue
    np.testing.assert_allclose(of(x).p, np.maximum(alone, pairs), rtol=1e-6, atol=1e-11)
    assert (alone > pairs).any()


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("seeds", "values"), [(3, 1), (3, 64), (5, 1), (5, 64), (10, 16)])
def test_noise_is_seldom_found(seeds: int, values: int, noise: str) -> None:
    found = of(NOISES[noise](np.random.default_rng([seeds, values]), (seeds, LAYERS, values)))
    assert (found.p < 0.05).mean() <= LEVEL
    assert np.mean(found.moved**2) / np.mean(found.apart**2) == pytest.approx(0.5, abs=0.06), "a ratio of 0.71"


def test_noise_of_one_length_is_seldom_found() -> None:
    """Of which rotations alone would find 14 %."""
    found = of(np.random.default_rng(0).choice([-1.0, 1.0], (3, LAYERS, 64)))
    assert (found.p < 0.05).mean() <= 0.07


@pytest.mark.parametrize("seeds", [3, 5])
def test_three_times_the_noise_is_found(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    common = 3.0 * rng.normal(size=(1, 200, 64))
    assert (of(common + rng.normal(size=(seeds, 200, 64))).p < 0.05).mean() >= POWER


@given(st.integers(2, 6), st.floats(1e-6, 1e6), st.integers(0, 999))
def test_neither_scale_nor_order_of_the_points_matters(seeds: int, scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(seeds, 3, 5))
    wanted, found = of(x), of(scale * rng.permutation(x))
    np.testing.assert_allclose(found.ratio, wanted.ratio, rtol=1e-9)
    np.testing.assert_allclose(found.p, wanted.p, rtol=1e-6)
    np.testing.assert_allclose(found.moved, scale * wanted.moved, rtol=1e-9)


def test_both_directions_count_and_the_diagonal_does_not() -> None:
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    m, d = np.linalg.norm(x, axis=-1), np.linalg.norm(x[:, None] - x[None], axis=-1)
    crooked = d * np.where(np.tri(4, dtype=bool), 1.5, 0.5)[:, :, None]
    crooked[range(4), range(4)] = np.nan
    before = m.copy(), crooked.copy()
    for a, b in zip(common_displacement(m, crooked), common_displacement(m, d), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    np.testing.assert_array_equal(m, before[0])
    np.testing.assert_array_equal(crooked, before[1])


def test_two_points_have_a_ratio_and_no_p() -> None:
    found = common_displacement([3.0, 3.0], [[0.0, 1.5], [1.5, 0.0]])
    assert (found.moved, found.apart, found.ratio) == (3.0, 1.5, 2.0)
    assert np.isnan(found.p)


@pytest.mark.parametrize(("m", "d"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0), (np.nan, 1.0), (1.0, np.nan), (1.0, np.inf)])
def test_what_did_not_move_or_is_unknown_has_no_p_and_harms_no_other(m: float, d: float) -> None:
    found = common_displacement(np.array([[m, 1.0]] * 3), np.full((3, 3, 2), [d, 1.2]))
    assert np.isnan([found.ratio[0], found.p[0]]).all()
    assert np.isfinite(found.p[1])


def test_points_that_did_not_start_in_one_place_have_no_p() -> None:
    """Each is 1 from its own start, and 9 from the others: no start is that near to all."""
    found = common_displacement(np.ones((3, 1)), np.full((3, 3, 1), 9.0))
    assert found.ratio == pytest.approx(1 / 9)
    assert np.isnan(found.p)
