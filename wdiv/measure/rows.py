"""Tensors in, values and flags out: where each family of metrics gets what it is computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from wdiv import numerics
from wdiv.measure.flags import UNDEFINED, Flag
from wdiv.metrics import METRICS, Metric

__all__ = ["DEFAULT_METRICS", "Comparison", "Reduced", "Tensors", "compare"]

DEFAULT_METRICS = ("gaussian_kl", "relative_l2", "cosine_distance")
PAIRED = frozenset({"paired", "proxies"})
"""Families that are called with the sums of both sides."""


class Tensors:
    """Tensors of one shape as rows (…, n), and what is made of them, each when it is first asked for, once.

    matrix  (outputs, groups) of the matrix that a tensor is, (outputs, n / outputs), block-diagonal where there are
            several groups; None for a vector
    """

    def __init__(self, values: np.ndarray, matrix: tuple[int, int] | None = None) -> None:
        self.values, self.matrix = values, matrix

    @cached_property
    def moments(self) -> numerics.Moments:
        return numerics.moments(self.values)

    @cached_property
    def sorted(self) -> np.ndarray:
        return np.sort(self.values, axis=-1)

    @cached_property
    def matrices(self) -> np.ndarray:
        return np.reshape(self.values, (*self.values.shape[:-1], self._outputs, -1)).astype(np.float64)

    @cached_property
    def spectrum(self) -> numerics.Spectrum:
        return numerics.spectrum(self.matrices, groups=self._groups)

    def change(self, before: Tensors) -> numerics.Spectrum:
        """The spectrum of what was added to these tensors, without directions."""
        return numerics.spectrum(self.matrices - before.matrices, directions=False, groups=self._groups)

    @property
    def _outputs(self) -> int:
        return self.matrix[0] if self.matrix else 1

    @property
    def _groups(self) -> int:
        return self.matrix[1] if self.matrix else 1


@dataclass
class Comparison:
    """Values of each metric, and flags, all of shape (…)."""

    values: dict[str, np.ndarray]
    flags: np.ndarray


@dataclass(frozen=True)
class Reduced:
    """What two sides leave behind once their values are let go: a few numbers a row, for all metrics of their sums.

    shape, n  of the rows: (…) of n elements each
    a, b      their moments, NaN where differences are enough;  sums: of both, where a paired metric was asked for
    values    of the metrics that need more than sums, computed already; absent where these tensors have none
    """

    shape: tuple[int, ...]
    n: int
    a: numerics.Moments
    b: numerics.Moments
    sums: numerics.PairSums | None
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, a: Tensors, b: Tensors, metrics: Sequence[str]) -> Reduced:
        """Read both sides, once for each family."""
        families = {METRICS[name].family for name in metrics}
        shape, n = b.values.shape[:-1], b.values.shape[-1]
        with np.errstate(invalid="ignore", over="ignore"):
            if n == 0:
                nothing = numerics.moments(b.values)
                return cls(shape, n, nothing, nothing, None, {})
            if not any(METRICS[name].fits for name in metrics):
                sums = numerics.pair_sums(a.values, b.values, fits=False)
                return cls(shape, n, sums.a, sums.b, sums, {})
            fit_a = numerics.Moments(*(np.broadcast_to(value, shape) for value in a.moments))
            paired = numerics.pair_sums(a.values, b.values, a.moments, b.moments) if PAIRED & families else None
            return cls(shape, n, fit_a, b.moments, paired, cls._beyond_sums(a, b, metrics, families))

    @staticmethod
    def _beyond_sums(a: Tensors, b: Tensors, metrics: Sequence[str], families: set[str]) -> dict[str, np.ndarray]:
        arguments: dict[str, tuple[Any, ...]] = {}
        if "empirical" in families:
            arguments["empirical"] = (a.sorted, b.sorted)
        if "spectral" in families and b.matrix:
            arguments["spectral"] = (a.spectrum, b.spectrum, b.change(a))
        records = [METRICS[name] for name in metrics if METRICS[name].family in arguments]
        return {record.name: record.function(*arguments[record.family]) for record in records}

    @classmethod
    def join(cls, parts: Sequence[Reduced]) -> Reduced:
        """Parts of one whole, one after the other along the first axis."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        sums = [part.sums for part in parts if part.sums is not None]
        return cls(
            (sum(part.shape[0] for part in parts), *first.shape[1:]),
            first.n,
            numerics.Moments(*map(np.concatenate, zip(*(part.a for part in parts), strict=True))),
            numerics.Moments(*map(np.concatenate, zip(*(part.b for part in parts), strict=True))),
            numerics.PairSums.join(sums) if sums else None,
            {name: np.concatenate([part.values[name] for part in parts]) for name in first.values},
        )

    def compared(self, metrics: Sequence[str]) -> Comparison:
        """The metrics' values, NaN where they are undefined, and the flags that say why."""
        if self.n == 0:
            values = {name: np.full(self.shape, np.nan) for name in metrics}
            return Comparison(values, np.full(self.shape, int(Flag.EMPTY)))
        with np.errstate(invalid="ignore", over="ignore"):
            fitted = _addable(self.a, self.n) & _addable(self.b, self.n)
            flags, values = np.zeros(self.shape, dtype=np.int64), {}
            for record in (METRICS[name] for name in metrics):
                found = self._value(record)
                finite = fitted if record.fits or self.sums is None else np.isfinite(self.sums.squared_distance)
                flags[~finite] |= int(Flag.NOT_FINITE)
                if found is None:
                    flags |= int(Flag.NO_MATRIX)
                    values[record.name] = np.full(self.shape, np.nan)
                    continue
                flags[finite & np.isinf(found)] |= int(Flag.NOT_FINITE)
                if record.undefined:
                    flags[finite & np.isnan(found)] |= int(UNDEFINED[record.undefined])
                values[record.name] = np.where(finite & np.isfinite(found), found, np.nan)
        return Comparison(values, flags)

    def _value(self, record: Metric) -> np.ndarray | None:
        if record.family == "gaussian":
            return record.function(self.a, self.b)
        return record.function(self.sums) if record.family in PAIRED else self.values.get(record.name)


def _addable(fit: numerics.Moments, n: int) -> np.ndarray:
    """Rows whose squares can be added up."""
    return np.isfinite(fit.std + n * (fit.mean * fit.mean))


def compare(a: np.ndarray | Tensors, b: np.ndarray | Tensors, metrics: Sequence[str] = DEFAULT_METRICS) -> Comparison:
    """metric(A, B) for each row of ``b`` against ``a``.

    a: (n,) or (…, n); b: (…, n); the rows of ``a`` may be the last few axes of b's and stand for all before them. Each
    array is read once for all Gaussian metrics and once for all paired ones. Rows that hold inf or NaN give NaN and
    :attr:`Flag.NOT_FINITE`; values come in float64.

    >>> result = compare(np.array([1.0, 2.0]), np.array([[1.0, 2.0], [2.0, 4.0]]), ["relative_l2"])
    >>> result.values["relative_l2"].tolist(), result.flags.tolist()
    ([0.0, 1.0], [0, 0])
    """
    a, b = (side if isinstance(side, Tensors) else Tensors(np.asarray(side)) for side in (a, b))
    return Reduced.of(a, b, metrics).compared(metrics)
