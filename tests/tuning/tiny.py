"""The smallest things that can be fine-tuned: a network of five layers, and a thin MobileNetV2 with made weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models._api import register_model

from wdiv.layers import LayerTable
from wdiv.store.probe import probe
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton
from wdiv.tuning.networks.sources import resolve
from wdiv.tuning.prefix import frozen_prefix
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.feeds import OnDevice, Pixels
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import pytest

MOBILENET = "mobilenet_toy:width_mult=0.1"
"""A MobileNetV2 of a block a stage, which torchvision builds once this file is imported: what is done for each layer of
each run takes a third of the time."""
SMALL = ModelSpec(
    "mobilenet_v2", {"width_mult": 0.1, "inverted_residual_setting": [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 2, 2]]}
)
"""The same with 5 of its 17 blocks, of which are stem, stage1, stage2 and head: the one to train where any will do."""
HARD: dict[str, dict[str, Any]] = {
    "phases": {
        "strategy": "fc for 2 then bn@stage2+fc for 2 then conv@stage2+bn@stage2+fc",
        "epochs": 9,
        "schedule": "one-cycle",
        "augment": ("flip", "rotate=20"),
        "validation": 0.25,
        "patience": 2,
        "mixup": 0.2,
    },
    "kept": {"strategy": "fc", "epochs": 60, "optimizer": "sgd", "momentum": 0.9, "warmup": 2.0, "schedule": "cosine"},
    "adapt": {"strategy": "bn+fc", "bn_mode": "adapt", "epochs": 6, "label_smoothing": 0.1},
    "adabn": {"strategy": "conv@stage2+fc+rgn", "bn_mode": "adabn", "epochs": 6, "steps_per_epoch": 3},
    "gradual": {"strategy": "fc for 1 then gradual", "epochs": 6, "optimizer": "rmsprop", "momentum": 0.9},
}
"""Runs that are hard to continue: name -> what :func:`small_run` is given; a few images in batches of 10."""


@register_model()
def mobilenet_toy(weights: None = None, **how: Any) -> MobileNetV2:
    blocks = [[1, 16, 1, 1], [6, 24, 1, 2], [6, 32, 1, 2], [6, 64, 1, 2], [6, 160, 1, 2]]
    return MobileNetV2(inverted_residual_setting=blocks, **how)


mobilenet_toy.__module__ = "torchvision.models.mobilenet_toy"  # those of others, as of segmentation, are no classifiers
INPUTS = InputSpec(8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
HEAD = frozenset(["fc"])


class Net(nn.Sequential):
    """conv1, bn1, conv2, bn2, fc on 8 x 8 pixels; dropout, so that PyTorch's generator matters."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        layers = {
            "conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4), "relu1": nn.ReLU(),
            "conv2": nn.Conv2d(4, 5, 3), "bn2": nn.BatchNorm2d(5), "relu2": nn.ReLU(),
            "flat": nn.Flatten(), "drop": nn.Dropout(dropout), "fc": nn.Linear(80, 3),
        }  # fmt: skip
        for name, layer in layers.items():
            self.add_module(name, layer)


