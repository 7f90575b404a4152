"""A process whose children are killed: for each line it reads it forks one, which finds all it needs ready.

Line: the name of a run of HARD, the store's folder, an epoch, and where the child ends once that epoch is saved: how
long it lives on, as a share of what all epochs took, or how the name of a file ends, before which is renamed into its
place it kills itself. Answer: how the child ended (0 or minus the signal). To a name and a folder alone, which come
first, the process trains that run itself, and answers 0.

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
            epoch, where = when
            if where[0].isdigit():
                ended = killed(train, int(epoch), seconds=float(where) * took[name])
            else:
                ended = killed(train, int(epoch), file=where)
            print(ended, flush=True)  # noqa: T201 - the answer
        else:
            took[name] = sum(row["seconds"] for row in train().history())
            print(0, flush=True)  # noqa: T201


def killed(train: Callable[[], object], epoch: int, seconds: float = 0.0, file: str = "") -> int:
    """Train in a child that signal 9 ends so many seconds after an epoch is saved, or before a file is in its place.

    Returns how the child ended.
    """
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        _tell(told, epoch, file)
        train()
        os._exit(0)
    os.close(told)
    os.read(ready, 1)  # nothing, if the child has failed
    os.close(ready)
    if not file:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _tell(told: int, epoch: int, file: str) -> None:
    """From now on this process says when an epoch is saved, and then kills itself before it renames such a file.

    Where a run would end it waits, or kills itself.
    """
    write, rename, saved = RunWriter._write_history, os.replace, False

    def write_history(self: RunWriter, rows: list[dict[str, Any]] | None = None) -> None:
        nonlocal saved
        rows = self.rows if rows is None else rows
        last = self._is_last(rows[-1])
        if not last:
            write(self, rows)
        if last or rows[-1]["epoch"] >= epoch:
            saved = True
            os.write(told, b".")
        while last:
            die_at(file)
            signal.pause()

    def die_at(target: str) -> None:
        if saved and file and target.endswith(file):
            os.kill(os.getpid(), signal.SIGKILL)

    def replace(source: str | Path, target: str | Path) -> None:
        die_at(str(target))
        rename(source, target)

    RunWriter._write_history = write_history  # type: ignore[method-assign]
    os.replace = replace  # type: ignore[assignment]


if __name__ == "__main__":
    main(sys.argv[1])
