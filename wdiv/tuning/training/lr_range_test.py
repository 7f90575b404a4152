"""The learning-rate range test: train while the rates rise, and see where the loss falls and where it runs away."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput, WdivError
from wdiv.tuning.data.images import Split
from wdiv.tuning.prefix.feature_store import FeatureStore, NoRoom
from wdiv.tuning.strategy.spelling import spell, spell_term
from wdiv.tuning.strategy.strategies import Phase, Strategy
from wdiv.tuning.training import precision
from wdiv.tuning.training.device import choose_device, fork_rng
from wdiv.tuning.training.feeds import Feed, OnDevice
from wdiv.tuning.training.loop import Diverged, Loop
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.prefix_plan import PrefixPlan
from wdiv.tuning.training.run_spec import RunSpec
from wdiv.tuning.training.small_maps import check_maps

if TYPE_CHECKING:
    import torch

__all__ = ["HIGH", "LOW", "STEPS", "SUGGESTIONS", "RangeTest", "Suggestion", "range_test", "scaled", "smooth"]

STEPS = 100
LOW = 1e-7
HIGH = 10.0
"""Batches, and the rates that the first and the last is trained at: fastai's."""
BETA = 0.98
"""Of the moving average of the loss: fastai's."""
TOO_HIGH = 4.0
"""Times its best that the smoothed loss may reach before the test stops: fastai's."""
SKIP_FIRST, SKIP_LAST = 10, 5
"""A suggestion comes neither from the first tenth of the steps nor from the last five: fastai's."""
FEWEST = 20


@dataclass(frozen=True)
class Suggestion:
    """A place on the curve. factor: of the strategy's rates; strategy: its spelling with these, two digits each."""

    name: str
    rate: float
    factor: float
    strategy: str


@dataclass(frozen=True)
class RangeTest:
    """What a test saw, step by step.

    strategy  as spelled;  phase: which of its phases was tested, from 1, of so many
    leading   the phase's part with the highest rate, such as ``bn``;  rates: its own in each step
    factors   what all rates were multiplied by
    losses    of each batch;  smoothed: their moving average, which the suggestions are read from
    stopped   why it ended before its last step; None if it did not
    """

    strategy: str
    phase: int
    phases: int
    leading: str
    rates: tuple[float, ...]
    factors: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    stopped: str | None
    suggestions: tuple[Suggestion, ...]

    @property
    def rate(self) -> float:
        """The leading part's rate as spelled, where the factor is 1."""
        return self.rates[0] / self.factors[0]

    def to_json(self) -> dict[str, Any]:
        names = ("strategy", "phase", "phases", "leading", "stopped", "rates", "factors", "losses", "smoothed")
        return {name: getattr(self, name) for name in names} | {"suggestions": [vars(s) for s in self.suggestions]}


# --- from a curve to a rate ----------------------------------------------------------------------------------------


def smooth(losses: Sequence[float], beta: float = BETA) -> list[float]:
    """The exponential moving average with its bias corrected: sᵢ = mᵢ / (1 − βⁱ), mᵢ = β mᵢ₋₁ + (1 − β) lossᵢ.

    Source: Kingma and Ba (2015), section 3, for the correction; fastai's ``AvgSmoothLoss`` for the loss.

    >>> [round(value, 3) for value in smooth([1.0, 2.0, 4.0], beta=0.5)]
    [1.0, 1.667, 3.0]
    """
    mean, found = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = beta * mean + (1 - beta) * loss
        found.append(mean / (1 - beta**step))
    return found


