"""The training loop. It knows a model, a plan and what the model is shown; nothing of studies, stores or files.

All randomness of a step is a function of (seed, epoch, step), so a run continued after a kill, or after it was asked
to stop in the middle of an epoch, is the run that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput, WdivError
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.prefix.feature_store import block_size
from wdiv.tuning.strategy.auto_rgn import BATCHES, relative_gradients
from wdiv.tuning.strategy.freeze import FreezePlan, parameter_groups
from wdiv.tuning.strategy.l2sp import L2SP
from wdiv.tuning.strategy.segments import Segment
from wdiv.tuning.training import losses, schedules
from wdiv.tuning.training.balance import CLASS_WEIGHTS, SAMPLINGS
from wdiv.tuning.training.bn_statistics import estimate_bn_statistics
from wdiv.tuning.training.feeds import Batch, Feed, OnDevice, Pixels
from wdiv.tuning.training.interrupt import Stop, Stopped
from wdiv.tuning.training.precision import computing
from wdiv.tuning.training.recipe import OPTIMIZERS, Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["AUX_WEIGHT", "Diverged", "Loop", "OnDevice", "Position", "check_batches"]

AUX_WEIGHT = 0.4
"""Of an auxiliary head's loss: Szegedy et al. (2016), as in their code."""
Row = dict[str, Any]


class Diverged(WdivError):
    """The loss is no longer a number."""


@dataclass
class Position:
    """How far an epoch has come: the next step, the sums so far, the tensors' own factors of the rate."""

    epoch: int
    step: int = 0
    loss: float = 0.0
    right: int = 0
    seen: int = 0
    seconds: float = 0.0
    factors: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def check_batches(plan: FreezePlan, recipe: Recipe, images: int, epochs: int) -> None:
    """Raise :class:`~wdiv.errors.BadInput` where a batch would hold one image and its statistics be used, or a stretch
    of ``epochs`` has fewer steps than its schedule needs."""
    if plan.batch_stats and min(recipe.batch_size, images) < 2:
        raise BadInput("batch statistics need batches of at least 2 images; raise the batch size or freeze BN")
    steps, schedule = epochs * steps_per_epoch(plan, recipe, images), schedules.SCHEDULES[recipe.schedule]
    if steps < schedule.least:
        raise BadInput(
            f"schedule {schedule.name!r}: needs {schedule.least} steps to rise and fall in, and a phase or stage has "
            f"{steps}; train longer, in smaller batches, or by schedule 'constant'"
        )


