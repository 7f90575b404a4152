"""What a network is shown: images, or what its frozen prefix made of them once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wdiv.tuning import augment, targets
from wdiv.tuning.inputs import InputSpec
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
    """A set of images before a network. ``rng``: for what is drawn anew each time; None: nothing is."""

    labels: torch.Tensor

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator | None = None) -> Seen: ...


class Pixels:
    """The whole network, on images as they lie in memory; augmented and blended where ``rng`` is given."""

    def __init__(self, model: nn.Module, inputs: InputSpec, images: OnDevice, recipe: Recipe) -> None:
        self.images, self.labels, self._inputs, self._mixup = images, images.labels, inputs, recipe.mixup
        self._augment = augment.parse(recipe.augment)
        self._network = _compiled(model, images.pixels.device.type) if recipe.compile else model

    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """The images as the network reads them, unaugmented."""
        return self._inputs.prepare(self.images.pixels[rows])

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator | None = None) -> Seen:
        pixels, labels = self.images.pixels[rows], self.labels[rows]
        if rng is None:
            return Seen(self._network(self._inputs.prepare(pixels)), labels, labels)
        if self._augment:
            pixels = self._augment(pixels, rng)
        x, partner, lam = targets.mix(self._inputs.prepare(pixels), labels, self._mixup, rng)
        return Seen(self._network(x), labels, partner, lam)


class Kept:
    """What follows the frozen prefix, on what the prefix made of each image."""

    def __init__(self, cut: Cut, features: Features, rows: torch.Tensor, labels: torch.Tensor) -> None:
        """rows: which of the features are this feed's, in the order of its labels."""
        self.labels, self._rest, self._features, self._rows = labels, cut.rest, features, rows

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator | None = None) -> Seen:
        labels = self.labels[rows]
        return Seen(self._rest(*self._features[self._rows[rows]]), labels, labels)


def _compiled(model: nn.Module, device: str) -> Any:
    import torch

    return torch.compile(model, mode="reduce-overhead" if device == "cuda" else "default")
