"""What is known of a metric besides its value. Tests read these facts and hold every metric to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdiv.registry import Registry

__all__ = ["METRICS", "Metric", "metric"]


@dataclass(frozen=True)
class Metric:
    """A registered metric(A, B), A being the reference.

    takes      ``moments``: called with two :class:`~wdiv.numerics.Moments`; sees the values' distribution only.
               ``pairs``: called with one :class:`~wdiv.numerics.PairSums`; sees which element moved.
    identity   its value for identical inputs
    symmetric  metric(A, B) == metric(B, A)
    scale_free metric(cA, cB) == metric(A, B) for every c > 0
    permutable unchanged when the elements of A and B are permuted independently
    """

    name: str
    function: Callable[..., np.ndarray]
    takes: str
    long_name: str
    formula: str
    source: str
    units: str = "1"
    lower: float = 0.0
    upper: float = math.inf
    identity: float = 0.0
    symmetric: bool = False
    scale_free: bool = True

    def __post_init__(self) -> None:
        if self.takes not in ("moments", "pairs"):
            raise ValueError(f"metric {self.name}: takes is 'moments' or 'pairs', not {self.takes!r}")

    @property
    def permutable(self) -> bool:
        return self.takes == "moments"

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of every variable that holds this metric."""
        return {"units": self.units, "long_name": self.long_name, "formula": self.formula, "source": self.source}


METRICS: Registry[Metric] = Registry("metric")


def metric(**facts: Any) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Register the decorated function under its own name, with its facts."""

    def register(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        METRICS.add(Metric(name=function.__name__, function=function, **facts))
        return function

    return register
