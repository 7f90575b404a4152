"""What a run will take, from a short measured trial: real steps of the real network on some of the real images."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.prefix.feature_store import FeatureStore, block_size
from wdiv.tuning.prefix.frozen_prefix import Cut
from wdiv.tuning.strategy.auto_rgn import BATCHES
from wdiv.tuning.strategy.freeze import FreezePlan, changing
from wdiv.tuning.strategy.segments import Segment
from wdiv.tuning.training.device import choose_device, fork_rng
from wdiv.tuning.training.feeds import Feed, OnDevice
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.precision import computing
from wdiv.tuning.training.prefix_plan import PrefixPlan
from wdiv.tuning.training.prepared import PreparedNetwork
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Cost", "Line", "Pace", "PrefixCost", "estimate_seconds", "measure_cost"]

FEW = 4
"""Images of the smaller of the two batches that are timed."""
BUDGET = 0.25
"""Seconds for a step on the larger; a network that is too slow for a whole batch is judged by a part of one."""
LEAST, TIMES = 0.03, (3, 30)
"""Work is timed again until it has taken so many seconds, but at least and at most so many times; the shortest time
counts, as others may use the machine, too."""


@dataclass(frozen=True)
class Line:
    """Seconds that batches of images take: ``once`` for each batch and ``each`` for each image.

    >>> Line(0.5, 0.1)(images=30, batches=2)
    4.0
    """

    once: float
    each: float

    def __call__(self, images: int, batches: int = 1) -> float:
        return self.once * batches + self.each * images


@dataclass(frozen=True)
class PrefixCost:
    """A frozen prefix. Equal names: the same for the same images, in whichever run; None: no other run has it.

    each  seconds that it takes for an image
    """

    name: str | None
    each: float


@dataclass(frozen=True)
class Pace:
    """What a stretch of epochs takes.

    step     of training;  judge: of test and validation images, in eval mode;  both on what is kept, if anything is
    passes   over the training images to estimate statistics, in all;  passing: seconds of one, an image
    looks    batches before each epoch whose gradients are only looked at
    training, judging  the prefixes that are kept; None where nothing is
    """

    epochs: int
    step: Line
    judge: Line
    passes: int = 0
    passing: float = 0.0
    looks: int = 0
    training: PrefixCost | None = None
    judging: PrefixCost | None = None

    def seconds(self, train: int, judged: int, recipe: Recipe) -> float:
        """Of all its epochs, the prefix apart."""
        size = min(recipe.batch_size, train)
        steps = recipe.steps_per_epoch or math.ceil(train / size)
        images = steps * size if recipe.steps_per_epoch else train
        epoch = self.step(images + self.looks * size, steps + self.looks) + self.judge(judged)
        return self.epochs * epoch + self.passes * self.passing * train


@dataclass(frozen=True)
class Cost:
    """What a run takes: ``setup``, in seconds, and each stretch of its epochs."""

    recipe: Recipe
    setup: float
    paces: tuple[Pace, ...]

    def seconds(self, train: int, judged: int) -> float:
        """Of a run on so many training images, and test and validation images together; the prefix apart.

        setup + judging before the first step + Σ over epochs of steps and judging + judging the training images once,
        at the end. Writing epochs is not in it.

        >>> pace = Pace(epochs=10, step=Line(0.01, 0.001), judge=Line(0.0, 0.001))
        >>> round(Cost(Recipe(epochs=10, batch_size=32), 1.0, (pace,)).seconds(train=64, judged=100), 6)
        3.004
        """
        once = self.paces[0].judge(judged) + self.paces[-1].judge(train)
        return self.setup + once + sum(pace.seconds(train, judged, self.recipe) for pace in self.paces)


def estimate_seconds(specs: Sequence[RunSpec], split: Split, device: str = "auto") -> list[float]:
    """Seconds that each run of a grid takes, one after another; their sum is the grid's.

    A network, image size, strategy, BN mode and recipe are probed once. The prefix of an image is counted in the first
    run that needs it and not again, as :class:`~wdiv.tuning.prefix.feature_store.FeatureStore` keeps it.
    """
    where, networks, found = choose_device(device), NetworkCache(), list[float]()
    costs, kept = dict[tuple[object, ...], Cost](), set[tuple[object, ...]]()
    for number, spec in enumerate(specs):
        kind = (spec.network.label, spec.network.bn_eps, spec.inputs.size, spec.parsed.name, spec.bn_mode, spec.recipe)
        if kind not in costs:
            costs[kind] = measure_cost(spec, split, where, networks)
        cost = costs[kind]
        train, validation = spec.rows(split)
        test, tested = spec.test_rows(split), "test" if split.folds is None else "pool"
        seconds = cost.seconds(len(train), len(test) + len(validation))
        for at, pace in enumerate(cost.paces):
            for prefix, images, rows in (
                (pace.training, "pool", train), (pace.judging, "pool", validation), (pace.judging, tested, test)
            ):  # fmt: skip
                if prefix is not None:
                    seconds += prefix.each * _missing(
                        rows, block_size(where), (_shared(prefix, spec, number, at), images), kept
                    )
        found.append(seconds)
    return found


def _shared(prefix: PrefixCost, spec: RunSpec, run: int, segment: int) -> tuple[object, ...]:
    """Equal for runs that find each other's features."""
    if prefix.name is None:
        return run, segment
    return prefix.name, spec.start, spec.seed if spec.start == "random" else None, repr(spec.inputs.to_json())


