"""Divergence from sums is divergence: the same numbers, labels and flags, and nothing of an epoch is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import make_store, rewrite, run_states
from tests.store.test_running_metrics import with_live
from wdiv.errors import BadInput, UnknownName
from wdiv.layers import Layer, LayerTable
from wdiv.measure import Flag
from wdiv.measure.rows import Tensors, compare
from wdiv.measure.sums import divergence_of_sums
from wdiv.metrics import METRICS
from wdiv.numerics import Moments, PairSums
from wdiv.store import tensors
from wdiv.store.reader import CheckpointStore
from wdiv.store.running_metrics import RunningMetrics, RunningSums, read_running_sums

STRATEGIES = ("fc", "bn+fc", "conv+fc", "scratch")
ABLE = [metric.name for metric in METRICS.values() if metric.family in ("gaussian", "paired")]


def sums_of(store: Path) -> dict[str, RunningSums]:
    found = {run.path.name: read_running_sums(run) for run in CheckpointStore.open(store)}
    return {name: sums for name, sums in found.items() if sums is not None}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_live(make_store(tmp_path_factory.mktemp("sums") / "store", STRATEGIES, (0, 1), 3))


@pytest.mark.parametrize("metrics", [["gaussian", "paired"], *ABLE])
@pytest.mark.parametrize("reference", ["pretrained", 0])
def test_it_is_the_divergence_of_the_weights(grid: Path, metrics: str | list[str], reference: str | int) -> None:
    tree = wdiv.open(grid)
    expected = wdiv.divergence(tree, metrics, reference)
    assert divergence_of_sums(tree, sums_of(grid), metrics, reference).identical(expected)


def test_nothing_of_an_epoch_is_read(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*what: Any, **how: Any) -> None:
        raise AssertionError(what)

    monkeypatch.setattr(tensors, "read", refuse)
    found = divergence_of_sums(wdiv.open(grid), sums_of(grid), "relative_l2", 0)
    assert np.isfinite(found["bn/relative_l2"].sel(epoch=3, role="gamma").values).all()


def test_what_cannot_be_had_is_flagged_alike(tmp_path: Path) -> None:
    """Weights that are inf, NaN, constant or zero."""
    store = make_store(tmp_path / "store", ("bn+fc",), (0,), 3)
    (run,) = CheckpointStore.open(store)
    states = run_states("bn+fc", 0, 3)
    changes = {
        "stem.bn.weight": lambda x: np.full_like(x, 2.0),
        "stem.bn.bias": np.zeros_like,
        "stage.bn.weight": lambda x: np.where(np.arange(x.size) == 1, np.inf, x),
        "stage.bn.bias": lambda x: np.where(np.arange(x.size) == 1, np.nan, x),
        "stage.bn.running_var": lambda x: np.full_like(x, 1e30),
    }
    rewrite(run.epoch_file(2), changes)
    states[2] |= {key: change(states[2][key]).astype(np.float32) for key, change in changes.items()}
    live = RunningMetrics(run.path, run.record, states[0])
    for epoch, state in enumerate(states):
        live.append(epoch, state)
    tree = wdiv.open(store)
    for reference in ("pretrained", 0):
        expected = wdiv.divergence(tree, ["gaussian", "paired"], reference)
        found = divergence_of_sums(tree, sums_of(store), ["gaussian", "paired"], reference)
        assert found.identical(expected)
    flags = found["bn"]["flag"].sel(epoch=2).values
    assert {int(Flag.NOT_FINITE), int(Flag.ZERO_SPREAD)} <= {int(bit) for f in flags.ravel() for bit in Flag(int(f))}


def test_a_transposed_convolution_is_summed_in_the_order_in_which_it_is_measured(tmp_path: Path) -> None:
    """Bit for bit: sums depend on the order of what is added up."""
    layer = Layer("up", "conv", ("weight",), (6, 4, 3, 3), groups=2, transposed=True)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=layer.shape).astype(np.float32) for _ in range(2))

    class Record:
        table, changing = LayerTable((layer,)), ("up.weight",)

    live = RunningMetrics(tmp_path, Record(), {"up.weight": a})  # type: ignore[arg-type]
    live.append(1, {"up.weight": b})
    direct = compare(*(Tensors(layer.filters(x).reshape(1, -1)) for x in (a, b)), ["cosine_distance"])
    numbers = json.loads((tmp_path / "live.jsonl").read_text())["sums"]["up.weight"]
    c = [np.array(x) for x in numbers]
    sums = PairSums(a.size, Moments(*c[:2]), Moments(*c[2:4]), *c[4:])
    assert METRICS["cosine_distance"].function(sums) == direct.values["cosine_distance"][0]


def test_runs_and_epochs_without_sums_say_that_they_are_not_saved(grid: Path) -> None:
    tree, sums = wdiv.open(grid), sums_of(grid)
    first, second, *others = sums
    some = {first: sums[first], second: _until(sums[second], 2)}
    whole = wdiv.divergence(tree, "l2")
    found = divergence_of_sums(tree, some, "l2")
    for kind, node in found.children.items():
        data, expected = node.to_dataset(), whole.children[kind].to_dataset()
        assert data.sel(run=first).identical(expected.sel(run=first))
        early = {"run": second, "epoch": [0, 1]}
        assert data.sel(early).identical(expected.sel(early))
        rest = data["flag"].sel(run=others).values
        there = expected["flag"].sel(run=others).values != Flag.ABSENT
        assert set(rest[there].tolist()) == {int(Flag.NOT_SAVED)}
        late = data["flag"].sel(run=second, epoch=[2, 3])
        assert set(np.unique(late)) <= {int(Flag.NOT_SAVED), int(Flag.ABSENT)}


def test_a_run_or_a_tensor_without_sums_hides_none_behind_it(grid: Path) -> None:
    tree, sums = wdiv.open(grid), sums_of(grid)
    first, second, *others = tree["run"].values.tolist()
    lacking = ("stem.bn", "gamma")
    some = {name: sums[name] for name in (second, *others)}
    some[second] = RunningSums(sums[second].epochs, {k: v for k, v in sums[second].sums.items() if k != lacking})
    found, whole = divergence_of_sums(tree, some, "l2"), wdiv.divergence(tree, "l2")
    for kind, node in found.children.items():
        data, expected = node.to_dataset(), whole.children[kind].to_dataset()
        assert data.sel(run=others).identical(expected.sel(run=others))
        of_others = data["layer"].values != lacking[0]
        assert data.sel(run=second, layer=of_others).identical(expected.sel(run=second, layer=of_others))
    flags = found["bn"]["flag"].sel(layer=lacking[0], role=lacking[1])
    assert set(flags.sel(run=[first, second]).values.ravel().tolist()) == {int(Flag.NOT_SAVED)}


def test_epochs_that_came_after_the_tree_was_opened_are_left_out(grid: Path) -> None:
    tree = wdiv.open(grid).isel(epoch=[0, 1, 2])
    expected = wdiv.divergence(tree, "l2")
    assert divergence_of_sums(tree, sums_of(grid), "l2").identical(expected)


def _until(sums: RunningSums, count: int) -> RunningSums:
    def cut(one: PairSums) -> PairSums:
        a, b = (Moments(*(value[:count] for value in side)) for side in (one.a, one.b))
        return PairSums(one.n, a, b, *(value[:count] for value in one[3:]))

    return RunningSums(sums.epochs[:count], {key: cut(one) for key, one in sums.sums.items()})


@pytest.mark.parametrize("metric", [name for name in METRICS if name not in ABLE])
def test_a_metric_that_needs_more_than_sums_is_refused(grid: Path, metric: str) -> None:
    with pytest.raises(BadInput, match=r"needs the weights themselves|compares features on images|needs images"):
        divergence_of_sums(wdiv.open(grid), sums_of(grid), metric)


def test_what_is_refused_says_what_is_allowed(grid: Path) -> None:
    tree: xr.DataTree = wdiv.open(grid)
    with pytest.raises(BadInput, match="give 'pretrained' or 0"):
        divergence_of_sums(tree, {}, "l2", "previous")
    with pytest.raises(UnknownName):
        divergence_of_sums(tree, {}, "l3")
