"""How a metric is called, and how each fact of its record is checked: by property where it holds, by example where
it is denied. The checks raise AssertionError; ``test_common.py`` runs them over every metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import wdiv.metrics.features  # noqa: F401 - importing registers
from wdiv.metrics import METRICS, Metric
from wdiv.numerics import moments, pair_sums, spectrum
from wdiv.numerics.gram import gram

Pair = tuple[np.ndarray, np.ndarray]
IMAGES = 6


def as_matrices(rows: np.ndarray) -> np.ndarray:
    """(…, n) -> (…, out, in), as square as n allows."""
    n = rows.shape[-1]
    out = next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)
    return rows.reshape(*rows.shape[:-1], out, n // out)


def grams(rows: np.ndarray) -> np.ndarray:
    """(…, n), features of six images one after the other -> (…, 6, 6)."""
    features = rows.reshape(-1, IMAGES, rows.shape[-1] // IMAGES)
    return np.stack([gram(x) for x in features]).reshape(*rows.shape[:-1], IMAGES, IMAGES)


def _spectral(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (as_matrices(x.astype(np.float64)) for x in (a, b))
    return metric.function(spectrum(a), spectrum(b), spectrum(b - a, directions=False))


def _trajectory(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The path A → B of two epochs, at its end."""
    way = METRICS["l2"].function(pair_sums(a, b))
    steps = np.stack([np.zeros_like(way), way], axis=-1)
    return metric.function(steps, steps)[..., -1]


