"""Stopping when asked: SIGINT and SIGTERM let the step finish; what it has come to is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from wdiv.errors import WdivError

__all__ = ["Stop", "Stopped", "asked_by_signals"]


class Stopped(WdivError):
    """A run that was asked to stop, and is saved. ``signum``: by which signal."""

    def __init__(self, message: str, signum: int) -> None:
        super().__init__(message, signum)  # both, so that it crosses processes
        self.signum = signum

    def __str__(self) -> str:
        return str(self.args[0])


class Stop:
    """Whether to stop; ``signum`` is the signal that asked for it, or None."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def ask(self, signum: int = signal.SIGINT) -> None:
        self.signum = self.signum or signum


@contextmanager
def asked_by_signals() -> Iterator[Stop]:
    """A :class:`Stop` that SIGINT and SIGTERM ask inside the block; a second SIGINT interrupts at once.

    A signal that the process ignores, as a shell's background jobs do SIGINT, stays ignored. Elsewhere than in the
    main thread no signal can be caught: the stop is then never asked.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(signum: int, frame: Any) -> None:
        if stop.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        stop.ask(signum)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
