"""Runs side by side are the same runs; and what is asked to stop, by whomever, stops whole."""

from __future__ import annotations

import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from studies.grid.progress import Progress
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.conftest import ROOT, once
from tests.studies.conftest import PATIENCE, TOML
from tests.studies.held import WAITS, work
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadStore, WdivError

HELD = [sys.executable, "-c", "from tests.studies.held import main; main()"]


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as each of two jobs has, of two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def epochs(store: Path) -> dict[str, bytes]:
    """What every run saved."""
    return {str(file.relative_to(store)): file.read_bytes() for file in sorted(store.glob("runs/*/epochs/*"))}


class Lines(Progress):
    """Keeps what would be printed."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_two_jobs_train_what_one_trains(small: Study, tmp_path: Path, one_thread: None) -> None:
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
    (line,) = diverged
    assert "fc=1e38" in line
    assert "the largest gradient was that of classifier.1." in line
    assert f"stopped: {line}" in told.lines
    assert [state.state for state in states(tmp_path / "store")] == ["diverged", "finished"]


@once
def test_an_error_of_one_run_ends_all_and_says_what_it_was(small: Study, tmp_path: Path) -> None:
    grid = override(small, {"strategies": ["fc", "bn+fc"], "epochs": 3})
    run_grid(grid, tmp_path / "store", device="cpu")
    first = sorted((tmp_path / "store" / "runs").iterdir())[0]
    (first / "history.jsonl").write_text('{"epoch": 0}\n')
    (first / "resume.pt").write_text("not what PyTorch wrote")
    with pytest.raises(BadStore, match=r"resume\.pt: damaged; delete the run's folder"):
        run_grid(grid, tmp_path / "store", device="cpu", jobs=2)


class Hook(Progress):
    """Does something at the first epoch after the start."""

    def __init__(self, do: Callable[[], None]) -> None:
        super().__init__(quiet=True)
        self._do: Callable[[], None] | None = do

    @contextmanager
    def run_grid(self, run_grid: str, epochs: int) -> Iterator[Any]:
        with super().run(run_grid, epochs) as watcher:
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
    small: Study, tmp_path: Path, whole: dict[str, bytes], one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, out = override(small, GRID), tmp_path / "store"
    monkeypatch.setattr("studies.grid.jobs._work", work)

    def kill() -> None:
        multiprocessing.active_children()[0].kill()

    with pytest.raises(WdivError, match=r"-s0: its process was killed by signal 9; if memory was short"):
        run_grid(grid, out, device="cpu", progress=Hook(kill), jobs=2)
    monkeypatch.undo()
    assert multiprocessing.active_children() == []
    assert epochs(out).items() <= whole.items()
    run_grid(grid, out, device="cpu", jobs=2)
    assert epochs(out) == whole


def test_a_program_without_a_file_is_told_so_and_does_not_hang(toml: Path, tmp_path: Path) -> None:
    program = (
        "from pathlib import Path\nfrom studies.grid.runner import run\nfrom studies.spec.study import load\n"
        f"run(load({str(toml)!r}), Path({str(tmp_path / 'store')!r}), device='cpu', jobs=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=program, capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE
    )
    assert "--jobs: the program <stdin> cannot be imported by other processes" in done.stderr.splitlines()[-1]


@once
def test_interrupted_at_once_it_leaves_no_process_behind(small: Study, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_grid(override(small, GRID), tmp_path / "store", device="cpu", progress=Hook(interrupt), jobs=2)
    assert multiprocessing.active_children() == []


@once
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX processes")
def test_processes_whose_parent_is_killed_save_and_end(toml: Path, tmp_path: Path, whole: dict[str, bytes]) -> None:
    out = tmp_path / "store"
    process, _ = begun(toml, out, jobs=2)
    process.kill()
    process.communicate(timeout=PATIENCE)
    end = time.monotonic() + PATIENCE
    while any(state.state == "running" for state in states(out)):
        assert time.monotonic() < end, "a process goes on"
        time.sleep(0.1)
    assert epochs(out).items() <= whole.items()


GRID = {"strategies": ["conv+bn+fc", "fc for 20 then bn+fc"], "epochs": WAITS + 10}


@pytest.fixture(scope="session")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the grid saves that nobody stops."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "small.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    run_grid(override(load(str(folder / "small.toml")), GRID), folder / "store", device="cpu")
    torch.set_num_threads(before)
    return epochs(folder / "store")


def begun(toml: Path, store: Path, jobs: int) -> tuple[subprocess.Popen[str], list[str]]:
    """The grid's process, once an epoch after the first is saved, and the words that it was called with."""
    epochs = str(GRID["epochs"])
    words = ["run", str(toml), "--out", str(store), "--epochs", epochs, "--device", "cpu", "--jobs", str(jobs)]
    for strategy in GRID["strategies"]:
        words += ["--strategy", strategy]
    process = subprocess.Popen(
        [*HELD, *words], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not any(store.glob("runs/*/epochs/0001.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    return process, words


@once
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals to send")
@pytest.mark.parametrize(("signum", "jobs"), [(signal.SIGINT, 1), (signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_signal_saves_says_how_to_go_on_and_changes_nothing(
    signum: signal.Signals, jobs: int, toml: Path, tmp_path: Path, whole: dict[str, bytes], one_thread: None
) -> None:
    out = tmp_path / "stopped"
    process, words = begun(toml, out, jobs)
    process.send_signal(signum)
    _, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signum, told
    assert "Traceback" not in told
    head, _, again = told.strip().splitlines()[-1].partition("to go on: ")
    assert head.startswith("Stopped: ")
    assert "All of it is saved" in head
    assert shlex.split(again) == ["wdiv", *words]
    saved = epochs(out)
    assert saved
    assert saved.items() <= whole.items()
    assert len(saved) < len(whole)
    run_grid(override(load(str(toml)), GRID), out, device="cpu", jobs=jobs)
    assert epochs(out) == whole
