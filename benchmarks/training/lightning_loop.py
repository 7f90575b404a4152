"""Lightning's ``Trainer.fit``, without logger, checkpoints, progress bar, summary and sanity check.

Lightning leaves layers that are in eval mode before ``fit`` in eval mode, so frozen BatchNorm layers are put there.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.training.common import Row, groups, hold, loaders, network
from benchmarks.training.tasks import Work

__all__ = ["train"]


def train(work: Work) -> list[Row]:
    warnings.simplefilter("ignore")  # about few workers
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    module = _Module(work)
    hold(work, module.model)
    trainer = Trainer(
        accelerator="cpu", max_epochs=work.spec.recipe.epochs, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, *loaders(work))
    return module.rows


class _Module(LightningModule):
    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work, self.model, self.criterion = work, network(work).train(), nn.CrossEntropyLoss()
        self.loss = MeanMetric()
        self.rows: list[Row] = []
        self.accuracy = MulticlassAccuracy(len(work.split.pool.classes), average="micro")

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(groups(self.work, self.model))

    def training_step(self, batch: Any, _index: int) -> Any:
        image, target = batch
        loss = self.criterion(self.model(image), target)
        self.loss(loss.detach(), len(target))
        return loss

    def validation_step(self, batch: Any, _index: int) -> None:
        image, target = batch
        self.accuracy(self.model(image), target)

    def on_train_epoch_end(self) -> None:  # Lightning validates before this
        self.rows.append((float(self.loss.compute()), float(self.accuracy.compute())))
        self.loss.reset()
        self.accuracy.reset()
