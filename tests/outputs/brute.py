"""The change of outputs by brute force: every layer is run, in float64, on what hooks on the start network see."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

STATISTICS = ("running_mean", "running_var")


class EveryKind(nn.Module):
    """A layer of each kind, 12 x 12 pixels: padding modes, groups, dilation, transposed, one to three dimensions; ``f``
    and ``h`` are called twice, ``unused`` never."""

    def __init__(self) -> None:
        super().__init__()
        self.reflect, self.bn = nn.Conv2d(3, 8, 3, padding=1, padding_mode="reflect"), nn.BatchNorm2d(8, eps=1e-3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, stride=2, padding=2, dilation=2, bias=False)
        self.group, self.instance = nn.GroupNorm(2, 8), nn.InstanceNorm2d(12, affine=True)
        self.grouped = nn.Conv2d(8, 12, 3, groups=4, padding="same", padding_mode="circular")
        self.up = nn.ConvTranspose2d(12, 8, 3, stride=2, groups=2, padding=1, output_padding=1, dilation=2)
        self.layer, self.rms, self.batch = nn.LayerNorm(8), nn.RMSNorm(8), nn.BatchNorm2d(8, track_running_stats=False)
        self.line, self.up_line = nn.Conv1d(8, 4, 5, stride=3), nn.ConvTranspose1d(4, 3, 4, stride=3, padding=3)
        self.volume, self.plain = nn.Conv3d(3, 2, 2, padding=1), nn.BatchNorm1d(8, affine=False)
        self.f, self.h, self.unused = nn.Linear(8, 5, bias=False), nn.Linear(5, 3), nn.Linear(3, 3)
        self.wide = nn.Linear(40, 3)  # of more inputs than there are images

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.group(self.depthwise(self.bn(self.reflect(images)).relu()))
        x = self.up(self.instance(self.grouped(x)).relu())
        x = self.batch(self.rms(self.layer(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2))
        lines = self.up_line(self.line(x.flatten(2)))
        volume = self.volume(lines.unsqueeze(2).unsqueeze(-1))
        pooled = self.plain(x.mean((2, 3)))
        return self.h(self.f(pooled)) + self.h(self.f(x.amax((2, 3)))) + self.wide(pooled.repeat(1, 5)) + volume.mean()


def stirred(network: nn.Module, seed: int, by: float = 0.3) -> nn.Module:
    """The network with every number moved, in eval mode."""
    moved, make = copy.deepcopy(network).eval(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in moved.state_dict().items():
            if value.is_floating_point():
                noise = by * torch.randn(value.shape, generator=make)
                value.mul_(noise.exp()) if name.endswith("running_var") else value.add_(noise)
    return moved


def outputs(
    start: nn.Module, then: nn.Module, now: nn.Module, images: torch.Tensor, statistics: bool = True
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Layer -> Σ|f_now − f_then|² and Σ|f_then|² of each of its outputs, on what ``start`` feeds it.

    statistics: those of ``now`` for the layers of now; otherwise those of then.
    """
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def watch(name: str, _module: nn.Module, given: tuple[torch.Tensor, ...], _output: torch.Tensor) -> None:
        sides = [copy.deepcopy(network.get_submodule(name)).double() for network in (then, now)]
        if not statistics:
            for key in STATISTICS:
                if getattr(sides[0], key, None) is not None:
                    setattr(sides[1], key, getattr(sides[0], key))
        a, b = (side(given[0].double()) for side in sides)
        last = isinstance(sides[0], (nn.LayerNorm, nn.RMSNorm, nn.Linear))
        a, b = (side.movedim(-1 if last else 1, 0).flatten(1) for side in (a, b))
        sums = (b - a).square().sum(1).numpy(), a.square().sum(1).numpy()
        before = found.get(name, (np.zeros(1), np.zeros(1)))
        found[name] = before[0] + sums[0], before[1] + sums[1]

    copied = copy.deepcopy(start).eval()
    for name, module in copied.named_modules():
        if not [*module.children()]:
            hook: Callable[..., Any] = partial(watch, name)
            module.register_forward_hook(hook)
    with torch.no_grad():
        copied(images)
    return found


def change(sums: tuple[np.ndarray, np.ndarray]) -> float:
    return math.sqrt(sums[0].sum() / sums[1].sum())


def parameters(module: nn.Module) -> dict[str, np.ndarray]:
    """Role -> tensor, as a store has it."""
    norm = not isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    names = {"weight": "gamma", "bias": "beta"} if norm else {}
    state = {key: value.numpy() for key, value in module.state_dict().items() if key != "num_batches_tracked"}
    return {names.get(key, key): value for key, value in state.items()}
