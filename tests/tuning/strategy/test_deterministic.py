"""What is frozen is deterministic in every BN mode: nothing that trains nothing answers to ``train()``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from tests.tuning.tiny import thin
from wdiv.store.probe import probe
from wdiv.tuning.networks.models import ModelSpec
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES
from wdiv.tuning.training.prefix_plan import plan_prefix
from wdiv.tuning.training.recipe import Recipe


class Root(nn.Module):
    """Dropout that the root itself calls: between frozen layers, and before the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1, self.drop = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout2d(0.5)
        self.conv2, self.last, self.fc = nn.Conv2d(8, 8, 3), nn.Dropout(0.0), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2(self.drop(self.bn1(self.conv1(x)).relu()))
        out: torch.Tensor = self.fc(self.last(x.mean((2, 3))))
        return out


class Attending(nn.Module):
    """Dropout as a function within attention, and timm's way of dropping a path."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.block, self.fc = nn.Conv2d(3, 8, 4, 4), Block(), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.fc(self.block(self.patches(x).flatten(2).transpose(1, 2)).mean(1))
        return out


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.path = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True), DropPath()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = x + self.path(self.attention(x, x, x, need_weights=False)[0])
        return out


class DropPath(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * x.new_empty(len(x), 1, 1).bernoulli_(0.5) if self.training else x


BLOCK, MBCONV = models.convnext.CNBlockConfig, models.efficientnet.MBConvConfig
NETWORKS: dict[str, tuple[Callable[[], Any], int]] = {
    "convnext": (lambda: models.ConvNeXt([BLOCK(8, 16, 2), BLOCK(16, None, 2)], 0.5, num_classes=3), 32),
    "densenet": (lambda: models.DenseNet(4, (2, 2), 8, 2, 0.5, 3), 32),
    "efficientnet": (lambda: models.EfficientNet([MBCONV(2, 3, 1, 8, 8, 2)], 0.0, 0.8, 3, last_channel=8), 16),
    "maxvit": (lambda: models.MaxVit((32, 32), 8, 1, [8, 16], [1, 1], 4, 0.5, attention_dropout=0.5), 32),
    "swin": (
        lambda: models.SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], 4.0, 0.5, 0.5, 0.5, num_classes=3), 32,
    ),
    "vit": (lambda: models.VisionTransformer(16, 8, 2, 2, 8, 16, 0.5, 0.5, num_classes=3), 16),
    "dropout of the root": (Root, 8),
    "of one's own": (Attending, 8),
}  # fmt: skip


@pytest.mark.parametrize("bn_mode", BN_MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_trunk_gives_the_same_twice(name: str, bn_mode: str) -> None:
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    model = make()
    for module in model.modules():  # those that torchvision starts at 0 or next to it show nothing
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)
        if hasattr(module, "layer_scale"):
            nn.init.ones_(module.layer_scale)
    images, table = torch.rand(4, 3, size, size), probe(model, size)
    assert not torch.equal(model.train()(images), model(images)), "it is random to begin with"
    plan = make_plan(model, table, frozenset(), parse("fc"), bn_mode)
    apply_freeze(model, plan, table)
    disabled = plan_prefix(model, plan, table, Recipe(), size).disabled_dropout
    apply_freeze(model, plan, table, disabled)
    model.train()
    assert torch.equal(model(images), model(images))
    running = {name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
    assert running == plan.batch_stats


def test_what_trains_stays_random_and_another_plan_wakes_the_rest() -> None:
    model = thin(ModelSpec("efficientnet_b0", {"stochastic_depth_prob": 0.5}))
    table = probe(model, 32)

    def awake(strategy: str) -> set[str]:
        plan = make_plan(model, table, frozenset(), parse(strategy), "batch")
        apply_freeze(model, plan, table)
        model.train()
        random = (nn.Dropout, models.efficientnet.StochasticDepth)
        return {name for name, module in model.named_modules() if isinstance(module, random) and module.training}

    every = {
        name for name, m in model.named_modules() if isinstance(m, (nn.Dropout, models.efficientnet.StochasticDepth))
    }
    last = {name for name in every if name.startswith(("features.6.", "features.7.", "classifier"))}
    assert awake("all") == every
    assert awake("fc") == {"classifier.0"}
    assert awake("conv@stage4+fc") == last
    assert awake("bn+fc") == every


def test_a_copy_of_a_frozen_network_is_frozen_by_itself() -> None:
    import copy

    model = Root()
    table = probe(model, 8)
    apply_freeze(model, make_plan(model, table, frozenset(), parse("fc")), table)
    model.train()
    twin = copy.deepcopy(model)
    twin.conv1.eval()
    twin.bn1.training = True
    twin.bn1.train()
    assert twin.bn1.train.__self__ is twin.bn1  # type: ignore[attr-defined]
    assert not model.bn1.training
