"""Measures of runs that kept their sums as they trained: byte for byte those of the weights, which nobody reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wdiv
from tests.fabric import make_store, rewrite, run_states, shorten
from tests.store.test_running_metrics import live_of, with_live
from wdiv.cache.measures import measured
from wdiv.metrics import METRICS
from wdiv.store import tensors
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.running_metrics import NAME, RunningMetrics, read_running_sums

ABLE = ["gaussian", "paired"]
BN = "toynet-toy-n2-bn+fc-auto-s0"


@pytest.fixture(scope="module")
def _kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_live(make_store(tmp_path_factory.mktemp("kept") / "store", ("fc", "bn+fc", "scratch"), (0,), 3))


@pytest.fixture
def kept(_kept: Path, tmp_path: Path) -> Path:
    """Three runs of three epochs, and the sums of all of these."""
    return Path(shutil.copytree(_kept, tmp_path / "store"))


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The name of each file that a tensor is read of."""
    found: list[str] = []
    real = tensors.read

    def noted(path: Path, *args: Any, **kwargs: Any) -> np.ndarray:
        found.append(Path(path).stem)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(tensors, "read", noted)
    return found


def without(store: Path) -> Path:
    """The same store, as if no sums had been kept."""
    shutil.rmtree(store.parent / "without", ignore_errors=True)
    other = Path(shutil.copytree(store, store.parent / "without" / store.name))
    for file in (*other.glob(f"runs/*/{NAME}"), *other.glob("*.nc")):
        file.unlink()
    return other