def _missing(rows: np.ndarray, size: int, whose: tuple[object, ...], kept: set[tuple[object, ...]]) -> int:
    """Images, in whole blocks, that are not kept yet; from now on they are."""
    new = {(*whose, block) for block in np.unique(rows // size).tolist()} - kept
    kept |= new
    return len(new) * size


def measure_cost(spec: RunSpec, split: Split, device: torch.device, networks: NetworkCache | None = None) -> Cost:
    """Measure what a run takes, in a second or so for a small network.

    Times training steps, judging and the prefix of each stretch, on two sizes of batches of the run's images, with
    rates of 0 and weights of the same shapes (none are read or fetched). Compiled networks are timed as they are
    without. Writes nothing, and leaves PyTorch's generators as they were.
    """
    import torch

    with fork_rng(device), torch.enable_grad():
        start = _now(device)
        network = (networks or NetworkCache()).prepare(spec, len(split.pool.classes), device, weights=False)
        setup, plans, paces = _now(device) - start, list[FreezePlan](), []
        for segment in network.segments:
            start = _now(device)
            plan, at = network.freeze(segment)
            setup += _now(device) - start
            plans.append(plan)
            moved = frozenset(changing(plans, network.start.tensors))
            paces.append(_Bench(network, split, device, segment, plan, at).pace(moved))
    return Cost(spec.recipe, setup, tuple(paces))


@dataclass(frozen=True, eq=False)
class _Bench:
    """A stretch, and the images it is timed on."""

    network: PreparedNetwork
    split: Split
    device: torch.device
    segment: Segment
    plan: FreezePlan
    at: PrefixPlan

    def pace(self, moved: frozenset[str]) -> Pace:
        """moved: what this stretch and those before it may change; a prefix that reads any of it is the run's own."""
        plan, segment, spec = self.plan, self.segment, self.network.spec
        epochs = segment.last - segment.first + 1
        step, judge = self._lines(spec.recipe.batch_size)
        cuts = [cut for cut in (self.at.training, self.at.judging) if cut is not None]
        prefixes = {digest: self._prefix_cost(cut, moved) for digest, cut in {cut.digest: cut for cut in cuts}.items()}
        passes = epochs if plan.bn_mode == "adapt" else int(plan.bn_mode == "adabn" and segment.first == 1)
        return Pace(
            epochs, step, judge, passes, self._passing(spec.recipe.batch_size) if passes else 0.0,
            looks=BATCHES if segment.phase.has("rgn") else 0,
            training=None if self.at.training is None else prefixes[self.at.training.digest],
            judging=None if self.at.judging is None else prefixes[self.at.judging.digest],
        )  # fmt: skip

    def _lines(self, batch: int) -> tuple[Line, Line]:
        few = self._times(FEW)
        many = _more(few[0], batch)
        more = self._times(many) if many > FEW else few
        step, judge = (_line((FEW, a), (many, b)) for a, b in zip(few, more, strict=True))
        return step, judge

    def _times(self, count: int) -> tuple[float, float]:
        """Seconds of a training step on ``count`` images, and of judging them."""
        loop, ticks = self._loop(count)
        with suppress(_Enough):
            loop.train_epoch(self.segment.first)
        return _shortest(ticks), self._repeat(loop.evaluate)

    def _passing(self, batch: int) -> float:
        """Seconds that an image takes to have statistics estimated from it."""
        loop, _ = self._loop(batch)
        return self._repeat(loop.adapt) / batch

    def _loop(self, count: int) -> tuple[Loop, list[float]]:
        """The run's loop on batches of ``count`` images, which leaves the weights as they are, and its ticks."""
        model, at, spec, ticks = self.network.model, self.at, self.network.spec, list[float]()
        images = OnDevice(_some(self.split.pool, count), self.device)
        recipe = replace(
            spec.recipe, batch_size=count, steps_per_epoch=TIMES[1] + 1, compile=False, validation=0.0, patience=0
        )

        def tick(epoch: int, done: int, of: int) -> None:
            ticks.append(_now(self.device))
            if done > TIMES[0] and ticks[-1] - ticks[0] > LEAST:
                raise _Enough

        def fed(cut: Cut | None) -> Feed:
            return self.network.feed(cut, images, recipe, FeatureStore())

        loop = Loop(
            model, self.plan, recipe, spec.inputs, images, images, seed=spec.seed, segment=self.segment,
            on_epoch=lambda *epoch: None, on_batch=tick, train_feed=fed(at.training), test_feed=fed(at.judging),
        )  # fmt: skip
        for group in loop.optimizer.param_groups:
            group["base"] = 0.0  # as much work, and no loss can leave the numbers
        return loop, ticks

    def _prefix_cost(self, cut: Cut, moved: frozenset[str]) -> PrefixCost:
        import torch

        spec = self.network.spec

        def seconds(count: int) -> float:
            pixels = OnDevice(_some(self.split.pool, count), self.device).pixels

            def work() -> None:
                with torch.no_grad(), computing(spec.recipe.precision, self.device.type):
                    cut.prefix(spec.inputs.prepare(pixels))

            return self._repeat(work)

        few = seconds(FEW)
        many = _more(few, block_size(self.device))
        each = seconds(many) / many if many > FEW else few / FEW
        name = hashlib.sha256(repr((cut.digest, cut.keys)).encode()).hexdigest()
        return PrefixCost(None if moved.intersection(cut.keys) else name, each)

    def _repeat(self, work: Callable[[], object]) -> float:
        work()
        ticks = [_now(self.device)]
        while len(ticks) <= TIMES[0] or (ticks[-1] - ticks[0] < LEAST and len(ticks) <= TIMES[1]):
            work()
            ticks.append(_now(self.device))
        return _shortest(ticks)


class _Enough(Exception):
    """Enough steps were timed."""


def _more(seconds: float, most: int) -> int:
    """Images of the larger batch: as many as the budget allows where :data:`FEW` take so many seconds."""
    return max(FEW, min(most, int(BUDGET / seconds * FEW)))


def _line(few: tuple[int, float], more: tuple[int, float]) -> Line:
    """Through two points; all by the image where that would fall, or where there is but one."""
    (n, first), (m, second) = few, more
    if m == n:
        return Line(0.0, first / n)
    each = min(max(0.0, (second - first) / (m - n)), second / m)
    return Line(second - each * m, each)


def _shortest(ticks: Sequence[float]) -> float:
    return min(later - sooner for sooner, later in pairwise(ticks))


def _some(images: ImageSet, count: int) -> ImageSet:
    return images.take(np.arange(count) % len(images))


def _now(device: torch.device) -> float:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
