"""Runs side by side: small ones leave most of a GPU idle, and on a CPU more threads than a small one can use.

Each process trains one run after another. It is told which through a pipe of its own, and reports through it; that pipe
breaks when either side dies, so that nobody waits for the dead.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from studies.grid.failure import OF_ONE_RUN, Failure
from studies.grid.progress import Progress
from wdiv.errors import BadInput, WdivError
from wdiv.store.keep import Keep
from wdiv.tuning.data.images import Split
from wdiv.tuning.training.interrupt import Stop, Stopped
from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["side_by_side"]

LOOK = 0.2
"""Seconds from one look at what was asked to the next."""


@dataclass(frozen=True)
class _Worker:
    """What a process is given once. jobs: how many share the machine; asked: the signal to stop by, or 0; keep: which
    epochs stay."""

    specs: Sequence[RunSpec]
    split: Split
    out: Path
    device: str
    threads: int
    jobs: int
    asked: Any
    keep: Keep


def side_by_side(
    specs: Sequence[RunSpec], names: Sequence[str], split: Split, out: Path, device: str, progress: Progress,
    stop: Stop, keep: Keep, jobs: int,
) -> list[Failure]:  # fmt: skip
    """Train runs in ``jobs`` processes that share PyTorch's threads. Returns those that diverged or are damaged.

    A run's bits depend on its threads, on a CPU: they are those of as many jobs. Another error of one run ends all,
    once their steps are finished and saved; so does ``stop``. Raises what the run raised, and
    :class:`~wdiv.errors.WdivError` where a process died. Interrupted itself, it kills them: what they saved stays.
    """
    import torch

    _check_main()
    jobs = min(jobs, len(specs))
    context = get_context("spawn")  # a forked process can use neither CUDA nor the threads that were there before
    asked = context.Value("i", 0, lock=False)
    worker = _Worker(tuple(specs), split, out, device, max(1, torch.get_num_threads() // jobs), jobs, asked, keep)
    grid = _Grid(progress, list(names), [spec.recipe.epochs for spec in specs])
    with _started(context, worker, jobs) as ends:
        while ends:
            ready: list[Any] = wait(list(ends), LOOK)
            for end in ready:
                try:
                    what, *told = end.recv()
                except (EOFError, OSError):
                    grid.died(end, ends.pop(end))
                else:
                    grid.hear(end, what, told)
                    if what == "ready":
                        end.send(None if asked.value else grid.next(end))
            if (stop.signum or grid.problem) and not asked.value:
                asked.value = stop.signum or signal.SIGTERM
    if grid.problem is not None:
        raise grid.problem
    if stop.signum is not None:
        raise Stopped("stopped between two runs", stop.signum)
    return grid.failed


def _check_main() -> None:
    """Each process imports the program anew. One read from standard input cannot be, and starting would wait forever:
    Python writes to a process that has died."""
    import __main__

    program = getattr(__main__, "__file__", None)
    if program is not None and not Path(program).exists():
        raise BadInput(f"--jobs: the program {program} cannot be imported by other processes; put it into a file")


@contextmanager
def _started(context: Any, worker: _Worker, jobs: int) -> Iterator[dict[Any, Any]]:
    """The processes, by the end of the pipe that leads to each. None is left when the block is."""
    ends, processes = {}, []
    try:
        with _signals_held():
            for _ in range(jobs):
                ours, theirs = context.Pipe()
                processes.append(context.Process(target=_work, args=(worker, theirs)))
                processes[-1].start()
                theirs.close()
                ends[ours] = processes[-1]
        yield ends
        for process in processes:
            process.join()
    finally:
        for process in processes:
            if process.pid is not None:
                process.kill()
                process.join()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Signals wait until the block is over. Processes that are born in it never hear them: a terminal sends Ctrl-C to
    all, and it is the parent that passes it on."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Grid:
    """What the parent knows: which process trains which run, and how the runs ended."""

    def __init__(self, progress: Progress, names: list[str], epochs: list[int]) -> None:
        self._progress, self._names, self._epochs = progress, names, epochs
        self._left = iter(range(len(names)))
        self._runs: dict[Any, int] = {}
        self._open: dict[Any, tuple[Any, Any]] = {}
        self.failed: list[Failure] = []
        self.problem: BaseException | None = None

    def next(self, end: Any) -> int | None:
        """The run that a process shall train, and None when there are no more."""
        number = next(self._left, None)
        if number is not None:
            context = self._progress.run(self._names[number], self._epochs[number])
            self._runs[end], self._open[end] = number, (context, context.__enter__())
        return number

    def hear(self, end: Any, what: str, told: list[Any]) -> None:
        if what in ("batch", "epoch"):
            getattr(self._open[end][1], what)(*told)
        elif what == "over":
            self._over(end, told[0])

    def died(self, end: Any, process: Any) -> None:
        """A pipe is broken: the process has ended, with or without our leave."""
        process.join()
        if end in self._runs:
            code = process.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            self._over(end, WdivError(f"its process {how}; if memory was short, fewer --jobs need less"))
        elif process.exitcode and self.problem is None:
            self.problem = WdivError(f"a process of --jobs could not start (exit code {process.exitcode})")

    def _over(self, end: Any, error: BaseException | None) -> None:
        name = self._names[self._runs.pop(end)]
        context, _ = self._open.pop(end)
        if isinstance(error, OF_ONE_RUN):
            self.failed.append(Failure(name, error))
            self._progress.say(f"{self.failed[-1].what}: {self.failed[-1]}")
        elif isinstance(error, Stopped):
            self.problem = self.problem or Stopped(f"{name}: {error}", error.signum)
        elif error is not None and (self.problem is None or isinstance(self.problem, Stopped)):
            self.problem = WdivError(f"{name}: {error}") if type(error) is WdivError else error
        try:
            context.__exit__(type(error) if error else None, error, None)
        except BaseException as raised:
            if raised is not error:
                raise


# --- in the process ------------------------------------------------------------------------------------------------


def _work(worker: _Worker, end: Any) -> None:
    """Train the runs whose numbers come through the pipe, until none does."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    import torch

    from wdiv.store.reader import CheckpointStore
    from wdiv.tuning.prefix.feature_store import FeatureStore
    from wdiv.tuning.training.network_cache import NetworkCache
    from wdiv.tuning.training.run import fine_tune

    torch.set_num_threads(worker.threads)
    features, networks = FeatureStore(worker.out / "features", share=worker.jobs), NetworkCache()
    store, stop = CheckpointStore.at(worker.out), Stop()
    threading.Thread(target=_listen, args=(worker.asked, stop), daemon=True).start()
    try:
        end.send(("ready",))
        while (number := end.recv()) is not None:
            error = None
            try:
                fine_tune(
                    worker.specs[number], worker.split, store, device=worker.device, watcher=_Reporter(end),
                    features=features, networks=networks, stop=stop, keep=worker.keep,
                    extend=True,
                )  # fmt: skip
            except Exception as raised:
                error = raised
            _send_end(end, error)
            end.send(("ready",))
    except (EOFError, BrokenPipeError, ConnectionError):  # the parent is gone; what was to be saved is
        return


def _send_end(end: Any, error: BaseException | None) -> None:
    try:
        end.send(("over", error))
    except (TypeError, AttributeError, ValueError):  # an error that does not travel
        end.send(("over", RuntimeError(f"{type(error).__name__}: {error}")))


def _listen(asked: Any, stop: Stop) -> None:
    """Ask the run to stop when the parent says so, or is no more."""
    parent = parent_process()
    while stop.signum is None:
        if wait([parent.sentinel] if parent is not None else [], LOOK):
            stop.ask(signal.SIGTERM)
        elif asked.value:
            stop.ask(asked.value)


class _Reporter:
    """Tells the parent; of batches not more often than it looks."""

    def __init__(self, end: Any) -> None:
        self._end, self._last = end, 0.0

    def batch(self, epoch: int, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._last > LOOK:
            self._last = now
            self._end.send(("batch", epoch, done, of))

    def epoch(self, row: dict[str, Any]) -> None:
        self._end.send(("epoch", row))
