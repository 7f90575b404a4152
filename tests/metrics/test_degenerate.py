"""Rows that are constant, zero, of one element, of other types, or not finite."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tests.metrics.facts import CALLS, examples, single
from wdiv.metrics import METRICS, Metric

OF_WEIGHTS = [name for name, record in METRICS.items() if record.family != "features"]
"""Features that do not differ are a case of their own, in ``test_features.py``."""
every_metric = pytest.mark.parametrize("name", OF_WEIGHTS)

ROWS = {
    "ordinary": [1.0, 2.0, -4.0, 0.5],
    "reversed": [0.5, -4.0, 2.0, 1.0],
    "constant": [2.0] * 4,
    "another constant": [0.1] * 4,
    "zero": [0.0] * 4,
    "minus zero": [-0.0] * 4,
    "one spike": [0.0, 0.0, 0.0, 1e-30],
}


def may_be_undefined(record: Metric, *pair: list[float]) -> bool:
    spread, norm = (any(f(row) for row in pair) for f in (lambda row: len(set(row)) == 1, lambda row: not any(row)))
    return {"spread": spread, "norm": norm, "output": norm}.get(record.undefined, False)


@every_metric
def test_a_value_is_undefined_only_for_the_reason_that_the_record_gives(name: str) -> None:
    record = METRICS[name]
    for a, b in itertools.product(ROWS, ROWS):
        pair = ROWS[a], ROWS[b]
        found = single(record, *map(np.array, pair))
        if pair[0] == pair[1]:
            np.testing.assert_equal(found, record.identity, err_msg=f"{a}, {b}")
        elif may_be_undefined(record, *pair):
            assert not math.isinf(found), (a, b)
        else:
            assert record.lower <= found <= record.upper, (a, b)


@every_metric
def test_one_element_is_enough(name: str) -> None:
    record = METRICS[name]
    for a, b in [(2.0, 3.0), (0.0, 1.0), (1.0, 0.0), (-1.0, 1.0)]:
        found = single(record, np.array([a]), np.array([b]))
        if record.undefined == "spread":
            assert math.isnan(found) or name == "log_std_ratio", "one element has no spread; two have the same"
        elif not may_be_undefined(record, [a], [b]):
            assert record.lower <= found <= record.upper
        np.testing.assert_equal(single(record, np.array([a]), np.array([a])), record.identity)


@every_metric
def test_every_type_of_number_is_measured_in_float64(name: str) -> None:
    for dtype in (np.float16, np.float32, np.int8, np.int64, np.uint8, ">f4"):
        a, b = (np.random.default_rng(seed).uniform(1, 100, 24).astype(dtype) for seed in (1, 2))
        assert single(METRICS[name], a, b) == single(METRICS[name], a.astype(np.float64), b.astype(np.float64)), dtype


@pytest.mark.parametrize("name", list(METRICS))
def test_what_is_not_finite_gives_no_number_and_spoils_no_other_row(name: str) -> None:
    record = METRICS[name]
    a, b = next(examples())
    for hole, place in itertools.product((np.nan, np.inf, -np.inf), (0, 3, -1)):
        spoiled = b.copy()
        spoiled[place] = hole
        with np.errstate(invalid="ignore"):
            for pair in ((a, spoiled), (spoiled, a), (spoiled, spoiled * 2)):
                assert not np.isfinite(single(record, *pair)), hole
            found = CALLS[record.family](record, a[None], np.stack([b, spoiled, a * 2]))
        assert np.isfinite(found).tolist() == [True, False, True]
        assert found[0] == single(record, a, b)
