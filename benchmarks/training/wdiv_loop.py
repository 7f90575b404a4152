"""wdiv's runner, through its public function. It saves every epoch, and evaluates once before the first."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.training.tasks import Work
from wdiv.store.writer import RunWriter
from wdiv.tuning.training.run import fine_tune

__all__ = ["train"]


def train(work: Work, *, save: bool = True) -> list[tuple[float, float]]:
    """``save`` False: committing an epoch does nothing."""
    if not save:
        RunWriter.commit = lambda *_args, **_options: None  # type: ignore[method-assign]
    watcher, store = _Rows(), Path(tempfile.mkdtemp(dir=work.start.parent))
    fine_tune(work.spec, work.split, store, device="cpu", watcher=watcher)
    return watcher.rows


class _Rows:
    """A watcher that keeps (loss, accuracy) of each epoch but the one before training."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float]] = []

    def batch(self, epoch: int, done: int, of: int) -> None: ...

    def epoch(self, row: dict[str, Any]) -> None:
        if row["epoch"]:
            self.rows.append((row["train_loss"], row["test_accuracy"]))
