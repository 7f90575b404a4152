"""What is known of a metric besides its value. Tests read these facts and hold every metric to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdiv.errors import BadInput
from wdiv.registry import Registry

__all__ = ["FAMILIES", "METRICS", "REDUCTIONS", "Family", "Metric", "family", "metric", "metric_names"]

REDUCTIONS = ("layer", "filter", "stage")
"""What one value may stand for: a layer's tensor, one output of it, or all of a stage's tensors of that role."""
ALL = "all"
UNDEFINED = ("spread", "norm", "path", "output")
"""Why a metric may be NaN for finite weights."""


@dataclass(frozen=True)
class Family:
    """Metrics that are computed from the same thing.

    takes       what they are called with, in words
    permutable  they see a distribution: unchanged when the elements of A and B are permuted independently
    reductions  what one value may stand for, of :data:`REDUCTIONS`; none where two networks' features are compared
    per         ``tensor``: each role of a layer has its value; ``layer``: all its own parameters have one
                (:func:`wdiv.measure.roles_of`)
    images      weights alone do not give them: they need images
    """

    name: str
    takes: str
    permutable: bool = False
    reductions: tuple[str, ...] = REDUCTIONS
    per: str = "tensor"
    images: bool = False

    @property
    def of_weights(self) -> bool:
        """True if weights alone give these metrics."""
        return bool(self.reductions) and not self.images


FAMILIES: Registry[Family] = Registry("family of metrics")


@dataclass(frozen=True)
class Metric:
    """A registered metric(A, B), A being the reference.

    identity   its value for identical inputs
    symmetric  metric(A, B) == metric(B, A)
    scale_free metric(cA, cB) == metric(A, B) for every c > 0
    euclidean  a Euclidean distance of the weights, in their unit: three of them give an angle
    fits       it needs the moments of each side; False for what differences alone give
    undefined  why it can be NaN for finite weights: ``spread`` (a constant tensor), ``norm`` (a zero one), ``path`` or
               ``output`` (a layer that gives out 0)
    """

    name: str
    family: str
    function: Callable[..., np.ndarray]
    long_name: str
    formula: str
    source: str
    units: str = "1"
    lower: float = 0.0
    upper: float = math.inf
    identity: float = 0.0
    symmetric: bool = False
    scale_free: bool = True
    euclidean: bool = False
    fits: bool = True
    undefined: str = ""

    def __post_init__(self) -> None:
        FAMILIES[self.family]
        if self.undefined not in ("", *UNDEFINED):
            known = " or ".join(map(repr, UNDEFINED))
            raise ValueError(f"metric {self.name}: undefined is {known}, not {self.undefined!r}")

    @property
    def permutable(self) -> bool:
        return FAMILIES[self.family].permutable

    @property
    def attrs(self) -> dict[str, Any]:
        """The attributes of every variable that holds this metric."""
        return {"units": self.units, "long_name": self.long_name, "formula": self.formula, "source": self.source}


METRICS: Registry[Metric] = Registry("metric")


def family(name: str, takes: str, **facts: Any) -> Callable[..., Callable[..., Callable[..., np.ndarray]]]:
    """Enter a family; returns the decorator that registers a metric of it."""
    FAMILIES.add(Family(name, takes, **facts))

    def metric_of(**facts: Any) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
        return metric(family=name, **facts)

    return metric_of


def metric(**facts: Any) -> Callable[[Callable[..., np.ndarray]], Callable[..., np.ndarray]]:
    """Register the decorated function under its own name, with its facts."""

    def register(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        METRICS.add(Metric(name=function.__name__, function=function, **facts))
        return function

    return register


def metric_names(
    asked: str | Sequence[str], reduction: str = "layer", *, follows_epochs: bool = True, images: bool = False
) -> tuple[str, ...]:
    """Names of metrics, each once: those asked for. A family's name stands for all of its metrics, ``all`` for every
    metric that weights alone give.

    images: true where there are images too, for the family ``outputs`` (:func:`wdiv.output_change`).

    Raises :class:`~wdiv.errors.UnknownName`, and :class:`~wdiv.errors.BadInput` for a metric that has no such
    ``reduction``, that follows epochs or needs images where there are none. ``features`` metrics have no reduction:
    they compare two networks (:mod:`wdiv.similarity`).

    >>> metric_names(["relative_l2", "gaussian"])[:3]
    ('relative_l2', 'gaussian_kl', 'gaussian_kl_reverse')
    """
    names = (asked,) if isinstance(asked, str) else tuple(asked)
    if not names:
        raise BadInput("give at least one metric")
    if reduction not in REDUCTIONS:
        raise BadInput(f"reduction {reduction!r}: one of {', '.join(REDUCTIONS)}")
    found: list[str] = []
    for name in names:
        if name == ALL:
            able_to = [f.name for f in FAMILIES.values() if f.of_weights and reduction in f.reductions]
            able_to = [f for f in able_to if follows_epochs or f != "trajectory"]
            found += [m.name for m in METRICS.values() if m.family in able_to]
        elif name in FAMILIES:
            found += [m.name for m in METRICS.values() if m.family == name]
        else:
            found.append(METRICS[name].name)
    for name in found:
        family = FAMILIES[METRICS[name].family]
        able = family.reductions
        if not able:
            raise BadInput(f"metric {name!r} compares features on images, not weights; see 'wdiv cka'")
        if family.images and not images:
            raise BadInput(
                f"metric {name!r} needs images beside weights, as 'wdiv measure' has them; "
                "output_change_proxy needs none"
            )
        if METRICS[name].family == "trajectory" and not follows_epochs:
            raise BadInput(f"metric {name!r} follows the epochs of a run; it does not compare two sets of weights")
        if reduction not in able:
            raise BadInput(f"metric {name!r} has no value for one {reduction}; only for a {' or a '.join(able)}")
    return tuple(dict.fromkeys(found))
