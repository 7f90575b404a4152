"""How a metric is called, and how each fact of its record is checked: by property where it holds, by example where
it is denied. The checks raise AssertionError; ``test_common.py`` runs them over every metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wdiv.metrics import Metric
from wdiv.numerics import moments, pair_sums

Pair = tuple[np.ndarray, np.ndarray]

CALLS: dict[str, Callable[[Metric, np.ndarray, np.ndarray], np.ndarray]] = {
    "moments": lambda metric, a, b: metric.function(moments(a), moments(b)),
    "pairs": lambda metric, a, b: metric.function(pair_sums(a, b)),
}
"""``takes`` -> metric(A, B) of two arrays, rows along the last axis. A new kind of metric needs a line here."""


def value(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return CALLS[metric.takes](metric, a, b)


def single(metric: Metric, a: np.ndarray, b: np.ndarray) -> float:
    return float(value(metric, a, b))


def same(x: float, y: float) -> bool:
    """Equal up to rounding: metrics of a turn or a shift near 0 are sums that cancel."""
    return bool(np.isclose(x, y, rtol=1e-9, atol=1e-13))


@st.composite
def ordinary(draw: st.DrawFn) -> Pair:
    """Two rows of weights, neither constant nor zero, near to one another or not."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n = draw(st.integers(2, 30))
    rows = hnp.arrays(dtype, n, elements=st.floats(-1, 1, width=32).map(lambda v: round(v, 4)))
    unit = draw(st.sampled_from([1e-4, 1.0, 1e3]))
    a = draw(rows)
    b = a + draw(st.sampled_from([1e-3, 1.0])) * draw(rows) if draw(st.booleans()) else draw(rows)
    a, b = (a * unit).astype(dtype), (b * unit).astype(dtype)
    assume(np.ptp(a) > 0)
    assume(np.ptp(b) > 0)
    return a, b


def examples() -> Iterator[Pair]:
    """A few ordinary pairs, in which what a metric is not must show."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a = rng.normal(0.3, 1.0, 40)
        yield a, a * 1.3 + rng.normal(0.2, 0.1, 40)


def check_bounds(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    found = single(metric, a, b)
    assert not np.isnan(found)
    assert metric.lower <= found <= metric.upper


def check_identity(metric: Metric, a: np.ndarray, _b: np.ndarray) -> None:
    for row in (a, np.full_like(a, 0.1), np.zeros_like(a), a[:1]):  # exactly, whatever the row
        assert single(metric, row, row.copy()) == metric.identity


def check_symmetric(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    assert same(single(metric, a, b), single(metric, b, a))


def check_scale_free(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    for scale in (2.0**-9, 2.0**7):  # powers of two: without rounding
        assert same(single(metric, a, b), single(metric, a * scale, b * scale))


def check_permutable(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    order = np.random.default_rng(0)
    for _ in range(3):
        assert same(single(metric, a, b), single(metric, order.permutation(a), order.permutation(b)))


def check_batch(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    """Rows at once are rows one by one; one row of A serves for every row of B."""
    rows = np.stack([b, a, b[::-1], b * 2])
    one_by_one = [single(metric, a, row) for row in rows]
    np.testing.assert_array_equal(value(metric, a[None], rows), one_by_one)
    np.testing.assert_array_equal(value(metric, np.stack([a] * 4), rows), one_by_one)
    assert value(metric, np.stack([a] * 4), rows).dtype == np.float64


def check_denied(check: Callable[[Metric, np.ndarray, np.ndarray], None], metric: Metric) -> None:
    """What a record says a metric is not, it must visibly not be."""
    for a, b in examples():
        try:
            check(metric, a, b)
        except AssertionError:
            return
    raise AssertionError(f"{metric.name}: {check.__name__} holds, though its record denies it")


FACTS = {"symmetric": check_symmetric, "scale_free": check_scale_free, "permutable": check_permutable}
"""Fact that a record states or denies -> its check."""
ALWAYS = (check_bounds, check_identity, check_batch)