def valley(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Half way down the longest valley, which is as long as the longest falling subsequence. fastai's default.

    >>> valley([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 9.0])
    3.0
    """
    longest = [1] * len(losses)
    for i in range(1, len(losses)):
        longest[i] = 1 + max((longest[j] for j in range(i) if losses[i] < losses[j]), default=0)
    length = max(longest)
    start, third = longest.index(length) - length, length / 3
    return rates[max(0, start + int(third) + int(third / 2))]


def steepest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Where the loss falls fastest by the logarithm of the rate. Source: Smith (2017), in fastai's form.

    >>> steepest([1.0, 10.0, 100.0, 1000.0], [3.0, 2.9, 1.0, 2.0])
    10.0
    """
    return rates[int((np.diff(losses) / np.diff(np.log(rates))).argmin())]


def minimum(rates: Sequence[float], losses: Sequence[float]) -> float:
    """A tenth of the rate with the lowest loss, which is on the edge of running away. Source: fastai.

    >>> minimum([1.0, 10.0, 100.0], [3.0, 1.0, 2.0])
    1.0
    """
    return rates[int(np.argmin(losses))] / 10


SUGGESTIONS: Mapping[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "valley": valley, "steepest": steepest, "minimum/10": minimum,
}  # fmt: skip


def scaled(strategy: Strategy, factor: float, phase: int = -1) -> str:
    """The canonical spelling of a strategy with the rates of a phase multiplied, each to two digits.

    >>> from wdiv.tuning.strategy.spelling import parse
    >>> scaled(parse("bn=1e-2,fc=1e-3"), 0.33), scaled(parse("lp-ft"), 2)
    ('bn=3.3e-3,fc=3.3e-4', 'fc for 0.5 then all=2e-4')
    """
    phases = list(strategy.phases)
    terms = tuple(replace(term, lr=float(f"{term.lr * factor:.1e}")) for term in phases[phase].terms)
    phases[phase] = replace(phases[phase], terms=terms)
    return spell(phases)


# --- the test ------------------------------------------------------------------------------------------------------


def range_test(
    spec: RunSpec, split: Split, *, steps: int = STEPS, low: float = LOW, high: float = HIGH,
    phase: int | None = None, device: str = "auto",
) -> RangeTest:  # fmt: skip
    """Train a run's network for some batches while its rates rise, and suggest rates. Keeps and writes nothing.

    The strategy's rates are all multiplied by one factor. It rises exponentially, so that the highest rate of the
    phase goes from ``low`` in the first step to ``high`` in the last; the batches go through the run's training
    images pass after pass, in an order of its seed. The test stops where the smoothed loss is above four times its
    best, or no number. The recipe's schedule and warm-up are left out.

    phase  which one of a strategy of several, from 1; None: the last. It starts where the run starts, not where the
           phases before it would have led.

    Raises :class:`~wdiv.errors.BadInput`, and :class:`~wdiv.errors.WdivError` where it stops too soon to tell.
    Source: Smith (2017), section 3.3, in the form of fastai's ``lr_find``.
    """
    strategy = spec.parsed
    number = _checked(strategy, steps, low, high, phase)
    tested = strategy.phases[number - 1]
    term = max(tested.terms, key=lambda term: term.lr)
    where = choose_device(device)
    precision.check(spec.recipe.precision, where.type)
    check_maps(spec, len(split.pool.classes), where.type)
    factors = (np.geomspace(low, high, steps) / term.lr).tolist()
    with fork_rng(where):
        losses, why = _train(spec, split, where, tested, factors)
    kept, smoothed = factors[: len(losses)], smooth(losses)
    places = slice(steps // SKIP_FIRST, -SKIP_LAST)
    if len(kept[places]) < 2:
        raise WdivError(
            f"the range test stopped after {len(losses)} of {steps} steps, too soon to tell; start from a lower rate"
        )
    found = {name: suggest(kept[places], smoothed[places]) for name, suggest in SUGGESTIONS.items()}
    return RangeTest(
        strategy.name, number, len(strategy.phases), spell_term(term),
        tuple(factor * term.lr for factor in kept), tuple(kept), tuple(losses), tuple(smoothed), why,
        tuple(Suggestion(n, f * term.lr, f, scaled(strategy, f, number - 1)) for n, f in found.items()),
    )  # fmt: skip


def _checked(strategy: Strategy, steps: int, low: float, high: float, phase: int | None) -> int:
    """The number of the phase, if all is as it should be."""
    if steps < FEWEST:
        raise BadInput(f"steps of a range test: at least {FEWEST}, not {steps}")
    if not 0 < low < high < math.inf:
        raise BadInput(f"rates of a range test: from above 0 to a higher one, not from {low:g} to {high:g}")
    count = len(strategy.phases)
    if phase is not None and not 1 <= phase <= count:
        raise BadInput(f"strategy {strategy.name!r}: phase 1 to {count}, not {phase}")
    return phase or count


def _train(
    spec: RunSpec, split: Split, device: torch.device, phase: Phase, factors: Sequence[float]
) -> tuple[list[float], str | None]:
    """The batches' losses, and why they are fewer than there are factors."""
    network = NetworkCache().prepare(spec, len(split.pool.classes), device)
    segment = [segment for segment in network.segments if segment.phase == phase][-1]  # all stages are open by then
    plan, at = network.freeze(segment)
    rows, _ = spec.rows(split)
    images = OnDevice(split.pool, device, rows)
    recipe = replace(spec.recipe, steps_per_epoch=len(factors), schedule="constant", warmup=0.0)

    def loop(train_feed: Feed | None) -> _Rising:
        return _Rising(
            network.model, plan, recipe, spec.inputs, images, images, seed=spec.seed, segment=segment,
            on_epoch=lambda *epoch: None, train_feed=train_feed,
            l2sp=network.l2sp(segment),
        )  # fmt: skip

    if plan.bn_mode == "adabn":
        loop(None).adapt()

    def kept(at: PrefixPlan) -> Feed | None:
        if len(rows) > len(factors) * recipe.batch_size:  # most images are not seen even once
            return None
        try:
            return network.feed(at.training, images, recipe, FeatureStore())
        except NoRoom:
            return None

    rising = loop(kept(at))
    rising.rise(segment.first, factors)
    return rising.losses, rising.stopped or None


class _Rising(Loop):
    """A loop whose rates rise from step to step, until the loss has run away."""

    def rise(self, epoch: int, factors: Sequence[float]) -> None:
        self.factors, self.losses, self.stopped = factors, list[float](), ""
        try:
            self.train_epoch(epoch)
        except Diverged:
            self.stopped = "the loss was no longer a number"
        except _RunAway:
            self.stopped = f"the smoothed loss was above {TOO_HIGH:g} times its best"

    def _set_lrs(self, step: int, steps: int, per_epoch: int, factors: Mapping[str, float]) -> None:
        super()._set_lrs(step, steps, per_epoch, factors)
        for group in self.optimizer.param_groups:
            group["lr"] *= self.factors[len(self.losses)]

    def _step(self, epoch: int, step: int, steps: int, rows: torch.Tensor, factors: Mapping[str, float]) -> Any:
        found = super()._step(epoch, step, steps, rows, factors)
        loss = float(found[0]) / len(rows)
        if not math.isfinite(loss):
            raise self._diverged(epoch, loss)
        self.losses.append(loss)
        smoothed = smooth(self.losses)
        if smoothed[-1] > TOO_HIGH * min(smoothed):
            raise _RunAway
        return found


class _RunAway(Exception):
    """The loss has left where it was."""