def _outputs(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of rows that are the outputs themselves."""
    a, b = (x.astype(np.float64) for x in (a, b))
    return metric.function(np.square(b - a).sum(-1), np.square(a).sum(-1))


CALLS: dict[str, Callable[[Metric, np.ndarray, np.ndarray], np.ndarray]] = {
    "gaussian": lambda metric, a, b: metric.function(moments(a), moments(b)),
    "paired": lambda metric, a, b: metric.function(pair_sums(a, b)),
    "empirical": lambda metric, a, b: metric.function(np.sort(a), np.sort(b)),
    "spectral": _spectral,
    "trajectory": _trajectory,
    "features": lambda metric, a, b: metric.function(grams(a), grams(b)),
    "outputs": _outputs,
    "proxies": lambda metric, a, b: metric.function(pair_sums(a, b)),
}
"""Family -> metric(A, B) of two arrays, rows along the last axis. A new family needs a line here."""

UNSEEN = {
    ("straightness", "permutable"): "a path of two epochs is straight; tests/metrics/test_trajectory.py sees it",
    **{
        (name, "euclidean"): "a way of two epochs is a length, but runs have no way from one to another"
        for name in ("epoch_step", "displacement", "path_length")
    },
}
"""(metric, fact) that two arrays cannot show to be denied, and what shows it."""


def value(metric: Metric, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return CALLS[metric.family](metric, a, b)


def single(metric: Metric, a: np.ndarray, b: np.ndarray) -> float:
    return float(value(metric, a, b))


def slack(metric: Metric, a: np.ndarray, b: np.ndarray) -> float:
    """What rounding may do near 0: a shift or a turn is a sum that cancels."""
    size = 1.0 if metric.scale_free else float(max(np.abs(a).max(), np.abs(b).max()))
    return size * {"features": 1e-11}.get(metric.family, 1e-12)


def assert_same(metric: Metric, pair: Pair, other: Pair, unit: float = 1.0) -> None:
    """Equal up to rounding."""
    x, y = single(metric, *pair), single(metric, *other) / unit
    assert math.isclose(x, y, rel_tol=1e-9, abs_tol=slack(metric, *pair)), (x, y)


@st.composite
def weights(draw: st.DrawFn) -> Pair:
    """Two different rows of weights, neither (nearly) constant nor zero, near to one another or not."""
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    n = draw(st.integers(2, 30))
    rows = hnp.arrays(dtype, n, elements=st.floats(-1, 1, width=32).map(lambda v: float(dtype(round(v, 4)))))
    unit = draw(st.sampled_from([1e-4, 1.0, 1e3]))
    a = draw(rows)
    b = a + draw(st.sampled_from([1e-3, 1.0])) * draw(rows) if draw(st.booleans()) else draw(rows)
    a, b = (a * unit).astype(dtype), (b * unit).astype(dtype)
    assume(all(np.ptp(x) > 1e-3 * np.abs(x).max() for x in (a, b)))
    assume(not np.array_equal(a, b))
    return a, b


@st.composite
def images(draw: st.DrawFn) -> Pair:
    """Features of a few images, as long rows: no two images alike."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    a, b = rng.normal(0.3, 1.0, (2, IMAGES * draw(st.integers(1, 5))))
    return (a, a + draw(st.sampled_from([1e-3, 1.0])) * b) if draw(st.booleans()) else (a, b)


def ordinary(metric: Metric) -> st.SearchStrategy[Pair]:
    return images() if metric.family == "features" else weights()


def examples() -> Iterator[Pair]:
    """A few ordinary pairs, in which what a metric is not must show."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        a = rng.normal(0.3, 1.0, 42)
        yield a, a * 1.3 + rng.normal(0.2, 0.1, 42)


def check_bounds(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    found = single(metric, a, b)
    assert not np.isnan(found)
    assert metric.lower <= found <= metric.upper


def check_identity(metric: Metric, a: np.ndarray, _b: np.ndarray) -> None:
    if metric.family == "features":  # a ratio of sums; images that do not differ have no similarity
        assert math.isclose(single(metric, a, a.copy()), metric.identity, rel_tol=1e-15)
        return
    for row in (a, np.full_like(a, 0.1), np.zeros_like(a), a[:1]):  # exactly, whatever the row
        np.testing.assert_equal(single(metric, row, row.copy()), metric.identity)


def check_symmetric(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    assert_same(metric, (a, b), (b, a))


def check_scale(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    """Free of scale or, in the unit of the weights, growing with it; there is nothing between."""
    for scale in (2.0**-9, 2.0**7):  # powers of two: without rounding
        assert_same(metric, (a, b), (a * scale, b * scale), 1.0 if metric.scale_free else scale)


def check_scale_free(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    for scale in (2.0**-9, 2.0**7):
        assert_same(metric, (a, b), (a * scale, b * scale))


def check_permutable(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    order = np.random.default_rng(0)
    for _ in range(3):
        assert_same(metric, (a, b), (order.permutation(a), order.permutation(b)))


def check_euclidean(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    """The parallelogram law, each side and diagonal by the metric's own reference."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    across = np.random.default_rng(0).normal(size=a.shape) * np.abs(b - a).max()
    corners = (a, b, b + across, a + across)
    sides = sum(single(metric, x, y) ** 2 for x, y in zip(corners, corners[1:] + corners[:1], strict=True))
    diagonals = sum(single(metric, x, y) ** 2 for x, y in (corners[::2], corners[1::2]))
    assert math.isclose(sides, diagonals, rel_tol=1e-9), (sides, diagonals)


def check_batch(metric: Metric, a: np.ndarray, b: np.ndarray) -> None:
    """Rows at once are rows one by one, to the bit; one row of A serves for every row of B."""
    rows = np.stack([b, a, b[::-1], b * 2])
    one_by_one = [single(metric, a, row) for row in rows]
    for left in (a[None], np.stack([a] * 4)):
        found = value(metric, left, rows)
        np.testing.assert_array_equal(found, one_by_one)
        assert found.dtype == np.float64
    if metric.family == "features":  # whose leading axes broadcast
        return
    grid = value(metric, np.stack([a, b]), np.stack([[b, a], [a, b], [b * 2, b]]))
    assert grid.shape == (3, 2)
    for place, (left, right) in {(0, 0): (a, b), (0, 1): (b, a), (2, 0): (a, b * 2)}.items():
        np.testing.assert_equal(float(grid[place]), single(metric, left, right))


def check_denied(check: Callable[[Metric, np.ndarray, np.ndarray], None], metric: Metric) -> None:
    """What a record says a metric is not, it must visibly not be."""
    for a, b in examples():
        try:
            check(metric, a, b)
        except AssertionError:
            return
    raise AssertionError(f"{metric.name}: {check.__name__} holds, though its record denies it")


FACTS = {
    "symmetric": check_symmetric,
    "scale_free": check_scale_free,
    "permutable": check_permutable,
    "euclidean": check_euclidean,
}
"""Fact that a record states or denies -> its check."""
ALWAYS = (check_bounds, check_identity, check_scale, check_batch)
