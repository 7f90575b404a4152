"""Pairs that are kept: the values of wdiv.pairwise, and only what is new is measured."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import wdiv
import wdiv.cache.pairs
from tests.fabric import make_store
from wdiv.cache.pairs import Pair, measured_pairs
from wdiv.errors import BadInput

STRATEGIES = ("fc", "bn+fc", "conv+fc")
RUNS = [f"toynet-toy-n2-{strategy}-auto-s0" for strategy in STRATEGIES]
PAIRS: list[Pair] = list(permutations(RUNS, 2))
METRICS = ("relative_l2", "gaussian_kl")


@pytest.fixture
def three(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store", STRATEGIES, (0,), 1)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pairs each call has measured."""
    done: list[int] = []
    real = wdiv.cache.pairs.pairwise

    def watched(tree: xr.DataTree, metrics: Any, *, only: np.ndarray) -> xr.DataTree:
        done.append(int(only.sum()))
        return real(tree, metrics, only=only)

    monkeypatch.setattr(wdiv.cache.pairs, "pairwise", watched)
    return done


def check(store: Path, found: xr.DataTree, pairs: list[Pair], metrics: tuple[str, ...] = METRICS) -> None:
    everything = wdiv.pairwise(wdiv.open(store), metrics)
    assert list(zip(found["run"].values, found["run_b"].values, strict=True)) == pairs
    for kind, node in everything.children.items():
        for name in (*metrics, "flag"):
            wanted = [node[name].sel(run=a, run_b=b).values for a, b in pairs]
            np.testing.assert_array_equal(found[kind][name].values, wanted)
        assert set(found[kind].data_vars) == {*metrics, "flag"}


@pytest.mark.parametrize("pairs", [PAIRS, PAIRS[::-1], PAIRS[:1]], ids=["all", "backwards", "one"])
def test_the_values_are_those_of_all_pairs(three: Path, pairs: list[Pair]) -> None:
    for _ in range(2):
        check(three, measured_pairs(three, pairs, METRICS), pairs)


def test_only_what_is_new_is_measured(three: Path, work: list[int]) -> None:
    measured_pairs(three, PAIRS[:2], METRICS)
    assert work == [2]
    check(three, measured_pairs(three, PAIRS[:2], "relative_l2"), PAIRS[:2], ("relative_l2",))
    assert work == [2]
    check(three, measured_pairs(three, PAIRS, METRICS), PAIRS)
    assert work == [2, 4]
    measured_pairs(three, PAIRS[:1], "cosine_distance")
    assert work == [2, 4, 1]


@pytest.mark.parametrize(
    ("held", "most", "calls"),
    [(wdiv.cache.pairs.HELD, 32, [3]), (0, 32, [1, 2]), (wdiv.cache.pairs.HELD, 4, [1, 2])],
    ids=str,
)
def test_few_runs_are_measured_together_within_bounds(
    tmp_path: Path, work: list[int], monkeypatch: pytest.MonkeyPatch, held: int, most: int, calls: list[int]
) -> None:
    monkeypatch.setattr(wdiv.cache.pairs, "HELD", held)
    monkeypatch.setattr(wdiv.cache.pairs, "MOST", most)
    store = make_store(tmp_path / "store", STRATEGIES, (0, 1), 1)
    a, b, c, d, e, _ = wdiv.open(store)["run"].values.tolist()
    pairs = [(a, b), (c, d), (b, e)]  # of a and c two clusters: the file keeps another order than was asked for
    for _ in range(2):
        check(store, measured_pairs(store, pairs, METRICS), pairs)
    assert work == calls


def test_a_run_that_went_on_is_measured_again(tmp_path: Path, work: list[int]) -> None:
    store = make_store(tmp_path / "store", STRATEGIES, (0,), 1, planned=2)
    measured_pairs(store, PAIRS, METRICS)
    longer = make_store(tmp_path / "longer", STRATEGIES[:1], (0,), 2)
    for name in ("history.jsonl", "epochs/0002.safetensors"):
        (store / "runs" / RUNS[0] / name).write_bytes((longer / "runs" / RUNS[0] / name).read_bytes())
    check(store, measured_pairs(store, PAIRS, METRICS), PAIRS)
    assert work == [6, 4], "all but the two pairs of the other runs"


def test_a_damaged_file_is_measured_anew(three: Path) -> None:
    measured_pairs(three, PAIRS, METRICS)
    (three / "pairs.nc").write_bytes(b"damaged")
    check(three, measured_pairs(three, PAIRS, METRICS), PAIRS)


def test_each_architecture_has_its_file(three: Path) -> None:
    make_store(three, ("fc", "bn+fc"), (0,), 1, label="other")
    measured_pairs(three, PAIRS, METRICS, "toynet")
    measured_pairs(
        three,
        [(run.replace("toynet", "other"), RUNS[0].replace("toynet", "other")) for run in RUNS[1:2]],
        METRICS,
        "other",
    )
    assert {file.name for file in three.glob("pairs*")} == {"pairs-toynet.nc", "pairs-other.nc"}


def test_a_run_that_is_not_there_and_no_pairs(three: Path) -> None:
    with pytest.raises(BadInput, match=f"no run '{RUNS[0]}x'; did you mean"):
        measured_pairs(three, [(RUNS[0] + "x", RUNS[1])])
    with pytest.raises(BadInput, match="no pairs"):
        measured_pairs(three, [])
