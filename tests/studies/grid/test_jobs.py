"""Runs side by side are the same runs; and what is asked to stop, by whomever, stops whole."""

from __future__ import annotations

import multiprocessing
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studies.cli.bars import Bars
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.conftest import once
from tests.fabric import shorten
from tests.forked import forking
from tests.studies.cli.test_cli import wdiv
from tests.studies.conftest import PATIENCE, TOML
from tests.studies.held import WAITS, command, work
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput, WdivError

POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals to send")


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes of ``--jobs`` that need not import PyTorch anew. Those of a signal's test are what users start."""
    monkeypatch.setattr("studies.grid.jobs.get_context", forking)


def epochs(store: Path) -> dict[str, bytes]:
    """What every run saved."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.glob("runs/*/epochs/*"))}


class Lines(Bars):
    """Keeps what would be printed."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_two_jobs_train_what_one_trains(small: Study, tmp_path: Path) -> None:
    both = override(small, {"seeds": [0, 1]})
    run_grid(both, tmp_path / "one", device="cpu")
    told = Lines()
    run_grid(both, tmp_path / "two", device="cpu", progress=told, jobs=2)
    assert epochs(tmp_path / "two") == epochs(tmp_path / "one")
    assert sum("epoch 2/2, loss " in line for line in told.lines) == 4
    again = Lines()
    run_grid(both, tmp_path / "two", device="cpu", progress=again, jobs=2)
    assert sum("was finished before" in line for line in again.lines) == 4


@once
def test_a_run_that_diverges_leaves_the_others_be(small: Study, tmp_path: Path) -> None:
    grid = override(small, {"strategies": ["fc=1e38", "fc"], "optimizer": "sgd", "epochs": 4})
    told = Lines()
    _, diverged = run_grid(grid, tmp_path / "store", device="cpu", progress=told, jobs=2)
    (failure,) = diverged
    assert "fc=1e38" in failure.run
    assert "the largest gradient was that of classifier.1." in str(failure.error)
    assert f"stopped: {failure}" in told.lines
    assert [state.state for state in states(tmp_path / "store")] == ["diverged", "finished"]


@once
def test_a_damaged_run_is_left_and_says_what_it_was(small: Study, tmp_path: Path) -> None:
    grid = override(small, {"strategies": ["fc", "bn+fc"], "epochs": 3})
    run_grid(grid, tmp_path / "store", device="cpu")
    first = sorted((tmp_path / "store" / "runs").iterdir())[0]
    shorten(tmp_path / "store", first.name, 1)
    (first / "resume.pt").write_text("not what PyTorch wrote")
    (failure,) = run_grid(grid, tmp_path / "store", device="cpu", jobs=2)[1]
    assert failure.run == first.name
    assert "resume.pt: damaged" in str(failure.error)


class Hook(Bars):
    """Does something at the first epoch after the start."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self._do: Callable[[], None] | None = do

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[Any]:
        with super().run(run, epochs) as watcher:
            tell = watcher.epoch

            def epoch(row: dict[str, Any]) -> None:
                tell(row)
                if row["epoch"] and self._do is not None:
                    do, self._do = self._do, None
                    do()

            watcher.epoch = epoch  # type: ignore[method-assign]
            yield watcher


@once
def test_a_process_that_dies_ends_the_others_and_nothing_is_lost(
    small: Study, tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = override(small, GRID), tmp_path / "store"

    def kill() -> None:
        multiprocessing.active_children()[0].kill()

    with monkeypatch.context() as patched:
        patched.setattr("studies.grid.jobs._work", work)
        with pytest.raises(WdivError, match=r"-s0: its process was killed by signal 9; if memory was short"):
            run_grid(grid, out, device="cpu", progress=Hook(kill), jobs=2)
    assert multiprocessing.active_children() == []
    assert epochs(out).items() <= whole.items()
    run_grid(grid, out, device="cpu", jobs=2)
    assert epochs(out) == whole


def test_a_program_without_a_file_is_told_so_and_does_not_hang(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "<stdin>", raising=False)  # as Python calls it
    with pytest.raises(BadInput, match="--jobs: the program <stdin> cannot be imported by other processes"):
        run_grid(small, tmp_path / "store", device="cpu", jobs=2)


@once
def test_interrupted_at_once_it_leaves_no_process_behind(small: Study, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(override(small, GRID), tmp_path / "store", device="cpu", progress=Hook(interrupt), jobs=2)
    assert multiprocessing.active_children() == []


GRID = {"strategies": ["conv+bn+fc", "fc for 1 then bn+fc"], "epochs": WAITS + 2}


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the grid saves that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    run_grid(override(load(str(folder / "small.toml")), GRID), folder / "store", device="cpu")
    return epochs(folder / "store")


def begun(
    toml: Path, store: Path, jobs: int, get_context: Callable[[str], Any] = multiprocessing.get_context
) -> tuple[Any, list[str]]:
    """The grid's process, once an epoch is saved, and the words that it was called with."""
    words = ["run", str(toml), "--out", str(store), "--epochs", str(GRID["epochs"]), "--device", "cpu"]
    words += ["--jobs", str(jobs), *(word for strategy in GRID["strategies"] for word in ("--strategy", strategy))]
    process = forking().Process(target=command, args=(words, store.with_suffix(".txt"), get_context))
    process.start()
    end = time.monotonic() + PATIENCE
    while not any(store.glob("runs/*/epochs/0000.safetensors")):
        assert process.is_alive(), store.with_suffix(".txt").read_text()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, words


@once
@POSIX
def test_processes_whose_parent_is_killed_save_and_end(toml: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "store"
    process, _ = begun(toml, out, 2, forking)
    process.kill()
    process.join()
    end = time.monotonic() + PATIENCE
    while any(state.state == "running" for state in states(out)):
        assert time.monotonic() < end, "a process goes on"
        time.sleep(0.1)
    assert epochs(out).items() <= whole.items()


@once
@POSIX
@pytest.mark.parametrize(("signum", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_saves_says_how_to_go_on_and_changes_nothing(
    signum: signal.Signals, jobs: int, toml: Path, tmp_path: Path, whole: dict[str, bytes]
) -> None:
    out = tmp_path / "stopped"
    process, words = begun(toml, out, jobs)
    os.kill(process.pid, signum)
    process.join(PATIENCE)
    told = out.with_suffix(".txt").read_text()
    assert process.exitcode == 128 + signum, told
    assert "Traceback" not in told
    head, _, again = told.strip().splitlines()[-1].partition("to go on: ")
    assert re.fullmatch(
        r"Stopped: .* stopped (in epoch \d+, after step \d+|after epoch \d+)\. All of it is saved; ", head
    )
    assert shlex.split(again) == ["wdiv", *words]
    saved = epochs(out)
    assert saved
    assert saved.items() <= whole.items()
    assert len(saved) < len(whole)
    assert "stopped" in wdiv("status", out).stdout
    before = {file: file.read_text() for file in out.glob("runs/*/history.jsonl")}
    wdiv(*words)
    assert epochs(out) == whole
    for file, rows in before.items():
        assert file.read_text().startswith(rows)
        assert len(file.read_text().splitlines()) == 1 + GRID["epochs"]
    assert "2 runs intact" in wdiv("verify", out).stdout
