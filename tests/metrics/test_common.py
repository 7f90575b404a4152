"""Every metric is held to the facts of its record, and to an oracle that shares no code with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.metrics import facts
from tests.metrics.facts import ALWAYS, CALLS, FACTS, UNSEEN, as_matrices, check_denied, ordinary, single, slack
from tests.metrics.oracles import ORACLES
from wdiv.metrics import FAMILIES, METRICS, Metric

every_metric = pytest.mark.parametrize("name", list(METRICS))


def test_every_metric_has_an_oracle_and_every_oracle_a_metric() -> None:
    assert sorted(ORACLES) == sorted(METRICS)


def test_every_family_can_be_called_and_has_metrics() -> None:
    assert sorted(CALLS) == sorted(FAMILIES) == sorted({metric.family for metric in METRICS.values()})


def determined(record: Metric, a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the number is one that arithmetic of 16 digits can have: singular values as roots of squares have 8."""
    if record.family != "spectral":
        return True
    if record.name != "subspace_overlap":
        return True
    matrices = [as_matrices(x.astype(np.float64)) for x in (a, b)]
    k = min(8, len(matrices[0]), max(1, matrices[0].shape[1] // 2))
    singular = (np.append(np.linalg.svd(x, compute_uv=False), 0.0) for x in matrices)
    return all(s[k - 1] - s[k] > 1e-2 * s[0] for s in singular)


@every_metric
@settings(max_examples=30)
@given(data=st.data())
def test_ordinary_weights_keep_the_facts_and_agree_with_the_oracle(name: str, data: st.DataObject) -> None:
    record = METRICS[name]
    a, b = data.draw(ordinary(record))
    for check in (*ALWAYS, *(check for fact, check in FACTS.items() if getattr(record, fact))):
        check(record, a, b)
    if determined(record, a, b):
        wanted = ORACLES[name](a.tolist(), b.tolist())
        assert math.isclose(single(record, a, b), wanted, rel_tol=1e-9, abs_tol=slack(record, a, b))


@every_metric
@pytest.mark.parametrize("fact", FACTS)
def test_what_a_record_denies_does_not_hold(name: str, fact: str) -> None:
    record = METRICS[name]
    if not getattr(record, fact) and (name, fact) not in UNSEEN:
        check_denied(FACTS[fact], record)


@every_metric
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_agrees_with_its_oracle_on_a_layer_of_weights(name: str, dtype: type) -> None:
    n = {"spectral": 150, "features": 60, "empirical": 300}.get(METRICS[name].family, 1500)
    rng = np.random.default_rng(11)
    a = rng.normal(0.01, 0.05, n).astype(dtype)
    b = (a + rng.normal(0, 0.005, n)).astype(dtype)
    wanted = ORACLES[name](a.astype(float).tolist(), b.astype(float).tolist())
    assert single(METRICS[name], a, b) == pytest.approx(wanted, rel=1e-9)


@every_metric
def test_the_record_is_complete(name: str) -> None:
    record = METRICS[name]
    assert record.name == name == record.function.__name__
    assert all(getattr(record, text).strip() for text in ("long_name", "formula", "source", "units"))
    assert record.family in CALLS
    assert record.lower < record.upper
    assert math.isnan(record.identity) or record.lower <= record.identity <= record.upper
    assert record.scale_free == (record.units != "weight"), "units of weights are what scales"
    assert record.function.__doc__
    assert ">>>" in record.function.__doc__, "an example that runs"
    assert set(record.attrs) == {"units", "long_name", "formula", "source"}
    assert all(type(text) is str for text in record.attrs.values()), "netCDF holds nothing else"


def test_no_two_metrics_are_described_alike() -> None:
    for text in ("function", "long_name", "formula"):
        assert len({getattr(record, text) for record in METRICS.values()}) == len(METRICS)


# ------------------------------------------------------------------------------------- the checks themselves, checked

HONEST = METRICS["relative_l2"]  # directed, free of scale, paired, at least 0
LIES = {
    "lower": (facts.check_bounds, replace(HONEST, lower=0.4)),
    "upper": (facts.check_bounds, replace(HONEST, upper=0.3)),
    "NaN": (facts.check_bounds, replace(HONEST, function=lambda sums: sums.squared_a * np.nan)),
    "identity": (facts.check_identity, replace(HONEST, identity=1e-9)),
    "identity is NaN": (facts.check_identity, replace(HONEST, identity=math.nan)),
    "identity of zeros": (facts.check_identity, replace(HONEST, function=lambda sums: 1.0 * (sums.squared_a == 0))),
    "symmetric": (facts.check_symmetric, HONEST),
    "scale_free": (facts.check_scale_free, replace(HONEST, function=lambda sums: sums.squared_distance)),
    "scale": (facts.check_scale, replace(METRICS["l2"], function=lambda sums: sums.squared_distance)),
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
