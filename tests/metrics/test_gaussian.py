"""Metrics of two Gaussian fits against the integrals that define them, and what is said of single ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from wdiv.metrics import METRICS
from wdiv.numerics import Moments, moments

FITS = [(0.0, 1.0, 1.0, 1.0), (0.0, 1.0, 0.0, 2.0), (0.3, 2.0, -1.0, 0.8), (0.0, 1.0, 0.01, 1.01)]
every_fit = pytest.mark.parametrize("fit", FITS)


def value(name: str, fit: tuple[float, float, float, float]) -> float:
    a, b = Moments(*map(np.asarray, fit[:2])), Moments(*map(np.asarray, fit[2:]))
    return float(METRICS[name].function(a, b))


def integral(fit: tuple[float, ...], of: object) -> float:
    a, b = stats.norm(*fit[:2]), stats.norm(*fit[2:])
    return float(integrate.quad(lambda x: of(a, b, x), -30, 30, points=[fit[0], fit[2]], epsabs=1e-13)[0])  # type: ignore[operator]


@every_fit
def test_divergences_are_expected_log_ratios(fit: tuple[float, float, float, float]) -> None:
    there = integral(fit, lambda a, b, x: a.pdf(x) * (a.logpdf(x) - b.logpdf(x)))
    back = integral(fit, lambda a, b, x: b.pdf(x) * (b.logpdf(x) - a.logpdf(x)))
    assert value("gaussian_kl", fit) == pytest.approx(there, rel=1e-7)
    assert value("gaussian_kl_reverse", fit) == pytest.approx(back, rel=1e-7)
    assert value("jeffreys", fit) == pytest.approx(there + back, rel=1e-7)


@every_fit
def test_hellinger_and_bhattacharyya_are_what_the_densities_share(fit: tuple[float, float, float, float]) -> None:
    common = integral(fit, lambda a, b, x: np.sqrt(a.pdf(x) * b.pdf(x)))
    assert value("bhattacharyya", fit) == pytest.approx(-np.log(common), rel=1e-7)
    apart = integral(fit, lambda a, b, x: (np.sqrt(a.pdf(x)) - np.sqrt(b.pdf(x))) ** 2)
    assert value("hellinger", fit) == pytest.approx(np.sqrt(apart / 2), rel=1e-7)


@every_fit
def test_wasserstein2_is_the_distance_of_the_quantiles(fit: tuple[float, float, float, float]) -> None:
    a, b = stats.norm(*fit[:2]), stats.norm(*fit[2:])
    squared, _ = integrate.quad(lambda p: (a.ppf(p) - b.ppf(p)) ** 2, 0, 1)
    assert value("wasserstein2_gaussian", fit) == pytest.approx(np.sqrt(squared), rel=1e-5)


def test_the_paper_s_equation_is_half_a_nat_above_the_divergence() -> None:
    a, b = moments([0.0, 1.0, 5.0]), moments([1.0, 1.5, 4.0])
    kl, paper = METRICS["gaussian_kl"], METRICS["gaussian_kl_peng2020"]
    assert float(paper.function(a, b)) == float(kl.function(a, b)) + 0.5
    assert float(paper.function(a, a)) == paper.lower == 0.5


def test_signs_say_which_way() -> None:
    assert value("mean_shift", (1.0, 2.0, 0.0, 9.0)) == -0.5
    assert value("mean_shift", (0.0, 2.0, 1.0, 0.0)) == 0.5, "where B has gone, its spread does not matter"
    assert value("log_std_ratio", (5.0, 1.0, 0.0, 0.5)) == pytest.approx(-np.log(2))
    for name in ("mean_shift", "log_std_ratio"):
        assert np.isnan(value(name, (0.0, 0.0, 1.0, 1.0)))


def test_a_shift_of_the_mean_alone_is_none_of_the_spread_and_the_other_way_round() -> None:
    assert value("log_std_ratio", (0.0, 1.0, 3.0, 1.0)) == 0.0
    assert value("mean_shift", (3.0, 1.0, 3.0, 7.0)) == 0.0