def steps_per_epoch(plan: FreezePlan, recipe: Recipe, images: int) -> int:
    """Batches of an epoch: as many as the recipe says, or of one pass over the images."""
    if recipe.steps_per_epoch is not None:
        return recipe.steps_per_epoch
    parts = math.ceil(images / recipe.batch_size)
    return min(parts, images // 2) if plan.batch_stats else parts


class Loop:
    """Train ``model`` as ``plan`` says, for the epochs of a stretch.

    on_epoch   called with (row, optimizer, logits) after each epoch, the logits being those of the images judged, part
               -> float32 (images, classes): ``test`` and, where there are any, ``validation``; training ends early if
               it returns True
    on_batch   called with (epoch, batches done, of how many)
    on_stop    called with (position, optimizer) when ``stop`` was asked, before :class:`Stopped` is raised
    train_feed, test_feed, validation_feed   what the model is shown; by default the images, by the whole model

    ``lead`` may be set to the seconds that went into the feeds; they count for the next epoch to be reported.
    """

    def __init__(
        self, model: nn.Module, plan: FreezePlan, recipe: Recipe, inputs: InputSpec, train: OnDevice, test: OnDevice,
        *, seed: int, on_epoch: Callable[[Row, torch.optim.Optimizer, Mapping[str, np.ndarray]], bool | None],
        on_batch: Callable[[int, int, int], None] = lambda epoch, done, of: None,
        on_stop: Callable[[Position, torch.optim.Optimizer], None] = lambda position, optimizer: None,
        segment: Segment | None = None, stop: Stop | None = None, l2sp: L2SP | None = None,
        train_feed: Feed | None = None, test_feed: Feed | None = None, validation_feed: Feed | None = None,
    ) -> None:  # fmt: skip
        self.model, self.plan, self.recipe = model, plan, recipe
        self.train_set, self.test_set, self.seed = train, test, seed
        self.on_epoch, self.on_batch, self.on_stop = on_epoch, on_batch, on_stop
        self.stop, self.l2sp = stop or Stop(), l2sp
        self.first, self.last = (1, recipe.epochs) if segment is None else (segment.first, segment.last)
        check_batches(plan, recipe, len(train), self.last - self.first + 1)
        self.images = Pixels(model, inputs, train, recipe)
        self.train_feed: Feed = train_feed or self.images
        self.test_feed: Feed = test_feed or Pixels(model, inputs, test, recipe)
        self.validation_feed = validation_feed
        self.by_gradient = segment is not None and segment.phase.has("rgn")
        self.device = train.labels.device.type
        self.schedule = schedules.SCHEDULES[recipe.schedule]
        self.lead = 0.0
        self.weights = self._class_weights()
        decay = 0.0 if l2sp is not None else recipe.weight_decay  # which pulls all that trains, to its start or to 0
        groups = parameter_groups(model, plan, decay, recipe.decay_all, apart=self.by_gradient)
        self.optimizer = recipe.make_optimizer(groups)

    # --- epochs ----------------------------------------------------------------------------------------------------

    def run(self, after: int | None = None, position: Position | None = None) -> None:
        """All epochs of the stretch, or those after one that is done; ``position``: from within the next.

        Epoch 0, which belongs to the run's first stretch, only evaluates. Raises :class:`Diverged` and
        :class:`~wdiv.tuning.training.interrupt.Stopped`.
        """
        if after is None and self.first == 1:
            self.begin()
        for epoch in range(max(self.first, (after or 0) + 1), self.last + 1):
            at = position if position is not None and position.epoch == epoch else Position(epoch)
            if self._epoch(at):
                return
            if self.stop.signum is not None and epoch < self.recipe.epochs:
                self._stopped(Position(epoch + 1))

    def begin(self) -> None:
        """Report epoch 0: the network before its first step."""
        start = time.perf_counter()
        self._report(Position(0), None, None, start)

    def _epoch(self, at: Position) -> bool:
        start = time.perf_counter()
        loss, seen = self.train_epoch(at.epoch, at)
        if self.plan.bn_mode == "adapt":
            self.adapt()
        return self._report(at, loss, seen, start)

    def train_epoch(self, epoch: int, at: Position | None = None) -> tuple[float, float]:
        """The steps of an epoch, or those it still lacks. Returns the mean loss and the accuracy as trained on."""
        import torch

        at, started = at or Position(epoch), time.perf_counter()
        batches = self.batches(epoch)
        self.model.train()
        if self.by_gradient and not at.factors:
            at.factors = self._relative_gradients(epoch, batches)
        sums = torch.tensor([at.loss, at.right], dtype=torch.float64, device=self.train_set.labels.device)
        for step in range(at.step, len(batches)):
            sums += self._step(epoch, step, len(batches), batches[step], at.factors)
            at.seen += len(batches[step])
            self.on_batch(epoch, step + 1, len(batches))
            if self.stop.signum is not None and step + 1 < len(batches):
                at.step, at.seconds = step + 1, self.lead + at.seconds + time.perf_counter() - started
                at.loss, at.right = float(sums[0]), int(sums[1])
                self._stopped(at)
        loss = float(sums[0]) / at.seen
        if not math.isfinite(loss):
            raise self._diverged(epoch, loss)
        return loss, float(sums[1]) / at.seen

    def _step(
        self, epoch: int, step: int, steps: int, rows: torch.Tensor, factors: Mapping[str, float]
    ) -> torch.Tensor:
        """One batch. Returns (loss times images, right answers)."""
        import torch

        self._set_lrs((epoch - self.first) * steps + step, (self.last - self.first + 1) * steps, steps, factors)
        loss, seen = self._loss(epoch, step, rows)
        if self.device == "cpu" and not math.isfinite(float(loss.detach())):  # on a GPU asking each time would wait
            raise self._diverged(epoch, float(loss.detach()))
        self.optimizer.zero_grad()
        loss.backward()
        if self.l2sp is not None:
            self.l2sp()
        self.optimizer.step()
        main = _main(seen.outputs).detach()
        right = (main.argmax(1) == seen.labels).sum()
        return torch.stack([loss.detach().double() * len(rows), right.double()])

    def _loss(self, epoch: int, step: int, rows: torch.Tensor) -> tuple[torch.Tensor, Batch]:
        import torch

        draws = np.random.SeedSequence([self.seed, epoch, step, 1])  # 1: [seed, epoch] is the order's, and [.., 0] too
        torch.manual_seed(int(draws.generate_state(1)[0]))  # for dropout
        with computing(self.recipe.precision, self.device):
            seen = self.train_feed(rows, np.random.default_rng(draws))
            auxiliary = seen.outputs[1:] if isinstance(seen.outputs, tuple) else ()
            loss = self._compare(_main(seen.outputs), seen)
            for output in auxiliary:
                loss = loss + AUX_WEIGHT * self._compare(output, seen)
        return loss, seen

    def _compare(self, outputs: torch.Tensor, seen: Batch) -> torch.Tensor:
        smoothing, kind = self.recipe.label_smoothing, self.recipe.loss
        return losses.loss(outputs.float(), seen.labels, seen.partner, seen.lam, smoothing, kind, self.weights)

    def batches(self, epoch: int) -> Sequence[torch.Tensor]:
        """The epoch's batches: one pass's images in nearly equal parts, or ``steps_per_epoch`` of them, drawn as the
        recipe's sampling says.

        Nearly equal, because a last batch of one image has no batch statistics.
        """
        import torch

        rng, images = np.random.default_rng([self.seed, epoch]), len(self.train_set)
        size, parts = self.recipe.batch_size, steps_per_epoch(self.plan, self.recipe, images)
        draws = images if self.recipe.steps_per_epoch is None else parts * min(size, images)
        order = SAMPLINGS[self.recipe.sampling].of(self.train_set.labels.cpu().numpy(), draws, rng)
        device = self.train_set.labels.device
        return [torch.from_numpy(part).to(device) for part in np.array_split(order, parts)]

    def _class_weights(self) -> torch.Tensor | None:
        import torch

        counts = np.bincount(self.train_set.labels.cpu().numpy(), minlength=len(self.train_set.images.classes))
        weights = CLASS_WEIGHTS[self.recipe.class_weights].of(counts)
        return None if weights is None else torch.from_numpy(weights).float().to(self.train_set.labels.device)

    # --- rates -----------------------------------------------------------------------------------------------------

    def _set_lrs(self, step: int, steps: int, per_epoch: int, factors: Mapping[str, float]) -> None:
        warmup = min(round(self.recipe.warmup * per_epoch), steps - 1)
        share = schedules.factor(self.schedule, step, steps, warmup)
        momentum = self.schedule.momentum(max(0, step - warmup), steps - warmup)
        cycled = OPTIMIZERS[self.recipe.optimizer].cycled
        for group in self.optimizer.param_groups:
            group["lr"] = group["base"] * share * factors.get(group["keys"][0], 1.0)
            if momentum is not None and cycled is not None:
                group[cycled] = (momentum, group[cycled][1]) if cycled == "betas" else momentum

    def _relative_gradients(self, epoch: int, batches: Sequence[torch.Tensor]) -> dict[str, float]:
        kept = {name: value.clone() for name, value in self.model.named_buffers()}  # a look must not move anything
        losses = (self._loss(epoch, step, rows)[0] for step, rows in enumerate(batches[:BATCHES]))
        found = relative_gradients(self.model, losses)
        for name, value in self.model.named_buffers():
            value.copy_(kept[name])
        return found

    def _lrs(self) -> dict[str, float]:
        """Kind -> rate in the last step taken, the mean over tensors where it differs."""
        lrs: dict[str, list[float]] = {}
        for group in self.optimizer.param_groups:
            for key in group["keys"]:
                if key in self.plan.kinds:
                    lrs.setdefault(self.plan.kinds[key], []).append(group["lr"])
        return {kind: v[0] if len(set(v)) == 1 else sum(v) / len(v) for kind, v in lrs.items()}

    # --- judging ---------------------------------------------------------------------------------------------------

    def evaluate(self) -> float:
        """Accuracy on the test images, in eval mode."""
        return _accuracy(self._judge(self.test_feed)[0], self.test_feed)

    def fitted_accuracy(self) -> float:
        """Accuracy on the training images as they are, in eval mode: not that of the batches it was trained on."""
        return _accuracy(self._judge(self.train_feed)[0], self.train_feed)

    def _judge(self, feed: Feed) -> tuple[np.ndarray, float]:
        """A feed's logits and their mean loss, weighted by class as in training, in eval mode; nothing is smoothed or
        blended.

        Of test images they are, to the last bit, what the whole network gives them in blocks of the same size: with a
        prefix that is kept, or without.
        """
        import torch

        self.model.eval()
        found, loss, count, size = [], 0.0, len(feed.labels), block_size(feed.labels.device)
        precise = computing(self.recipe.precision, self.device)
        with torch.inference_mode(), precise:
            for start in range(0, count, size):
                rows = torch.arange(start, min(start + size, count), device=feed.labels.device)
                outputs, labels = _main(feed.evaluate(rows)).float(), feed.labels[rows]
                kind, weights = self.recipe.loss, self.weights
                loss += float(losses.loss(outputs, labels, labels, kind=kind, weights=weights)) * len(rows)
                found.append(outputs.cpu().numpy().copy())  # a compiled network writes the next where these are
        return np.concatenate(found), loss / count

    def adapt(self) -> None:
        """Estimate the running statistics that the plan names anew, over one pass of the training images."""
        order = np.random.default_rng(self.seed).permutation(len(self.train_set))
        size, device = self.recipe.batch_size, self.train_set.labels.device
        parts = min(math.ceil(len(order) / size), max(1, len(order) // 2))
        import torch

        batches = (self.images.prepared(torch.from_numpy(p).to(device)) for p in np.array_split(order, parts))
        estimate_bn_statistics(self.model, self.plan.estimated, batches)

    def _report(self, at: Position, loss: float | None, seen: float | None, start: float) -> bool:
        """Judge the network, and say so. True if training is to end here."""
        row: Row = {"epoch": at.epoch, "train_loss": loss, "train_accuracy": seen}
        logits = {}
        if self.validation_feed is not None:
            logits["validation"], row["val_loss"] = self._judge(self.validation_feed)
            row["val_accuracy"] = _accuracy(logits["validation"], self.validation_feed)
            if not math.isfinite(row["val_loss"]):
                raise self._diverged(at.epoch, row["val_loss"])
        logits["test"], _ = self._judge(self.test_feed)
        row["test_accuracy"] = _accuracy(logits["test"], self.test_feed)
        row["seconds"] = round(self.lead + at.seconds + time.perf_counter() - start, 4)
        self.lead = 0.0
        row["lr"] = self._lrs() if at.epoch else {}
        row["steps"] = steps_per_epoch(self.plan, self.recipe, len(self.train_set)) if at.epoch else 0
        return bool(self.on_epoch(row, self.optimizer, logits))

    # --- ends ------------------------------------------------------------------------------------------------------

    def _stopped(self, at: Position) -> None:
        self.on_stop(at, self.optimizer)
        where = f"in epoch {at.epoch}, after step {at.step}" if at.step else f"after epoch {at.epoch - 1}"
        raise Stopped(f"stopped {where}", self.stop.signum or 0)

    def _diverged(self, epoch: int, loss: float) -> Diverged:
        """The error, with the layer whose gradient was the largest in the last step that was taken."""
        sizes = {key: float(p.grad.double().norm()) for key, p in self.model.named_parameters() if p.grad is not None}
        if not sizes:
            return Diverged(
                f"the loss is {loss} in the first step of epoch {epoch}; the weights or the images are to blame"
            )
        worst = max(sizes, key=lambda key: sizes[key] if math.isfinite(sizes[key]) else math.inf)
        return Diverged(
            f"the loss is {loss} in epoch {epoch}; the largest gradient was that of {worst}, {sizes[worst]:.3g}; "
            "lower the rate"
        )


def _accuracy(logits: np.ndarray, feed: Feed) -> float:
    return int((logits.argmax(axis=1) == feed.labels.cpu().numpy()).sum()) / len(logits)


def _main(outputs: Any) -> torch.Tensor:
    """The classifier's outputs; auxiliary ones follow them while training."""
    return outputs[0] if isinstance(outputs, tuple) else outputs
