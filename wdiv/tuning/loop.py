"""The training loop. It knows a model, a plan and two sets of images; nothing of studies, stores or files.

All randomness of an epoch is a function of (seed, epoch), so a run continued after a kill is the run that was
never killed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput, WdivError
from wdiv.tuning.freeze import Plan, parameter_groups
from wdiv.tuning.inputs import InputSpec
from wdiv.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["AUX_WEIGHT", "Diverged", "Loop", "OnDevice", "check_batches"]

AUX_WEIGHT = 0.4
"""Of an auxiliary head's loss: Szegedy et al. (2016), as in their code."""
EVAL_BATCH = 256
Row = dict[str, Any]


class Diverged(WdivError):
    """The loss is no longer a number."""


@dataclass(frozen=True, eq=False)
class OnDevice:
    """Images and labels where the network is: uint8 pixels (n, 3, h, w), int64 labels."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def check_batches(plan: Plan, recipe: Recipe, images: int) -> None:
    """Raise :class:`~wdiv.errors.BadInput` where a batch would hold one image and its statistics be used."""
    if plan.batch_stats and min(recipe.batch_size, images) < 2:
        raise BadInput("batch statistics need batches of at least 2 images; raise the batch size or freeze BN")


class Loop:
    """Train ``model`` as ``plan`` says. Calls ``on_batch(epoch, done, of)`` and ``on_epoch(row, optimizer)``."""

    def __init__(
        self, model: nn.Module, plan: Plan, recipe: Recipe, inputs: InputSpec, train: OnDevice, test: OnDevice,
        *, seed: int, on_epoch: Callable[[Row, torch.optim.Optimizer], None],
        on_batch: Callable[[int, int, int], None] = lambda epoch, done, of: None,
    ) -> None:  # fmt: skip
        check_batches(plan, recipe, len(train))
        self.model, self.plan, self.recipe, self.inputs = model, plan, recipe, inputs
        self.train_set, self.test_set, self.seed = train, test, seed
        self.on_epoch, self.on_batch = on_epoch, on_batch
        groups = parameter_groups(model, plan, recipe.weight_decay, recipe.decay_all)
        self.optimizer = recipe.make_optimizer(groups)

    def run(self, after: int | None = None) -> None:
        """All epochs, or those after the one that a resumed run has finished. Epoch 0 only evaluates."""
        if after is None:
            start = time.perf_counter()
            accuracy = self.evaluate()
            self.on_epoch(self._row(0, None, None, accuracy, start), self.optimizer)
        for epoch in range((after or 0) + 1, self.recipe.epochs + 1):
            start = time.perf_counter()
            loss, seen = self.train_epoch(epoch)
            if self.plan.adapt:
                self.adapt()
            self.on_epoch(self._row(epoch, loss, seen, self.evaluate(), start), self.optimizer)

    def train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images. Returns the mean loss and the accuracy as trained on."""
        import torch
        from torch.nn.functional import cross_entropy

        torch.manual_seed(int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]))  # for dropout
        self.model.train()
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.train_set))
        batches = list(self.batches(order))
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.train_set.labels.device)
        right = torch.zeros_like(loss_sum)
        for done, batch in enumerate(batches, start=1):
            labels = self.train_set.labels[batch]
            outputs = self.model(self.inputs.prepare(self.train_set.pixels[batch]))
            main, *auxiliary = outputs if isinstance(outputs, tuple) else (outputs,)
            loss = cross_entropy(main, labels)
            for output in auxiliary:
                loss = loss + AUX_WEIGHT * cross_entropy(output, labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.detach() * len(labels)
            right += (main.detach().argmax(1) == labels).sum()
            self.on_batch(epoch, done, len(batches))
        mean_loss = float(loss_sum) / len(self.train_set)
        if not math.isfinite(mean_loss):
            raise Diverged(f"the loss is {mean_loss} in epoch {epoch}; lower the rate")
        return mean_loss, float(right) / len(self.train_set)

    def batches(self, order: np.ndarray) -> Iterator[torch.Tensor]:
        """Batches of nearly equal size: a last batch of one image has no batch statistics."""
        import torch

        parts = math.ceil(len(order) / self.recipe.batch_size)
        if self.plan.batch_stats:
            parts = min(parts, len(order) // 2)
        for part in np.array_split(order, parts):
            yield torch.from_numpy(part).to(self.train_set.labels.device)

    def evaluate(self) -> float:
        """Accuracy on the test images, in eval mode."""
        import torch

        self.model.eval()
        right = 0
        with torch.inference_mode():
            for start in range(0, len(self.test_set), EVAL_BATCH):
                part = slice(start, start + EVAL_BATCH)
                outputs = self.model(self.inputs.prepare(self.test_set.pixels[part]))
                right += int((outputs.argmax(1) == self.test_set.labels[part]).sum())
        return right / len(self.test_set)

    def adapt(self) -> None:
        """Estimate the running statistics anew: the average over one pass of the training images."""
        import torch

        layers = [self.model.get_submodule(name) for name in sorted(self.plan.batch_stats)]
        momenta = [layer.momentum for layer in layers]
        self.model.eval()
        self.model.training = True  # of the root alone: auxiliary heads run only then
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # None: a cumulative average
            layer.train()
        with torch.no_grad():
            for batch in self.batches(np.random.default_rng(self.seed).permutation(len(self.train_set))):
                self.model(self.inputs.prepare(self.train_set.pixels[batch]))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

    def _row(self, epoch: int, loss: float | None, seen: float | None, accuracy: float, start: float) -> Row:
        return {
            "epoch": epoch,
            "train_loss": loss,
            "train_accuracy": seen,
            "test_accuracy": accuracy,
            "seconds": round(time.perf_counter() - start, 4),
            "lr": self.plan.rate_by_kind() if epoch else {},
        }
