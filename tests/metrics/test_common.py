"""Every metric is held to the facts of its record, and to an oracle that shares no code with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given

from tests.metrics import facts
from tests.metrics.facts import ALWAYS, CALLS, FACTS, Pair, check_denied, examples, ordinary, single
from tests.metrics.oracles import ORACLES
from wdiv.metrics import METRICS

every_metric = pytest.mark.parametrize("name", list(METRICS))


def test_every_metric_has_an_oracle_and_every_oracle_a_metric() -> None:
    assert sorted(ORACLES) == sorted(METRICS)


@every_metric
@given(pair=ordinary())
def test_ordinary_weights_keep_the_facts(name: str, pair: Pair) -> None:
    record = METRICS[name]
    for check in (*ALWAYS, *(check for fact, check in FACTS.items() if getattr(record, fact))):
        check(record, *pair)


@every_metric
@pytest.mark.parametrize("fact", FACTS)
def test_what_a_record_denies_does_not_hold(name: str, fact: str) -> None:
    record = METRICS[name]
    if not getattr(record, fact):
        check_denied(FACTS[fact], record)


@every_metric
@given(pair=ordinary())
@example(pair=(np.array([3.0, 4.0]), np.array([3.0, 4.5])))
def test_agrees_with_its_oracle(name: str, pair: Pair) -> None:
    a, b = pair
    wanted = ORACLES[name](a.tolist(), b.tolist())
    assert single(METRICS[name], a, b) == pytest.approx(wanted, rel=1e-9, abs=1e-14)


@every_metric
def test_agrees_with_its_oracle_on_a_layer_of_weights(name: str) -> None:
    rng = np.random.default_rng(11)
    a = rng.normal(0.01, 0.05, 3000).astype(np.float32)
    b = (a + rng.normal(0, 0.005, 3000)).astype(np.float32)
    assert single(METRICS[name], a, b) == pytest.approx(ORACLES[name](a.tolist(), b.tolist()), rel=1e-9)


@every_metric
@pytest.mark.parametrize("change", [1e-2, 1e-4, 1e-6])
def test_keeps_its_digits_for_small_changes(name: str, change: float) -> None:
    """Weights that hardly move are what is measured here. Above the value at identity, six digits are right."""
    record = METRICS[name]
    rng = np.random.default_rng(7)
    a = rng.normal(0.1, 1.0, 200)
    b = a * (1 + change) + change * rng.normal(0.3, 1.0, 200)
    wanted = ORACLES[name](a.tolist(), b.tolist()) - record.identity
    assert wanted > 0
    rounding = 4 * np.finfo(float).eps * abs(record.identity)
    assert single(record, a, b) - record.identity == pytest.approx(wanted, rel=1e-6, abs=rounding)


@every_metric
@pytest.mark.parametrize(("a", "b"), [([1.0, 1.0], [2.0, 2.0]), ([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])])
def test_degenerate_weights_give_a_value_or_nan_never_infinity(name: str, a: list[float], b: list[float]) -> None:
    assert not np.isinf(single(METRICS[name], np.array(a), np.array(b)))


@every_metric
@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_what_is_not_finite_gives_no_number(name: str, hole: float) -> None:
    a, b = next(examples())
    b[3] = hole
    for pair in ((a, b), (b, a)):
        assert not np.isfinite(single(METRICS[name], *pair))


@every_metric
def test_the_record_is_complete(name: str) -> None:
    record = METRICS[name]
    assert record.name == name == record.function.__name__
    assert all(getattr(record, text).strip() for text in ("long_name", "formula", "source", "units"))
    assert record.takes in CALLS
    assert record.lower <= record.identity <= record.upper
    assert record.function.__doc__
    assert ">>>" in record.function.__doc__, "an example that runs"
    assert set(record.attrs) == {"units", "long_name", "formula", "source"}
    assert all(type(text) is str for text in record.attrs.values()), "netCDF holds nothing else"


def test_no_two_metrics_are_described_alike() -> None:
    for text in ("function", "long_name"):
        assert len({getattr(record, text) for record in METRICS.values()}) == len(METRICS)


# ------------------------------------------------------------------------------------- the checks themselves, checked

HONEST = METRICS["relative_l2"]  # directed, free of scale, paired, at least 0
LIES = {
    "lower": (facts.check_bounds, replace(HONEST, lower=0.4)),
    "upper": (facts.check_bounds, replace(HONEST, upper=0.3)),
    "NaN": (facts.check_bounds, replace(HONEST, function=lambda sums: sums.squared_a * np.nan)),
    "identity": (facts.check_identity, replace(HONEST, identity=1e-9)),
    "identity of zeros": (facts.check_identity, replace(HONEST, function=lambda sums: 1.0 * (sums.squared_a == 0))),
    "symmetric": (facts.check_symmetric, HONEST),
    "scale_free": (facts.check_scale_free, replace(HONEST, function=lambda sums: sums.squared_distance)),
    "permutable": (facts.check_permutable, HONEST),
    "batch": (facts.check_batch, replace(HONEST, function=lambda sums: sums.squared_b / np.max(sums.squared_b))),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_record_that_lies_is_found_out(lie: str) -> None:
    check, record = LIES[lie]
    check_denied(check, record)


@pytest.mark.parametrize("fact", FACTS)
def test_a_record_that_denies_what_holds_is_found_out(fact: str) -> None:
    nothing = replace(METRICS["gaussian_kl"], function=lambda a, b: np.zeros(np.shape(b.std)))
    with pytest.raises(AssertionError, match="though its record denies it"):
        check_denied(FACTS[fact], nothing)
