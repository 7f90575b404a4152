"""What a grid of runs tells whoever looks on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from wdiv.tuning.training.run import Silent, Watcher

__all__ = ["Progress"]


class Progress:
    """Hears of a grid of runs, and shows nothing; :class:`studies.cli.bars.Bars` shows it on a terminal."""

    def say(self, line: str) -> None:
        """A line for people."""

    @contextmanager
    def grid(self, runs: Sequence[str]) -> Iterator[None]:
        """Around all runs."""
        yield

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[Watcher]:
        """Around one run; yields what the run reports to."""
        yield Silent()
