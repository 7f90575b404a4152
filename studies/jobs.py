"""Runs side by side: small ones leave most of a GPU idle, and on a CPU more threads than a small one can use."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

from studies.progress import Progress

if TYPE_CHECKING:
    from wdiv.tuning.images import Split
    from wdiv.tuning.run import RunSpec
    from wdiv.tuning.stopping import Stop

__all__ = ["side_by_side"]

LOOK = 0.2
"""Seconds from one look at what the processes report to the next."""


@dataclass
class _Worker:
    """What a process is given once: the images, where runs are kept, and the ways to and from its parent."""

    split: Split
    out: Path
    device: str
    threads: int
    events: Any
    asked: Any


_worker: _Worker | None = None


def side_by_side(
    specs: Sequence[RunSpec], names: Sequence[str], split: Split, out: Path, device: str, progress: Progress,
    stop: Stop, jobs: int,
) -> list[str]:  # fmt: skip
    """Train runs in ``jobs`` processes that share PyTorch's threads. Returns a line for each that diverged.

    A run's bits depend on its threads, on a CPU: they are those of as many jobs. An error of one run ends all, once
    their steps are finished and saved; so does ``stop``. Raises what the run raised.
    """
    import torch

    from wdiv.tuning.loop import Diverged
    from wdiv.tuning.stopping import Stopped

    context = get_context("spawn")  # a forked process can use neither CUDA nor the threads that were there before
    events, asked = context.Queue(), context.Value("i", 0)
    worker = _Worker(split, out, device, max(1, torch.get_num_threads() // jobs), events, asked)
    diverged: list[str] = []
    problem: BaseException | None = None
    watched = _Watched(progress, dict(zip(names, specs, strict=True)))
    with ProcessPoolExecutor(jobs, context, _begin, (worker,)) as pool:
        futures: dict[Future[None], str] = {
            pool.submit(_train, spec, name): name for spec, name in zip(specs, names, strict=True)
        }
        while futures:
            done = wait(futures, LOOK, "FIRST_COMPLETED").done
            watched.pass_on(events)
            for future in done:
                name = futures.pop(future)
                error = None if future.cancelled() else future.exception()
                if isinstance(error, Diverged):
                    diverged.append(f"{name}: {error}")
                    progress.say(f"stopped: {diverged[-1]}")
                elif isinstance(error, Stopped):
                    problem = problem or Stopped(f"{name}: {error}", error.signum)
                elif error is not None and (problem is None or isinstance(problem, Stopped)):
                    problem = error
                watched.close(name, error, cancelled=future.cancelled())
            if (stop.signum or problem) and not asked.value:
                asked.value = stop.signum or signal.SIGTERM
                for future in futures:
                    future.cancel()
    if problem is None and stop.signum is not None:
        problem = Stopped("stopped between two runs", stop.signum)
    if problem is not None:
        raise problem
    return diverged


class _Watched:
    """Passes on what the processes report to the progress of each run, which begins with its first report."""

    def __init__(self, progress: Progress, specs: dict[str, RunSpec]) -> None:
        self._progress, self._specs = progress, specs
        self._open: dict[str, tuple[Any, Any]] = {}

    def pass_on(self, events: Any) -> None:
        while True:
            try:
                name, what, *told = events.get_nowait()
            except Empty:
                return
            getattr(self._watcher(name), what)(*told)

    def _watcher(self, name: str) -> Any:
        if name not in self._open:
            context = self._progress.run(name, self._specs[name].recipe.epochs)
            self._open[name] = context, context.__enter__()
        return self._open[name][1]

    def close(self, name: str, error: BaseException | None, *, cancelled: bool) -> None:
        if cancelled:
            return
        self._watcher(name)
        context, _ = self._open.pop(name)
        try:
            context.__exit__(type(error) if error else None, error, None)
        except BaseException as raised:
            if raised is not error:
                raise


def _begin(worker: _Worker) -> None:
    """In a new process: the parent alone hears of signals, and passes them on."""
    import torch

    global _worker
    _worker = worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    torch.set_num_threads(worker.threads)


class _Reporter:
    """Tells the parent; of batches not more often than it looks."""

    def __init__(self, name: str, events: Any) -> None:
        self._name, self._events, self._last = name, events, 0.0

    def batch(self, epoch: int, done: int, of: int) -> None:
        now = time.monotonic()
        if now - self._last > LOOK:
            self._last = now
            self._events.put((self._name, "batch", epoch, done, of))

    def epoch(self, row: dict[str, Any]) -> None:
        self._events.put((self._name, "epoch", row))


def _train(spec: RunSpec, name: str) -> None:
    from wdiv.tuning.features import FeatureStore
    from wdiv.tuning.run import fine_tune
    from wdiv.tuning.stopping import Stop, Stopped

    worker = _worker
    assert worker is not None
    if worker.asked.value:
        raise Stopped(f"stopped before {name}", worker.asked.value)
    stop, over = Stop(), threading.Event()

    def listen() -> None:
        while not over.wait(LOOK):
            if worker.asked.value:
                stop.ask(worker.asked.value)
                return

    ear = threading.Thread(target=listen, daemon=True)
    ear.start()
    try:
        store = vars(worker).setdefault("features", FeatureStore(worker.out / "features"))
        reporter = _Reporter(name, worker.events)
        fine_tune(spec, worker.split, worker.out, device=worker.device, watcher=reporter, features=store, stop=stop)
    finally:
        over.set()
        ear.join()