def lived_in(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every BatchNorm the numbers of a trained one, so that nothing frozen is 0 or 1 by chance."""
    make = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            size = module.num_features
            module.weight.data = 1 + 0.2 * torch.randn(size, generator=make)
            module.bias.data = 0.2 * torch.randn(size, generator=make)
            module.running_mean = 0.1 * torch.randn(size, generator=make)
            module.running_var = 0.5 + torch.rand(size, generator=make)
            module.num_batches_tracked = torch.tensor(7)
    return model


def thin(model: ModelSpec | str, classes: int = 3, by: int = 16, seed: int = 0) -> nn.Module:
    """A network with so many times fewer channels in every layer, and all else its own: names, order, how it is joined.

    By PyTorch's own initialisation, with BatchNorms as :func:`lived_in` makes them.
    """
    made = build_skeleton(ModelSpec.parse(model) if isinstance(model, str) else model, classes)

    def few(channels: int) -> int:
        return channels if channels in (3, classes) else max(1, channels // by)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in made.modules():
            if isinstance(layer, nn.Conv2d):
                channels, groups = (few(layer.in_channels), few(layer.out_channels)), few(layer.groups)
                how = layer.kernel_size, layer.stride, layer.padding, layer.dilation, groups, layer.bias is not None
                layer.__init__(*channels, *how)  # type: ignore[misc]
            elif isinstance(layer, nn.Linear):
                layer.__init__(few(layer.in_features), few(layer.out_features), layer.bias is not None)  # type: ignore[misc]
            elif isinstance(layer, nn.BatchNorm2d):
                layer.__init__(few(layer.num_features), layer.eps, layer.momentum)  # type: ignore[misc]
    return lived_in(made, seed)


class Family(NamedTuple):
    """A thin network, its tensors as they were, and images of which it is asked, which trace it only once."""

    model: nn.Module
    start: dict[str, torch.Tensor]
    judged: Pixels

    @classmethod
    @lru_cache(maxsize=2)
    def of(cls, label: str, size: int) -> Family:
        model = thin(label)
        return cls(model, snapshot(model), Pixels(model, InputSpec(size), images(2, size=size), Recipe()))


def net(seed: int = 0, dropout: float = 0.2) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return lived_in(Net(dropout), seed)  # type: ignore[return-value]


def planned(
    model: nn.Module, strategy: str, bn_mode: str = "auto", head: frozenset[str] = HEAD
) -> tuple[LayerTable, FreezePlan]:
    """The model's table, and the plan it is now held to."""
    table = probe(model, 8, head=head)
    plan = make_plan(model, table, head, parse(strategy), bn_mode)
    apply_freeze(model, plan, table)
    return table, plan


def images(count: int, seed: int = 0, size: int = 8, classes: int = 3) -> OnDevice:
    make = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=make)
    names = tuple(map(str, range(classes)))
    return OnDevice(ImageSet(pixels.numpy(), np.arange(count) % classes, names, ("",) * count), torch.device("cpu"))


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def moved(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> set[str]:
    """Keys whose bytes differ."""
    assert list(before) == list(after)
    return {key for key in before if not torch.equal(_bytes(before[key]), _bytes(after[key]))}


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def shown_to_prefixes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each call shows to a frozen prefix made from now on; the list grows."""
    shown: list[int] = []
    real = frozen_prefix.Traced.prefix

    def prefix(self: Any, boundary: Any) -> Any:
        found = real(self, boundary)
        found.register_forward_hook(lambda module, inputs, output: shown.append(len(inputs[0])))
        return found

    monkeypatch.setattr(frozen_prefix.Traced, "prefix", prefix)
    return shown


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a store. Of histories all but the seconds, and of what is live the last line of each epoch."""
    found = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"):
        data = file.read_bytes()
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in data.splitlines() if line.endswith(b"}")]  # a kill may cut one short
            data = json.dumps({row["epoch"]: row | {"seconds": 0, "digest": ""} for row in rows}).encode()
        found[str(file.relative_to(folder))] = data
    return found


class Log:
    """What a loop reported: its rows and logits, and the weights at each of them."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.rows, self.logits, self.states, self.optimizer = model, [], [], [], []

    def __call__(self, row: dict[str, Any], optimizer: torch.optim.Optimizer, logits: Mapping[str, np.ndarray]) -> None:
        import copy

        self.rows.append(row)
        self.logits.append(logits)
        self.states.append(snapshot(self.model))
        self.optimizer.append(copy.deepcopy(optimizer.state_dict()))


def make_loop(
    model: nn.Module, strategy: str = "conv+bn+fc", bn_mode: str = "auto", *, seed: int = 0,
    train: OnDevice | None = None, test: OnDevice | None = None, inputs: InputSpec = INPUTS, **recipe: Any,
) -> tuple[Loop, Log]:  # fmt: skip
    _, plan = planned(model, strategy, bn_mode)
    log = Log(model)
    how = Recipe(**{"epochs": 2, "batch_size": 4, **recipe})
    train, test = train or images(11), test or images(9, seed=1)
    return Loop(model, plan, how, inputs, train, test, seed=seed, on_epoch=log), log


def write_weights(path: Path, model: ModelSpec | str = MOBILENET, classes: int = 10, seed: int = 1) -> Path:
    """A file that plays the pretrained weights."""
    spec = ModelSpec.parse(model) if isinstance(model, str) else model
    torch.save(lived_in(build(spec, classes, seed), seed).state_dict(), path)
    return path


def tiny_run(
    weights: Path | str, strategy: str = "fc", *, per_class: int | None = 3, bn_mode: str = "auto", seed: int = 0,
    model: ModelSpec | str = MOBILENET, size: int = 32, **recipe: Any,
) -> RunSpec:  # fmt: skip
    how = Recipe(**{"epochs": 2, "batch_size": 8, **recipe})
    spec = ModelSpec.parse(model) if isinstance(model, str) else model
    return RunSpec(spec, resolve(str(weights), spec), per_class, strategy, bn_mode, seed, how, size)


small_run = partial(tiny_run, model=SMALL)


def hard_run(weights: Path | str, name: str) -> RunSpec:
    return small_run(weights, **{"per_class": 4, "batch_size": 10, **HARD[name]})
