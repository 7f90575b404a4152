"""What single metrics of paired elements promise beyond the facts of their records."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from wdiv.metrics import METRICS
from wdiv.metrics.paired import cosine_distance, l2, max_abs, mean_abs, pearson_distance, relative_l2, sign_flips
from wdiv.numerics import pair_sums


def test_relative_l2_is_relative_to_a() -> None:
    a, b = np.array([3.0, 4.0]), np.array([0.0, 0.0])
    assert float(relative_l2(pair_sums(a, b))) == 1.0
    assert math.isnan(float(relative_l2(pair_sums(b, a)))), "no length to be relative to"
    assert float(relative_l2(pair_sums(b, b))) == 0.0


@pytest.mark.parametrize("zero", [([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [0.0, 0.0])])
def test_cosine_distance_of_nothing_is_not_defined(zero: tuple[list[float], list[float]]) -> None:
    assert math.isnan(float(cosine_distance(pair_sums(*zero))))


@pytest.mark.parametrize(("b", "value"), [([2.0, 0.0], 0.0), ([0.0, 3.0], 1.0), ([-5.0, 0.0], 2.0)])
def test_cosine_distance_spans_its_range(b: list[float], value: float) -> None:
    assert float(cosine_distance(pair_sums([1.0, 0.0], b))) == value


def test_pearson_distance_is_one_less_the_correlation() -> None:
    a, b = np.random.default_rng(0).normal(0.5, 1.0, (2, 200))
    for other in (b, a + 0.1 * b, -a):
        wanted = 1 - stats.pearsonr(a, other).statistic
        assert float(pearson_distance(pair_sums(a, other))) == pytest.approx(wanted, rel=1e-12)
    assert float(pearson_distance(pair_sums(a, 3.0 * a + 7.0))) == pytest.approx(0.0, abs=1e-14)


def test_zero_has_no_sign_to_flip() -> None:
    a, b = np.array([1.0, -1.0, 0.0, 0.0, -0.0, 2.0]), np.array([-1.0, 1.0, 1.0, -1.0, 0.0, 3.0])
    assert float(sign_flips(pair_sums(a, b))) == 2 / 6
    assert float(sign_flips(pair_sums(a, -a))) == 3 / 6


@pytest.mark.parametrize("place", [0, 63, 64, 16383, 16384, 39999])
def test_one_weight_that_moves_is_seen_wherever_it_is(place: int) -> None:
    a = np.zeros(40000, np.float32)
    b = a.copy()
    b[place] = -3.0
    sums = pair_sums(a, b)
    assert float(max_abs(sums)) == 3.0
    assert float(l2(sums)) == pytest.approx(3.0, rel=1e-15)
    assert float(mean_abs(sums)) == 3.0 / 40000


@pytest.mark.parametrize("name", [name for name, record in METRICS.items() if record.family == "paired"])
def test_a_record_says_whether_differences_alone_give_the_metric(name: str) -> None:
    """What does without moments gives the same bits without them; what needs them gives none."""
    rng = np.random.default_rng(3)
    a = rng.normal(0.2, 1.0, 50)
    b = a + rng.normal(0.1, 0.5, 50)
    record = METRICS[name]
    alone, both = record.function(pair_sums(a, b, fits=False)), record.function(pair_sums(a, b))
    assert np.isnan(alone) if record.fits else alone == both
