"""How sure a share is: against SciPy and plain sums, what it covers, and what more seeds and groups do to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wdiv.numerics import Share, grouped_interval, share_interval, wilson

RUNS = 2000


def covered(found: Share, truth: float) -> float:
    return float(((found.low <= truth) & (truth <= found.high)).mean())


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95]))
def test_it_is_scipy_s_for_one_seed_without_groups(counts: tuple[int, int], level: float) -> None:
    right, n = counts
    wanted = stats.binomtest(right, n).proportion_ci(level, method="wilson")
    for found in (wilson(right / n, n, level), share_interval([right / n], n, level)):
        assert (found.value, found.low, found.high) == pytest.approx((right / n, *wanted), abs=1e-12)


def test_all_right_proves_no_more_than_so_many_images_can() -> None:
    found = wilson([1.0, 0.0], 50)
    assert found.high[0] == 1.0
    assert found.low[1] == 0.0
    np.testing.assert_allclose([found.low[0], 1 - found.high[1]], 50 / (50 + stats.norm.ppf(0.975) ** 2))


@pytest.mark.parametrize("n", [20, 50, 150])
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.95, 0.98, 0.99])
def test_it_covers_a_share_near_one_too(n: int, truth: float) -> None:
    """Exactly, over all that can be seen; the bootstrap covered .45 to .65."""
    right = np.arange(n + 1)
    found = wilson(right / n, n)
    inside = (found.low <= truth) & (truth <= found.high)
    assert stats.binom.pmf(right, n, truth)[inside].sum() >= 0.89


def test_seeds_are_variance_on_top_of_the_images() -> None:
    shares, n = np.array([0.96, 0.92, 0.88]), 50
    p, of_images, of_seeds = shares.mean(), 0.92 * 0.08 / n, shares.var(ddof=1) / 3
    freedom = (of_images + of_seeds) ** 2 / (of_seeds**2 / 2)
    found, wanted = share_interval(shares, n), wilson(p, p * (1 - p) / (of_images + of_seeds), 0.95, freedom)
    np.testing.assert_allclose(found, wanted)
    z = stats.t.ppf(0.975, freedom)  # Wilson's equation: where the distance is z standard errors of that share itself
    worth = p * (1 - p) / (of_images + of_seeds)
    for end in (found.low, found.high):
        assert abs(end - p) == pytest.approx(z * math.sqrt(end * (1 - end) / worth))


def test_seeds_that_agree_are_no_more_images() -> None:
    for seeds in (1, 3, 10):
        np.testing.assert_allclose(share_interval([0.9] * seeds, 50), wilson(0.9, 50))
    apart, together = share_interval([0.8, 0.9, 1.0], 50), share_interval([0.9] * 3, 50)
    assert apart.low < together.low < together.high < apart.high


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("truth", [0.7, 0.9, 0.97])
@pytest.mark.parametrize("seed_effect", [0.0, 0.2])
def test_it_covers_other_images_and_other_seeds(seeds: int, truth: float, seed_effect: float) -> None:
    """An image is hard or easy for all seeds alike, more or less; some seeds are luckier than others."""
    rng, n = np.random.default_rng(seeds), 50
    hard = math.sqrt(0.7) * rng.normal(size=(1, RUNS, n)) + math.sqrt(0.3) * rng.normal(size=(seeds, RUNS, n))
    luck = seed_effect * rng.normal(size=(seeds, RUNS, 1))
    right = hard < luck + stats.norm.ppf(truth) * math.hypot(1.0, seed_effect)
    assert covered(share_interval(right.mean(-1), n), truth) >= 0.93


def test_what_is_not_known_is_nan_and_is_left_out() -> None:
    np.testing.assert_allclose(share_interval([0.8, np.nan, 0.9], 50), share_interval([0.8, 0.9], 50))
    assert np.isnan(share_interval([np.nan, np.nan], 50)).all()
    found = share_interval([0.9], 0)
    assert found.value == 0.9
    assert np.isnan([found.low, found.high]).all()
    np.testing.assert_allclose(share_interval([[0.8, 0.9], [0.6, 0.9]], [50, 20]).low[1], wilson(0.9, 20).low)


# ------------------------------------------------------------------------------------------------------------ groups


def test_groups_have_the_variance_of_their_totals() -> None:
    shares, n = np.array([0.9, 0.5, 1.0, 0.7]), np.array([10, 20, 5, 15])
    p = float((shares * n).sum() / n.sum())
    variance = 4 / 3 * sum((k / 50) ** 2 * (share - p) ** 2 for share, k in zip(shares, n, strict=True))
    np.testing.assert_allclose(grouped_interval([shares], n), wilson(p, p * (1 - p) / variance, 0.95, 3))


def test_groups_that_are_all_right_count_as_one_image_each() -> None:
    np.testing.assert_allclose(grouped_interval([[1.0] * 6], [10] * 6), wilson(1.0, 6, 0.95, np.inf))


def test_groups_never_narrow_an_interval_and_seeds_come_on_top() -> None:
    even = grouped_interval([[0.9] * 8], [10] * 8)
    assert even.low < wilson(0.9, 80).low
    assert grouped_interval([[0.9] * 8, [0.5] * 8], [10] * 8).low < grouped_interval([[0.7] * 8], [10] * 8).low


@pytest.mark.parametrize("groups", [5, 20])
@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_it_covers_other_groups(groups: int, alike: float) -> None:
    rng, hits = np.random.default_rng(groups), []
    for _ in range(500):
        ease = math.sqrt(alike) * rng.normal(size=(groups, 1)) + math.sqrt(1 - alike) * rng.normal(size=(groups, 10))
        hits.append(covered(grouped_interval([(ease < stats.norm.ppf(0.9)).mean(1)], [10] * groups), 0.9))
    assert np.mean(hits) >= 0.92
