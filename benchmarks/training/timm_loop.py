"""timm's ``train.py``: its optimizer and scheduler factories, meters and accuracy, its order of steps.

Left out: distribution, EMA, mixup, clipping, logging and checkpoints. The scheduler runs and keeps the rates constant.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import AverageMeter, accuracy
from torch import nn

from benchmarks.training.common import Row, groups, hold, loaders, network
from benchmarks.training.tasks import Work

__all__ = ["train"]


def train(work: Work) -> list[Row]:
    model, (images, test) = network(work), loaders(work)
    epochs = work.spec.recipe.epochs
    optimizer = create_optimizer_v2(groups(work, model), opt="adam", lr=1e-3, weight_decay=0.0)
    scheduler, _ = create_scheduler_v2(
        optimizer, sched="step", num_epochs=epochs, decay_epochs=epochs + 1, updates_per_epoch=len(images)
    )
    criterion, rows = nn.CrossEntropyLoss(), []
    for epoch in range(epochs):
        model.train()
        hold(work, model)
        loss = _train_one_epoch(epoch, model, criterion, optimizer, scheduler, images)
        right = _validate(model, criterion, test)
        scheduler.step(epoch + 1, right)
        rows.append((loss, right / 100))
    return rows


def _train_one_epoch(epoch: int, model: Any, criterion: Any, optimizer: Any, scheduler: Any, loader: Any) -> float:
    losses, updates = AverageMeter(), epoch * len(loader)
    optimizer.zero_grad()
    for inputs, target in loader:
        loss = criterion(model(inputs), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.update(loss.item(), inputs.size(0))
        updates += 1
        scheduler.step_update(num_updates=updates, metric=losses.avg)
    return float(losses.avg)


def _validate(model: Any, criterion: Any, loader: Any) -> float:
    model.eval()
    losses, top1 = AverageMeter(), AverageMeter()
    with torch.no_grad():
        for inputs, target in loader:
            output = model(inputs)
            losses.update(criterion(output, target).item(), inputs.size(0))
            top1.update(accuracy(output, target, topk=(1,))[0].item(), inputs.size(0))
    return float(top1.avg)
