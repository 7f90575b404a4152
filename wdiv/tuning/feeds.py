"""What a network is shown: images, or what its frozen prefix made of them once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wdiv.tuning import augment, targets
from wdiv.tuning.folding import Judge, judge
from wdiv.tuning.inputs import InputSpec
from wdiv.tuning.precision import PRECISIONS
from wdiv.tuning.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wdiv.tuning.features import Features
    from wdiv.tuning.prefix import Cut

__all__ = ["Feed", "Kept", "OnDevice", "Pixels", "Seen"]


@dataclass(frozen=True, eq=False)
class OnDevice:
    """Images and labels where the network is: uint8 pixels (n, 3, h, w), int64 labels."""

    pixels: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


class Seen(NamedTuple):
    """The network's outputs for a batch, and what they are compared with (:func:`wdiv.tuning.targets.loss`)."""

    outputs: Any
    labels: torch.Tensor
    partner: torch.Tensor
    lam: float = 1.0


class Feed(Protocol):
    """A set of images before a network."""

    labels: torch.Tensor

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Seen:
        """Show a batch to the network to train on; ``rng`` is for what is drawn anew each time."""

    def judging(self) -> Callable[[torch.Tensor], Any]:
        """What gives the network's outputs for rows, as it is now and in eval mode; nothing is drawn."""


class Pixels:
    """The whole network, on images as they lie in memory; to train on they are augmented and blended."""

    def __init__(self, model: nn.Module, inputs: InputSpec, images: OnDevice, recipe: Recipe) -> None:
        self.images, self.labels, self._inputs, self._mixup = images, images.labels, inputs, recipe.mixup
        self._augment = augment.parse(recipe.augment)
        self._network = _compiled(model, images.pixels.device.type) if recipe.compile else model
        self._judge = _Lazy(self._network, recipe)

    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """The images as the network reads them, unaugmented."""
        return self._inputs.prepare(self.images.pixels[rows])

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Seen:
        pixels, labels = self.images.pixels[rows], self.labels[rows]
        if self._augment:
            pixels = self._augment(pixels, rng)
        x, partner, lam = targets.mix(self._inputs.prepare(pixels), labels, self._mixup, rng)
        return Seen(self._network(x), labels, partner, lam)

    def judging(self) -> Callable[[torch.Tensor], Any]:
        show = self._judge.now()
        return lambda rows: show(self.prepared(rows))


class Kept:
    """What follows the frozen prefix, on what the prefix made of each image."""

    def __init__(self, cut: Cut, features: Features, rows: torch.Tensor, labels: torch.Tensor, recipe: Recipe) -> None:
        """rows: which of the features are this feed's, in the order of its labels."""
        self.labels, self._rest, self._features, self._rows = labels, cut.rest, features, rows
        self._judge = _Lazy(cut.rest, recipe)

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Seen:
        labels = self.labels[rows]
        return Seen(self._rest(*self._features[self._rows[rows]]), labels, labels)

    def judging(self) -> Callable[[torch.Tensor], Any]:
        show = self._judge.now()
        return lambda rows: show(*self._features[self._rows[rows]])


class _Lazy:
    """A network's judge, made when it is asked for: what trains is not always judged."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self._network = network
        self._made: Judge | None = None
        self._folds = not recipe.compile and PRECISIONS[recipe.precision].autocast is None  # else not to the rounding

    def now(self) -> Judge:
        if self._made is None:
            self._made = judge(self._network) if self._folds else Judge(self._network)
        self._made.refresh()
        return self._made


def _compiled(model: nn.Module, device: str) -> Any:
    import torch

    return torch.compile(model, mode="reduce-overhead" if device == "cuda" else "default")
