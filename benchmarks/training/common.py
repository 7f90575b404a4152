"""What the peers share: the network, its parameter groups and the loaders, written as their users would."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models import get_model

from benchmarks.training.tasks import Work

__all__ = ["Batches", "Row", "groups", "hold", "loaders", "network"]

Row = tuple[float, float]
"""(mean training loss, test accuracy) of an epoch."""


class Batches:
    """Epoch after epoch the batches that wdiv draws, and its seed before each, so that losses can be compared."""

    def __init__(self, images: int, batch_size: int, seed: int) -> None:
        self.images, self.parts, self.seed, self.epoch = images, math.ceil(images / batch_size), seed, 0

    def __len__(self) -> int:
        return self.parts

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.images)
        for step, part in enumerate(np.array_split(order, self.parts)):
            torch.manual_seed(int(np.random.SeedSequence([self.seed, self.epoch, step, 1]).generate_state(1)[0]))
            yield part.tolist()


def loaders(work: Work) -> tuple[Any, Any]:
    """Training and test images in memory, normalised once; judged in batches of the same size, as they all do."""
    sets = []
    for images in (work.split.pool, work.split.test):
        pixels = work.spec.inputs.prepare(torch.from_numpy(images.pixels))
        sets.append(TensorDataset(pixels.contiguous(), torch.from_numpy(images.labels)))
    size = work.spec.recipe.batch_size
    batches = Batches(len(sets[0]), size, work.spec.seed)
    own = torch.Generator()  # or the loader would draw from the one that dropout uses
    return DataLoader(sets[0], batch_sampler=batches, generator=own), DataLoader(sets[1], size, generator=own)


def network(work: Work) -> torch.nn.Module:
    """Torchvision's, with the weights to start from; what does not train has no gradient."""
    spec = work.spec.model
    model = get_model(spec.name, weights=None, num_classes=len(work.split.pool.classes), **spec.args)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and spec.bn_eps is not None:
            module.eps = spec.bn_eps
    model.load_state_dict(torch.load(work.start, weights_only=True))
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in work.rates)
    return model


def groups(work: Work, model: torch.nn.Module) -> list[dict[str, Any]]:
    """The parameters that train, by rate."""
    by_rate: dict[float, list[Any]] = {}
    for key, parameter in model.named_parameters():
        if key in work.rates:
            by_rate.setdefault(work.rates[key], []).append(parameter)
    return [{"params": parameters, "lr": rate} for rate, parameters in by_rate.items()]


def hold(work: Work, model: torch.nn.Module) -> None:
    """What a careful user writes after ``model.train()``: frozen BatchNorm layers back into eval mode."""
    for name in work.held:
        model.get_submodule(name).eval()
