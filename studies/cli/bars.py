"""What takes its time shows how far it is: bars on a terminal, plain lines or nothing anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from studies.cli.console import console
from studies.grid.progress import Progress
from wdiv.numerics.proportion import in_words

__all__ = ["Bars", "counting"]


class Bars(Progress):
    """Watches a grid of runs. ``quiet`` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._bars: Any  # of the grid that is being run
        self._grid_task: Any
        self._total = self._done = 0

    def say(self, line: str) -> None:
        """A line above the bars."""
        if not self.quiet:
            console().print(line, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def grid(self, runs: Sequence[str]) -> Iterator[None]:
        """Around all runs."""
        from rich import progress

        self._total, self._done, hidden = len(runs), 0, self.quiet or not console().is_terminal
        columns = (
            progress.TextColumn("{task.description}"), progress.BarColumn(24), progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
        )  # fmt: skip
        with progress.Progress(*columns, console=console(), transient=True, disable=hidden) as self._bars:
            self._grid_task = self._bars.add_task("runs", total=len(runs))
            yield

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[_RunWatcher]:
        """Around one run; yields what the run reports to."""
        watcher = _RunWatcher(self._bars, run, epochs)
        try:
            yield watcher
        finally:
            self._bars.remove_task(watcher.task)
            self._bars.advance(self._grid_task)
            self._done += 1
        self.say(f"[{self._done}/{self._total}] {run}: {watcher.summary()}")


@contextmanager
def counting(what: str, total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar around work on so many things; yields what is called with how many are done. Off a terminal: nothing."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"), progress.BarColumn(24), progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )  # fmt: skip
    hidden = quiet or not console().is_terminal
    with progress.Progress(*columns, console=console(), transient=True, disable=hidden) as bars:
        task = bars.add_task(what, total=total)
        yield lambda done: bars.update(task, completed=done)


class _RunWatcher:
    """Turns a run's events into a bar and, at its end, a line."""

    def __init__(self, bars: Any, run: str, epochs: int) -> None:
        self._bars, self._epochs = bars, epochs
        self._rows: list[dict[str, Any]] = []
        self.task = bars.add_task(f"  {run}", total=float(epochs))

    def batch(self, epoch: int, done: int, of: int) -> None:
        self._bars.update(self.task, completed=round(epoch - 1 + done / of, 2))

    def epoch(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def summary(self) -> str:
        """What a finished run's line says."""
        if not self._rows:
            return "was finished before"
        last = self._rows[-1]
        seconds = sum(row["seconds"] for row in self._rows)
        loss = "" if last["train_loss"] is None else f"loss {last['train_loss']:.4g}, "
        test = in_words(last["test_accuracy"], last["n_test"])
        return f"epoch {last['epoch']}/{self._epochs}, {loss}test {test}, {seconds:.1f} s"