def in_lines(run: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Change the lines of a run's sums."""
    lines = (run / NAME).read_text().splitlines()
    (run / NAME).write_text("".join(line + "\n" for line in change(lines)))


@pytest.mark.parametrize("reference", ["pretrained", 0, "0"])
def test_the_file_is_the_same_and_no_weight_is_read(kept: Path, read: list[str], reference: str | int) -> None:
    other = without(kept)
    expected = measured(other, ABLE, reference)
    assert read
    read.clear()
    assert measured(kept, ABLE, reference).identical(expected)
    assert not read
    assert (kept / "measures.nc").read_bytes() == (other / "measures.nc").read_bytes()


@pytest.mark.parametrize("metric", [name for name, one in METRICS.items() if one.family in ABLE])
def test_each_metric_for_itself(kept: Path, read: list[str], metric: str) -> None:
    assert measured(kept, metric, 0).identical(wdiv.divergence(wdiv.open(without(kept)), metric, 0))
    read.clear()
    assert measured(kept, [metric, "l2"], 0).identical(wdiv.divergence(wdiv.open(without(kept)), [metric, "l2"], 0))


def test_what_is_undefined_is_flagged_alike(tmp_path: Path) -> None:
    """Weights that are inf, NaN, constant or zero, each at an epoch of its own."""
    store = make_store(tmp_path / "store", ("bn+fc",), (0,), 3)
    (run,) = CheckpointStore.open(store)
    gamma, mean = "stem.bn.weight", "stage.bn.running_mean"
    changes: dict[int, dict[str, Any]] = {
        1: {gamma: np.zeros_like},
        2: {gamma: np.ones_like, "head.weight": lambda values: values * np.float32(1e25)},
        3: {gamma: lambda values: values * np.inf, mean: lambda values: values * np.nan},
    }
    states = run_states("bn+fc", 0, 3)
    live = RunningMetrics(run.path, run.record, states[0])
    for row, state in zip(run.history(), states, strict=True):
        for key, change in changes.get(row["epoch"], {}).items():
            state[key] = change(state[key]).astype(np.float32)
        if row["epoch"]:
            rewrite(run.epoch_file(row["epoch"]), changes[row["epoch"]])
        live.append(row, state)
    for reference in ("pretrained", 0):
        assert measured(store, ABLE, reference).identical(measured(without(store), ABLE, reference))


def test_other_metrics_and_references_are_of_the_weights(kept: Path, read: list[str]) -> None:
    other = without(kept)
    for metrics, reference in (
        (["relative_l2", "kolmogorov_smirnov"], 0), ("l2", "previous"), ("l2", 1), ("l2", BN), ("straightness", 0),
        ("spectral", 0),
    ):  # fmt: skip
        read.clear()
        assert measured(kept, metrics, reference).identical(wdiv.divergence(wdiv.open(other), metrics, reference))
        assert read


def test_a_metric_more_and_an_epoch_more(kept: Path, read: list[str]) -> None:
    expected = wdiv.divergence(wdiv.open(without(kept)), ["l2", "gaussian_kl"], 0)
    history = kept / "runs" / BN / "history.jsonl"
    whole = history.read_text()
    shorten(kept, BN, 2)
    measured(kept, "l2", 0)
    history.write_text(whole)
    read.clear()
    assert measured(kept, ["l2", "gaussian_kl"], 0).identical(expected)
    assert not read


def changed_digit(line: str) -> str:
    """Another number, of as many digits, in place of a sum."""
    at = line.index("[") + 4
    return line[:at] + str((int(line[at]) + 1) % 10) + line[at + 1 :]


def of_before(line: str) -> str:
    told = json.loads(line)
    return json.dumps({"epoch": told["epoch"], "sums": told["sums"]}, separators=(",", ":"))


@pytest.mark.parametrize(
    ("change", "unread"),
    [
        (lambda lines: [*lines[:2], changed_digit(lines[2]), lines[3]], {0, 1, 3}),
        (lambda lines: [*lines[:2], lines[2][:-20], lines[3]], {0, 1, 3}),
        (lambda lines: [*lines[:2], of_before(lines[2]), lines[3]], {0, 1, 3}),
        (lambda lines: [*lines[:3], lines[3].replace('"format":1', '"format":2')], {0, 1, 2}),
        (lambda lines: [*lines[:2], lines[3]], {0, 1, 3}),
        (lambda lines: [*lines, lines[2].replace('"epoch":2', '"epoch":1')], {0, 1, 2, 3}),
        (lambda lines: [*lines[3:], *lines[:3], "", "[]", '{"epoch":[]}'], {0, 1, 2, 3}),
        (lambda lines: lines[1:], set()),
        (lambda lines: [changed_digit(lines[0]), *lines[1:]], set()),
        (lambda lines: [*map(of_before, lines)], set()),
        (lambda lines: [], set()),
    ],
    ids=[
        "a digit", "cut short", "of before", "of a later wdiv", "missing", "of another epoch", "in another order",
        "no start", "a damaged start", "all of before", "empty",
    ],
)  # fmt: skip
def test_of_a_line_that_is_not_to_be_trusted_the_weights_are_read(
    kept: Path, read: list[str], change: Callable[[list[str]], list[str]], unread: set[int]
) -> None:
    expected = measured(without(kept), ABLE, 0)
    in_lines(kept / "runs" / BN, change)
    (sums,) = [read_running_sums(run, proven=True) for run in CheckpointStore.open(kept) if run.path.name == BN]
    assert sums is not None
    assert set(sums.epochs) == unread
    read.clear()
    assert measured(kept, ABLE, 0).identical(expected)
    assert {int(name) for name in read if name.isdecimal()} - {0} == {1, 2, 3} - unread


def test_a_line_is_of_the_time_at_which_the_epoch_was_saved(kept: Path, read: list[str]) -> None:
    """An epoch that was trained twice, and of whose second time the line is lost: the first one's is not taken."""
    folder = kept / "runs" / BN
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    rows[3]["seconds"] += 1e-9
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = measured(without(kept), ABLE, 0)
    read.clear()
    assert measured(kept, ABLE, 0).identical(expected)
    assert {name for name in read if name.isdecimal()} == {"0000", "0003"}


def test_sums_that_count_from_another_start_are_not_taken(kept: Path) -> None:
    """A run that goes on where PyTorch draws another head: that of epoch 0 is the start."""
    run = Run(kept / "runs" / BN)
    states = run_states("bn+fc", 0, 3)
    other = states[0] | {"head.weight": states[0]["head.weight"] + np.float32(0.1)}
    live = RunningMetrics(run.path, run.record, other)
    in_lines(run.path, lambda lines: lines[:2])
    for epoch in (2, 3):
        live.append(run.history()[epoch], states[epoch])
    seen, proven = read_running_sums(run), read_running_sums(run, proven=True)
    assert seen is not None
    assert proven is not None
    assert (seen.epochs, proven.epochs) == ((0, 1, 2, 3), (0, 1))
    assert measured(kept, ABLE, 0).identical(measured(without(kept), ABLE, 0))


def test_runs_with_and_without_sums_side_by_side(kept: Path, read: list[str]) -> None:
    expected = measured(without(kept), ABLE, 0)
    (kept / "runs" / BN / NAME).unlink()
    read.clear()
    assert measured(kept, ABLE, 0).identical(expected)
    assert read
    live_of(Run(kept / "runs" / BN), first=1)  # a run that began before there were such lines
    (kept / "measures.nc").unlink()
    assert measured(kept, ABLE, 0).identical(expected)
