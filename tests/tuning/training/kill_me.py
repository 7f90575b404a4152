"""A process whose children are killed: for each line it reads it forks one, which finds all it needs ready.

Line: the name of a run of HARD, the store's folder, an epoch, and how long the child lives on from when that epoch is
saved, as a share of what all epochs took. Answer: how the child ended (0 or minus the signal). To a name and a folder
alone, which come first, the process trains that run itself, and answers 0.

No child comes to its end: before a run's last rows are written it waits for the kill, however slow the killer is.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.tuning.tiny import HARD, hard_run
from wdiv.store.reader import Run
from wdiv.store.writer import RunWriter
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.training import run as tuning


def main(weights: str) -> None:
    torch.set_num_threads(1)
    tuning.COMMIT_EVERY = 0.03  # several epochs at once, in the background, and yet a few commits a second
    split = open_split("digits-5-9", 32, test_count=2)
    specs = {name: hard_run(weights, name) for name in HARD}
    took: dict[str, float] = {}  # what is found out about networks is remembered, by the children too
    for line in sys.stdin:
        name, folder, *when = line.split()

        def train(name: str = name, folder: str = folder) -> Run:
            return tuning.fine_tune(specs[name], split, Path(folder), device="cpu")

        if when:
            epoch, share = when
            print(killed(train, int(epoch), float(share) * took[name]), flush=True)  # noqa: T201 - the answer
        else:
            took[name] = sum(row["seconds"] for row in train().history())
            print(0, flush=True)  # noqa: T201


def killed(train: Callable[[], object], epoch: int, seconds: float) -> int:
    """Train in a child and kill it with signal 9, so many seconds after an epoch is saved. How it ended."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        _tell(told, epoch)
        train()
        os._exit(0)
    os.close(told)
    os.read(ready, 1)  # nothing, if the child has failed
    os.close(ready)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _tell(told: int, epoch: int) -> None:
    """From now on this process says when an epoch is saved, and waits where a run would end."""
    write = RunWriter._write_history

    def write_history(self: RunWriter, rows: list[dict[str, Any]] | None = None) -> None:
        rows = self.rows if rows is None else rows
        last = self._is_last(rows[-1])
        if not last:
            write(self, rows)
        if last or rows[-1]["epoch"] >= epoch:
            os.write(told, b".")
        while last:
            signal.pause()

    RunWriter._write_history = write_history  # type: ignore[method-assign]


if __name__ == "__main__":
    main(sys.argv[1])
