"""A run that is over is given more epochs: it ends as the run that was asked for them first, or says why it cannot."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.tuning.tiny import contents, small_run
from wdiv.errors import BadInput
from wdiv.store.keep import EXTEND, Keep
from wdiv.store.reader import Run
from wdiv.store.verify import verify
from wdiv.tuning.data.images import Split
from wdiv.tuning.training import run as tuning
from wdiv.tuning.training.run import fine_tune

RUNS: dict[str, dict[str, Any]] = {
    "adam": {"strategy": "bn+fc"},
    "momentum": {"strategy": "fc", "optimizer": "sgd", "momentum": 0.9, "warmup": 1.0},
    "plain": {"strategy": "fc", "optimizer": "sgd"},
    "phases": {"strategy": "fc for 1 then bn@stage2+fc", "bn_mode": "adapt", "augment": ("flip",)},
    "steps": {"strategy": "conv@stage2+fc+rgn", "steps_per_epoch": 3, "mixup": 0.2},
    "patience": {"strategy": "bn+fc", "validation": 0.25, "patience": 3},
}


@pytest.fixture(autouse=True)
def _each_epoch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "COMMIT_EVERY", 0.0)


def trained(weights: Path, digits: Split, out: Path, epochs: int, keep: str = "all", **how: Any) -> Run:
    spec = small_run(weights, **{"per_class": 4, "batch_size": 10, "epochs": epochs, **how})
    return fine_tune(spec, digits, out, device="cpu", keep=Keep(keep), extend=True)


@pytest.mark.parametrize("name", RUNS)
def test_it_ends_as_the_longer_run(name: str, weights: Path, digits: Split, tmp_path: Path) -> None:
    keep = "first,resume" if name in ("adam", "patience") else "all"
    whole = trained(weights, digits, tmp_path / "whole", 4, keep, **RUNS[name])
    short = trained(weights, digits, tmp_path / "short", 2, keep, **RUNS[name])
    assert (short.record.recipe["epochs"], short.final) == (2, short.history()[-1].get("final", 2))
    longer = trained(weights, digits, tmp_path / "short", 4, keep, **RUNS[name])
    assert longer.record == whole.record
    assert contents(tmp_path / "short") == contents(tmp_path / "whole")
    assert [one.problems for one in verify(tmp_path / "short")] == [()]


def test_a_run_that_is_not_over_may_be_asked_for_more(weights: Path, digits: Split, tmp_path: Path) -> None:
    trained(weights, digits, tmp_path / "whole", 4)

    class Enough(BaseException):
        pass

    class Watch(tuning.Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            if row["epoch"] == 1:
                raise Enough

    spec = small_run(weights, per_class=4, batch_size=10, epochs=3)
    with suppress(Enough):
        fine_tune(spec, digits, tmp_path / "cut", device="cpu", watcher=Watch())
    trained(weights, digits, tmp_path / "cut", 4)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


class Killed(BaseException):
    """Stands for a kill."""


@pytest.mark.parametrize("where", ["resume.pt", "history.jsonl", "run.json", EXTEND])
def test_killed_in_the_middle_what_counted_counts_until_it_is_over(
    where: str, weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What each step leaves behind is a law of tests/store/test_writer.py."""
    how = {"strategy": "fc", "validation": 0.25, "patience": 3}
    whole = trained(weights, digits, tmp_path / "whole", 3, **how)
    before, replace = trained(weights, digits, tmp_path / "cut", 1, **how), os.replace
    left = [2 if where == "history.jsonl" else 1]

    def dies(source: Path, target: Path) -> None:
        left[0] -= str(target).endswith(where)
        if not left[0]:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(os, "replace", dies)
        trained(weights, digits, tmp_path / "cut", 3, **how)
    now = Run(before.path)
    assert (left, now.finished, now.record.recipe["epochs"]) == ([0], True, 1)
    assert now.final == (whole.final if now.history()[-1]["epoch"] == 3 else before.final)
    assert [one.problems for one in verify(tmp_path / "cut")] == [()]
    trained(weights, digits, tmp_path / "cut", 3, **how)
    after, wanted = contents(tmp_path / "cut"), contents(tmp_path / "whole")
    for files in (after, wanted):  # a kill right before it is written leaves none
        files.pop(f"runs/{now.path.name}/{EXTEND}", None)
    assert after == wanted


def test_patience_at_its_end_stays_there(weights: Path, digits: Split, tmp_path: Path) -> None:
    how = {"strategy": "conv+bn+fc=1e-1", "validation": 0.4, "patience": 1}
    long = trained(weights, digits, tmp_path / "long", 9, **how)
    last = long.history()[-1]["epoch"]
    assert last < 9, "it is stopped by patience"
    for short in {last, last + 1}:
        out = tmp_path / str(short)
        trained(weights, digits, out, short, **how)
        assert trained(weights, digits, out, 9, **how).record == long.record
        assert {k: v for k, v in contents(out).items() if EXTEND not in k} == {
            k: v for k, v in contents(tmp_path / "long").items() if EXTEND not in k
        }


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"schedule": "cosine"}, "schedule 'cosine' is spread over all epochs"),
        ({"schedule": "one-cycle"}, "schedule 'one-cycle' is spread"),
        ({"strategy": "fc for 0.5 then bn+fc"}, "its phases are shares of the epochs"),
        ({"strategy": "fc then bn+fc"}, "its phases are shares of the epochs"),
        ({"strategy": "fc for 1 then gradual"}, "what its last phase trains is spread over its epochs"),
        ({"warmup": 2.0}, "its warm-up of 2 epochs was cut short"),
    ],
    ids=str,
)
def test_what_would_have_been_another_run_is_refused(
    how: dict[str, Any], words: str, weights: Path, digits: Split, tmp_path: Path
) -> None:
    run = trained(weights, digits, tmp_path, 2, **how)
    before = contents(tmp_path)
    with pytest.raises(BadInput, match=r"made for epochs 2, now 6: .*; give another --out to train it anew") as caught:
        trained(weights, digits, tmp_path, 6, **how)
    assert words in str(caught.value)
    assert contents(tmp_path) == before
    assert run.finished


def test_without_the_optimizer_s_state_it_is_refused(weights: Path, digits: Split, tmp_path: Path) -> None:
    run = trained(weights, digits, tmp_path, 1, "first,last")
    assert not (run.path / EXTEND).exists()
    with pytest.raises(BadInput, match="is kept with keep 'all' or 'resume' alone; give another --out"):
        trained(weights, digits, tmp_path, 2)
    trained(weights, digits, tmp_path / "plain", 1, "first,last", **RUNS["plain"])
    assert trained(weights, digits, tmp_path / "plain", 2, **RUNS["plain"]).epochs() == [0, 1, 2]
