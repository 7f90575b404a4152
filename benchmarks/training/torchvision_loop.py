"""Torchvision's reference loop, ``references/classification/train.py``.

Kept: the order of its steps, ``loss.item()`` and the accuracy of each batch, evaluation under inference mode, autocast.
Left out: printing, distribution, EMA, clipping, augmentation, its schedule (rates are constant here) and its
checkpoints.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from benchmarks.training.common import Row, groups, hold, loaders, network
from benchmarks.training.tasks import Work

__all__ = ["train"]


def train(work: Work, *, held: bool = True, channels_last: bool = False, fp32: bool = False) -> list[Row]:
    """``held`` False: ``model.train()`` and no more, which wakes the frozen BatchNorm layers.

    fp32  whatever the task's precision
    """
    model, (images, test) = network(work), loaders(work)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = model.to(memory_format=layout)
    criterion, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(groups(work, model))
    bf16 = work.spec.recipe.precision == "bf16" and not fp32
    rows = []
    for _ in range(work.spec.recipe.epochs):
        model.train()
        if held:
            hold(work, model)
        loss = _train_one_epoch(model, criterion, optimizer, images, layout, bf16)
        rows.append((loss, _evaluate(model, criterion, test, layout, bf16)))
    return rows


def _train_one_epoch(model: Any, criterion: Any, optimizer: Any, loader: Any, layout: Any, bf16: bool) -> float:
    total, right, seen = 0.0, 0.0, 0
    for image, target in loader:
        image = image.to(memory_format=layout)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            output = model(image)
            loss = criterion(output, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right += (output.argmax(1) == target).sum().item()
        total += loss.item() * len(target)
        seen += len(target)
    return total / seen


def _evaluate(model: Any, criterion: Any, loader: Any, layout: Any, bf16: bool) -> float:
    model.eval()
    total, right, seen = 0.0, 0, 0
    with torch.inference_mode():
        for image, target in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                output = model(image.to(memory_format=layout))
                loss = criterion(output, target)
            right += int((output.argmax(1) == target).sum().item())
            total += loss.item() * len(target)
            seen += len(target)
    return right / seen
