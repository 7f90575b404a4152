"""Rate schedules: the share of its rate that a layer trains at, as a pure function of the step.

A share, because strategies give layers rates of their own: a schedule multiplies them all. Pure, because a run
that is continued after a kill must go on with the rates it would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, pi

from wdiv.errors import BadInput
from wdiv.registry import Registry

__all__ = ["SCHEDULES", "Schedule", "factor"]

PEAK = 0.3
"""Share of a one-cycle's steps in which the rate rises: torch's and fastai 1's. fastai 2 has 0.25, with which 4 steps
have a rise of length 0."""
DIV, FINAL_DIV = 25.0, 1e4
MOMENTUM_HIGH, MOMENTUM_LOW = 0.95, 0.85


def _none(step: int, steps: int) -> float | None:
    return None


@dataclass(frozen=True)
class Schedule:
    """``lr_factor(step, steps)``, for step 0 to steps - 1, is the share of the base rate that the step is taken at.

    momentum  ``momentum(step, steps)`` is the value that stands in for the optimizer's momentum, or first beta, in
              that step, whatever the recipe says; None leaves the recipe's
    warms_up  the rate rises at first by itself, so that a warm-up before it would be a second one
    least     the fewest steps that it can be spread over

    >>> [SCHEDULES["linear"].lr_factor(step, 4) for step in range(4)]
    [1.0, 0.75, 0.5, 0.25]
    >>> round(SCHEDULES["one-cycle"].momentum(2, 10), 6), SCHEDULES["linear"].momentum(2, 10)
    (0.85, None)
    """

    name: str
    long_name: str
    formula: str
    source: str
    lr_factor: Callable[[int, int], float]
    momentum: Callable[[int, int], float | None] = _none
    warms_up: bool = False
    least: int = 1


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + cos(pi * share))


def _one_cycle(low: float, high: float, final: float) -> Callable[[int, int], float]:
    def value(step: int, steps: int) -> float:
        top = PEAK * steps - 1  # the step of the highest rate, as torch counts; below 0 for 3 steps and fewer
        if step <= top:
            return _cosine(low, high, step / top)
        return _cosine(high, final, (step - top) / (steps - 1 - top))

    return value


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    [
        Schedule("constant", "the same rate throughout", "1", "Robbins and Monro (1951)", lambda step, steps: 1.0),
        Schedule(
            "linear",
            "falls in a line, to 0 after the last step",
            "1 − t/T",
            "Li et al. (2020), Budgeted Training; torch.optim.lr_scheduler.LinearLR",
            lambda step, steps: 1 - step / steps,
        ),
        Schedule(
            "cosine",
            "falls by half a cosine, to 0 after the last step",
            "(1 + cos(π t/T)) / 2",
            "Loshchilov and Hutter (2017), without restarts; torch.optim.lr_scheduler.CosineAnnealingLR",
            lambda step, steps: _cosine(1.0, 0.0, step / steps),
        ),
        Schedule(
            "one-cycle",
            "rises from 1/25 to 1 in 30% of the steps, falls to 4e-6 in the last; momentum 0.95 to 0.85 and back",
            "half a cosine from 1/25 to 1 at t = 0.3 T − 1, another to 1/(25 · 10⁴) at t = T − 1; momentum likewise",
            "Smith and Topin (2018), in the form of torch.optim.lr_scheduler.OneCycleLR",
            _one_cycle(1 / DIV, 1.0, 1 / DIV / FINAL_DIV),
            _one_cycle(MOMENTUM_HIGH, MOMENTUM_LOW, MOMENTUM_HIGH),
            warms_up=True,
            least=2,  # the only step would be the last, at 4e-6 of the rate
        ),
    ],
)


def factor(schedule: Schedule, step: int, steps: int, warmup_steps: int = 0) -> float:
    """The share of the base rate in ``step`` of ``steps``: (t + 1)/(W + 1) while t < W = ``warmup_steps``, then the
    schedule over the steps that are left.

    The line starts at 0 one step before the first, and meets the schedule's 1 at its first step. Source: Goyal et
    al. (2017), section 2.2. Raises :class:`~wdiv.errors.BadInput` where the warm-up leaves no step to the schedule,
    or the schedule warms up by itself.

    >>> [round(factor(SCHEDULES["linear"], step, 6, warmup_steps=2), 3) for step in range(6)]
    [0.333, 0.667, 1.0, 0.75, 0.5, 0.25]
    """
    if not 0 <= warmup_steps < steps:
        raise BadInput(f"warm-up: from 0 to {steps - 1} of {steps} steps, not {warmup_steps}")
    if warmup_steps and schedule.warms_up:
        raise BadInput(f"warm-up: schedule {schedule.name!r} has its own; leave one of them out")
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    return schedule.lr_factor(step - warmup_steps, steps - warmup_steps)
