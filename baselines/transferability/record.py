"""What is known of a transferability score besides its value. Tests read these facts and hold every score to them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from wdiv.registry import Registry

__all__ = ["SCORES", "TAKES", "Score", "score"]

TAKES = {
    "features": "features (n, d) and labels (n,)",
    "probabilities": "probabilities (n, source classes), whose rows sum to 1, and labels (n,)",
    "source": "features (n, d) of the new images and features (m, d) of the source's",
}
"""What a score may be called with."""


@dataclass(frozen=True)
class Score:
    """A registered score.

    takes            what it is called with, of :data:`TAKES`
    higher_is_better a higher value promises more; False for distances
    lower, upper     its bounds
    """

    name: str
    function: Callable[..., float]
    takes: str
    long_name: str
    formula: str
    source: str
    units: str = "1"
    higher_is_better: bool = True
    lower: float = -math.inf
    upper: float = math.inf

    def __post_init__(self) -> None:
        if self.takes not in TAKES:
            raise ValueError(f"score {self.name}: takes is one of {', '.join(TAKES)}, not {self.takes!r}")


SCORES: Registry[Score] = Registry("transferability score")


def score(**facts: Any) -> Callable[[Callable[..., float]], Callable[..., float]]:
    """Register the decorated function under its own name, with its facts."""

    def register(function: Callable[..., float]) -> Callable[..., float]:
        SCORES.add(Score(name=function.__name__, function=function, **facts))
        return function

    return register
