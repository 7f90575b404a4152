"""What a network is shown: images, or what its frozen prefix made of them once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wdiv.tuning.data import augment
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.training import losses
from wdiv.tuning.training.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wdiv.tuning.prefix.feature_store import Features
    from wdiv.tuning.prefix.frozen_prefix import Cut

__all__ = ["Feed", "Kept", "OnDevice", "Pixels", "Batch"]


class OnDevice:
    """Some images of a set, where the network is: uint8 ``pixels`` (n, 3, h, w), int64 ``labels`` (n,).

    rows  which of the images; None: all
    """

    def __init__(self, images: ImageSet, device: torch.device, rows: np.ndarray | None = None) -> None:
        import torch

        self.images, self.rows = images, np.arange(len(images)) if rows is None else rows
        self.labels = torch.from_numpy(images.labels[self.rows]).to(device)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def pixels(self) -> torch.Tensor:
        """Copied there when they are asked for: where features stand in for them, never."""
        import torch

        return torch.from_numpy(self.images.pixels[self.rows]).to(self.labels.device)


class Batch(NamedTuple):
    """The network's outputs for a batch, and what they are compared with (:func:`wdiv.tuning.training.losses.loss`)."""

    outputs: Any
    labels: torch.Tensor
    partner: torch.Tensor
    lam: float = 1.0


class Feed(Protocol):
    """A set of images before a network."""

    labels: torch.Tensor

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Batch:
        """Show a batch to the network to train on; ``rng`` is for what is drawn anew each time."""

    def evaluate(self, rows: torch.Tensor) -> Any:
        """The outputs for rows of the network itself, which is in eval mode: layer by layer, as anybody who loads its
        weights runs it. Nothing is drawn."""


class Pixels:
    """The whole network, on images as they lie in memory; to train on they are augmented and blended."""

    def __init__(self, model: nn.Module, inputs: InputSpec, images: OnDevice, recipe: Recipe) -> None:
        self.images, self.labels, self._inputs, self._mixup = images, images.labels, inputs, recipe.mixup
        self._augment = augment.parse(recipe.augment)
        self._network = _compiled(model, images.labels.device.type) if recipe.compile else model

    def prepared(self, rows: torch.Tensor) -> torch.Tensor:
        """The images as the network reads them, unaugmented."""
        return self._inputs.prepare(self.images.pixels[rows])

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Batch:
        pixels, labels = self.images.pixels[rows], self.labels[rows]
        if self._augment:
            pixels = self._augment(pixels, rng)
        x, partner, lam = losses.mix(self._inputs.prepare(pixels), labels, self._mixup, rng)
        return Batch(self._network(x), labels, partner, lam)

    def evaluate(self, rows: torch.Tensor) -> Any:
        return self._network(self.prepared(rows))


class Kept:
    """What follows the frozen prefix, on what the prefix made of each image."""

    def __init__(self, cut: Cut, features: Features, rows: torch.Tensor, labels: torch.Tensor) -> None:
        """rows: which of the features are this feed's, in the order of its labels."""
        self.labels, self._suffix, self._features, self._rows = labels, cut.suffix, features, rows

    def __call__(self, rows: torch.Tensor, rng: np.random.Generator) -> Batch:
        labels = self.labels[rows]
        return Batch(self._suffix(*self._features[self._rows[rows]]), labels, labels)

    def evaluate(self, rows: torch.Tensor) -> Any:
        return self._suffix(*self._features[self._rows[rows]])


def _compiled(model: nn.Module, device: str) -> Any:
    import torch

    return torch.compile(model, mode="reduce-overhead" if device == "cuda" else "default")
