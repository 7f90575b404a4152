"""fastai's ``Learner.fit`` with its own Adam, set to PyTorch's constants, on the loaders that all peers have.

``train_bn=False`` and ``BnFreeze`` are its way of leaving frozen BatchNorm layers alone. No progress bar, no log.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastai.callback.core import Callback
from fastai.callback.training import BnFreeze
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import Adam
from torch import nn

from benchmarks.training.common import Row, groups, loaders, network
from benchmarks.training.tasks import Work

__all__ = ["train"]


def train(work: Work) -> list[Row]:
    model = network(work)
    by_rate, mean = groups(work, model), _MeanLoss()
    learner = Learner(
        DataLoaders(*loaders(work)), model, loss_func=nn.CrossEntropyLoss(),
        opt_func=partial(Adam, mom=0.9, sqr_mom=0.999, eps=1e-8, wd=0.0),
        splitter=lambda _: [group["params"] for group in by_rate], train_bn=False,
        metrics=accuracy, cbs=[BnFreeze(), mean],
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit(work.spec.recipe.epochs, lr=[group["lr"] for group in by_rate])
    return list(zip(mean.losses, (values[-1] for values in learner.recorder.values), strict=True))


class _MeanLoss(Callback):
    """The mean loss of each epoch: fastai's own is smoothed over batches."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def before_train(self) -> None:
        self.total, self.seen = 0.0, 0

    def after_batch(self) -> None:
        if self.training:
            count = len(self.yb[0])
            self.total, self.seen = self.total + self.loss.item() * count, self.seen + count

    def after_train(self) -> Any:
        self.losses.append(self.total / self.seen)
