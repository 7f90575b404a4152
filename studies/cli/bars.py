"""What a running study shows: bars on a terminal, plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from studies.cli.console import console
from studies.grid.progress import Progress

__all__ = ["Bars"]


class Bars(Progress):
    """Watches a grid of runs. ``quiet`` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: Any = None
        self._grid_task: Any = None
        self._total = self._done = 0

    def say(self, line: str) -> None:
        """A line above the bars."""
        if not self.quiet:
            console().print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def grid(self, runs: Sequence[str]) -> Iterator[None]:
        """Around all runs."""
        self._total, self._done = len(runs), 0
        if self.quiet or not console().is_terminal:
            yield
            return
        from rich import progress

        columns = (
            progress.TextColumn("{task.description}"), progress.BarColumn(24), progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
        )  # fmt: skip
        with progress.Progress(*columns, console=console(), transient=True) as self._bars:
            self._grid_task = self._bars.add_task("runs", total=len(runs))
            try:
                yield
            finally:
                self._bars = None

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[_RunWatcher]:
        """Around one run; yields what the run reports to."""
        watcher = _RunWatcher(self, run, epochs)
        try:
            yield watcher
        finally:
            watcher.close()
            self._done += 1
            if self._bars is not None:
                self._bars.advance(self._grid_task)
        self.say(f"[{self._done}/{self._total}] {run}: {watcher.summary()}")


class _RunWatcher:
    """Turns a run's events into a bar and, at its end, a line."""

    def __init__(self, progress: Bars, run: str, epochs: int) -> None:
        self._progress, self._epochs = progress, epochs
        self._rows: list[dict[str, Any]] = []
        bars = progress._bars
        self._task = None if bars is None else bars.add_task(f"  {run}", total=float(epochs))

    def batch(self, epoch: int, done: int, of: int) -> None:
        if self._task is not None:
            self._progress._bars.update(self._task, completed=round(epoch - 1 + done / of, 2))

    def epoch(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def close(self) -> None:
        if self._task is not None and self._progress._bars is not None:
            self._progress._bars.remove_task(self._task)

    def summary(self) -> str:
        """What a finished run's line says."""
        if not self._rows:
            return "was finished before"
        last = self._rows[-1]
        seconds = sum(row["seconds"] for row in self._rows)
        best = max(row["test_accuracy"] for row in self._rows)
        loss = "" if last["train_loss"] is None else f"loss {last['train_loss']:.4g}, "
        return (
            f"epoch {last['epoch']}/{self._epochs}, {loss}test {100 * last['test_accuracy']:.1f} % "
            f"(best {100 * best:.1f}), {seconds:.1f} s"
        )
