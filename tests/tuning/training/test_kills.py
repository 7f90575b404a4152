"""kill -9 at random instants, and before each file of a commit: every run ends with the bytes it would have had.

What each step of a commit leaves behind if it is the last is a law of :mod:`tests.store.test_writer`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import wdiv
from tests.conftest import ROOT, some
from tests.tuning.tiny import HARD, contents
from wdiv.store.reader import Run

KILLS = (".safetensors", "resume.pt", "history.jsonl", None)
"""Where each run is killed: before such a file is renamed into its place, or (None) at a random instant."""


@pytest.fixture(scope="module")
def killer(weights: Path) -> Iterator[Callable[..., int]]:
    """Say a line to :mod:`tests.tuning.training.kill_me`; get the number that it answers."""
    command = [sys.executable, "-m", "tests.tuning.training.kill_me", str(weights)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def ask(*words: object) -> int:
            stdin.write(" ".join(map(str, words)) + "\n")
            stdin.flush()
            return int(stdout.readline())

        yield ask
        stdin.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs POSIX processes")
@pytest.mark.parametrize("name", some(HARD))
def test_a_run_killed_with_signal_9_ends_as_one_never_killed(
    name: str, killer: Callable[..., int], tmp_path: Path
) -> None:
    whole, cut, dice = tmp_path / "whole", tmp_path / "cut", random.Random(name)

    def saved() -> int:
        return sum(len(Run(record.parent).history()) for record in cut.glob("runs/*/run.json"))

    assert killer(name, whole) == 0
    (run,) = (Run(path) for path in (whole / "runs").iterdir())
    last, reached = run.epochs()[-1], 0
    for kill, where in enumerate(dice.sample(KILLS, len(KILLS))):
        target = min(last - 1, kill * last // len(KILLS))  # so that it gets on
        assert killer(name, cut, target, where or dice.uniform(0.0, 1.5 / len(KILLS))) == -signal.SIGKILL
        assert saved() >= reached, "an epoch once saved stays"
        reached = saved()
        assert reached <= last, "it is killed before it is through"
    assert killer(name, cut) == 0
    for file in cut.rglob("*.tmp"):  # of a write that was cut off; nobody reads it
        file.unlink()
    assert contents(cut) == contents(whole)
    (verdict,) = wdiv.verify(cut)
    assert verdict.problems == ()
