"""kill -9 at random instants, fifty times: every run ends with the bytes it would have had."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wdiv
from tests.conftest import ROOT
from tests.tuning.tiny import HARD, contents
from wdiv.store.reader import Run

KILLS = {"phases": 17, "kept": 11, "adapt": 8, "adabn": 7, "gradual": 7}

PAUSE = {"phases": 0.1, "kept": 0.02, "adapt": 0.1, "adabn": 0.1, "gradual": 0.1}
"""Seconds from an epoch's arrival on disk to the kill, at most: some epochs of each run."""


@pytest.fixture(scope="module")
def killer(weights: Path) -> Iterator[Callable[[str], int]]:
    """Say a line to :mod:`tests.tuning.kill_me`, or an empty one for nothing; get the next number it answers."""
    command = [sys.executable, "-m", "tests.tuning.kill_me", str(weights)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask(line: str = "") -> int:
            if line:
                stdin.write(line + "\n")
                stdin.flush()
            return int(stdout.readline())

        yield ask
        stdin.close()


def test_fifty_kills_are_shared_out_over_all_runs_that_are_hard_to_continue() -> None:
    assert set(KILLS) == set(HARD)
    assert sum(KILLS.values()) == 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")
@pytest.mark.parametrize("name", HARD)
def test_a_run_killed_with_signal_9_ends_as_one_never_killed(
    name: str, killer: Callable[[str], int], tmp_path: Path
) -> None:
    whole, cut, dice = tmp_path / "whole", tmp_path / "cut", random.Random(name)

    def saved() -> int:
        return sum(len(Run(record.parent).history()) for record in cut.glob("runs/*/run.json"))

    assert (killer(f"{name} {whole}"), killer("")) == (0, 0)
    (run,) = (Run(path) for path in (whole / "runs").iterdir())
    last = run.epochs()[-1]
    killed, reached = 0, 0
    for kill in range(KILLS[name]):
        target = min(last - 1, kill * last // KILLS[name])  # so that it gets on, whatever else this machine has to do
        child = killer(f"{name} {cut}")
        while saved() <= target and _lives(child):
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, PAUSE[name]))
        with contextlib.suppress(ProcessLookupError):  # it is through already
            os.kill(child, signal.SIGKILL)
        killed += killer("") == -signal.SIGKILL
        assert saved() >= reached, "an epoch once saved stays"
        reached = saved()
    assert killed >= KILLS[name] - 2, "it may be through before it is killed"
    assert killer(f"{name} {cut}") > 0
    assert killer("") == 0
    for file in cut.rglob("*.tmp"):  # of a write that was cut off; nobody reads it
        file.unlink()
    assert contents(cut) == contents(whole)
    (verdict,) = wdiv.verify(cut)
    assert verdict.problems == ()


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False
