"""``wdiv`` whose runs wait in their 30th epoch until they are asked to stop.

So that a signal meets them before their end, however long it takes to come; one that comes sooner finds them training.
"""

from __future__ import annotations

import time
from typing import Any

from studies.cli import main as wdiv
from studies.grid import jobs
from wdiv.tuning.training import run as tuning

WAITS = 30
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


def work(worker: Any, end: Any) -> None:
    """What a process of ``--jobs`` does, where runs wait."""
    tuning._Session = Session  # type: ignore[misc]
    _work(worker, end)


def main() -> None:
    tuning._Session = Session  # type: ignore[misc]
    jobs._work = work
    wdiv()
