"""The record of a metric, its registration, and what single metrics promise beyond the facts."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from tests.metrics.oracles import ORACLES
from wdiv.metrics import METRICS, Metric, metric
from wdiv.metrics.paired import cosine_distance, relative_l2
from wdiv.numerics import moments, pair_sums

TEXT = {"long_name": "n", "formula": "f", "source": "s"}


def test_takes_is_checked_at_once() -> None:
    with pytest.raises(ValueError, match="metric x: takes is 'moments' or 'pairs', not 'histograms'"):
        Metric(name="x", function=np.add, takes="histograms", **TEXT)


def test_permutable_follows_from_what_a_metric_takes() -> None:
    for takes, permutable in (("moments", True), ("pairs", False)):
        assert Metric(name="x", function=np.add, takes=takes, **TEXT).permutable is permutable


def test_a_record_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        METRICS["gaussian_kl"].identity = 1.0  # type: ignore[misc]


def test_the_decorator_registers_and_returns_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METRICS, "_records", dict(METRICS._records))

    @metric(takes="pairs", symmetric=True, **TEXT)
    def made_up(sums: object) -> np.ndarray:
        return np.zeros(1)

    assert METRICS["made_up"].function is made_up
    assert METRICS["made_up"].symmetric
    with pytest.raises(ValueError, match="metric 'made_up' is registered twice"):
        metric(takes="pairs", **TEXT)(made_up)


def test_the_paper_s_equation_is_half_a_nat_above_the_divergence() -> None:
    a, b = moments([0.0, 1.0, 5.0]), moments([1.0, 1.5, 4.0])
    kl, paper = METRICS["gaussian_kl"], METRICS["gaussian_kl_peng2020"]
    assert float(paper.function(a, b)) == float(kl.function(a, b)) + 0.5
    assert float(paper.function(a, a)) == paper.lower == 0.5


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


@pytest.mark.parametrize("growth", [0.0, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("turn", [1e-3, 1e-6, 1e-9])
def test_cosine_distance_keeps_the_digits_of_a_small_turn(turn: float, growth: float) -> None:
    """Also beside a growth in length that is much larger than it."""
    a, aside = np.random.default_rng(0).normal(size=(2, 50))
    b = (1 + growth) * (a + turn * aside)
    wanted = ORACLES["cosine_distance"](a.tolist(), b.tolist())
    lost = 1e-12 + 1e-15 * (growth / turn) ** 2
    assert float(cosine_distance(pair_sums(a, b))) == pytest.approx(wanted, rel=lost, abs=0)
