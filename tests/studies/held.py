"""``wdiv`` in a process of its own, whose runs wait in an epoch until they are asked to stop.

So that a signal meets them before their end, however long it takes to come; one that comes sooner finds them training.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from studies.cli import main as wdiv
from studies.grid import jobs
from tests.tuning import tiny  # noqa: F401 - its network is one of torchvision's from then on, in any process
from wdiv.tuning.training import run as tuning

WAITS = 3
"""The epoch; runs that are to be met have more."""

_session, _work = tuning._Session, jobs._work


class _Waiting:
    """What a run tells its watcher goes on to the true one."""

    def __init__(self, watcher: tuning.Watcher, session: Any) -> None:
        self._watcher, self._session = watcher, session

    def batch(self, epoch: int, done: int, of: int) -> None:
        self._watcher.batch(epoch, done, of)
        while epoch == WAITS and self._session.stop.signum is None:
            time.sleep(0.01)

    def epoch(self, row: dict[str, Any]) -> None:
        self._watcher.epoch(row)


class Session(_session):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.watcher = _Waiting(self.watcher, self)


def hold_runs() -> None:
    """From here on runs wait. Each epoch is saved at once: one that waits to be saved would wait with its run."""
    tuning._Session, tuning.COMMIT_EVERY = Session, 0.0  # type: ignore[misc]


def work(worker: Any, end: Any) -> None:
    """What a process of ``--jobs`` does, where runs wait."""
    hold_runs()
    _work(worker, end)


def command(words: list[str], told: Path, get_context: Callable[[str], Any]) -> None:
    """``wdiv WORDS``, which writes what it says into a file. get_context: how it starts processes."""
    import torch

    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})  # held when the first was forked
    torch.set_num_threads(1)
    hold_runs()
    jobs._work, jobs.get_context = work, get_context
    sys.argv = ["wdiv", *words]
    with told.open("w") as sys.stderr:
        wdiv()
