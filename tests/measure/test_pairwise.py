"""wdiv.pairwise: every run against every other, after one epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.measure.conftest import PAIR_METRICS, SHORT
from tests.measure.plain import METRICS as PLAIN
from tests.measure.plain import flat, key, runs_of
from wdiv.errors import BadInput, UnknownName
from wdiv.measure import DEFAULT_METRICS, Flag
from wdiv.metrics import METRICS


@pytest.fixture(scope="module")
def pairs(grid: Path) -> xr.DataTree:
    return wdiv.pairwise(wdiv.open(grid))


def test_every_value_is_what_the_files_say(grid: Path, pairs: xr.DataTree) -> None:
    """Heads are new in every run and alike in shape, so they are compared; each run stands at its own last epoch."""
    last = {name: run.states[max(run.states)] for name, run in runs_of(grid).items()}
    compared = 0
    for kind, node in pairs.children.items():
        for name in DEFAULT_METRICS:
            metric = PLAIN[name]
            for (a, b, layer, role), value in node[name].to_series().items():
                where = key((kind, layer, role))
                if where in last[a]:
                    wanted = metric(flat(last[a][where]), flat(last[b][where]))
                    assert abs(value - wanted) <= 1e-9 * wanted + 1e-12, (a, b, layer, role, name)
                    compared += 1
                else:
                    assert np.isnan(value)
    assert compared == len(DEFAULT_METRICS) * 8 * 8 * 13


def test_a_run_lies_at_the_identity_from_itself(tree: xr.DataTree) -> None:
    for kind, node in wdiv.pairwise(tree.isel(run=[0, 2, 5]), PAIR_METRICS).children.items():
        itself = np.arange(3), np.arange(3)
        for name in PAIR_METRICS:
            values, flags = node[name].values[itself], node["flag"].values[itself]
            spectral = METRICS[name].family == "spectral"
            present = flags & ~(0 if spectral else int(Flag.NO_MATRIX)) == 0
            wanted = set() if spectral and kind == "bn" else {METRICS[name].identity}
            assert set(values[present].tolist()) == wanted, (kind, name)
            assert np.isnan(values[~present]).all()


def test_the_direction_is_metric_of_run_and_run_b(pairs: xr.DataTree) -> None:
    assert pairs.attrs["direction"] == "metric(run, run_b)"
    for node in pairs.children.values():
        for name in DEFAULT_METRICS:
            there = node[name].transpose("run", "run_b", ...).values
            back = there.swapaxes(0, 1)
            moved = there != METRICS[name].identity
            if METRICS[name].symmetric:
                np.testing.assert_allclose(there, back, rtol=1e-9, atol=1e-14)
            else:
                assert (there != back)[moved & np.isfinite(there)].all()


@pytest.mark.parametrize("epoch", [2, "2"])
def test_a_run_that_lacks_the_epoch_is_missing_both_ways(tree: xr.DataTree, epoch: int | str) -> None:
    found = wdiv.pairwise(tree, "relative_l2", epoch)
    bn = found["bn"]
    short = (bn["run"] == SHORT) | (bn["run_b"] == SHORT)
    assert (((bn["flag"] & int(Flag.NOT_SAVED)) > 0) == short).all()
    assert (bn["relative_l2"].isnull() == short).all()
    assert found.attrs["epoch"] == "2"


def test_last_is_each_run_s_own_last_epoch(tree: xr.DataTree, pairs: xr.DataTree) -> None:
    assert not (pairs["bn/flag"] > 0).any()
    fourth, first = (wdiv.pairwise(tree, epoch=e)["bn"] for e in (3, 1))
    others = [run for run in pairs["run"].values if run != SHORT]
    for name in DEFAULT_METRICS:
        last = pairs["bn"][name]
        np.testing.assert_array_equal(last.sel(run=others, run_b=others), fourth[name].sel(run=others, run_b=others))
        assert last.sel(run=SHORT, run_b=others).notnull().all()
        assert (last.sel(run=SHORT, run_b=others) != first[name].sel(run=SHORT, run_b=others)).any()


def test_the_result_is_labelled(tree: xr.DataTree, pairs: xr.DataTree) -> None:
    runs = tree["run"].values.tolist()
    assert pairs["run"].values.tolist() == pairs["run_b"].values.tolist() == runs
    assert "epoch" not in pairs.dims
    assert pairs["strategy"].dims == ("run",)
    for node in pairs.children.values():
        assert {v.dims for v in node.data_vars.values()} == {("run", "run_b", "layer", "role")}
    assert (pairs["conv/flag"].sel(layer="stem.conv", role="bias") == int(Flag.ABSENT)).all()


def test_missing_and_absent_are_told_apart(tree: xr.DataTree) -> None:
    bias = wdiv.pairwise(tree, "relative_l2", 3)["conv"].sel(role="bias", run=SHORT, run_b=SHORT)
    assert bias["flag"].values.tolist() == [int(Flag.ABSENT), int(Flag.NOT_SAVED)]


@pytest.mark.parametrize("epoch", [4, "4", -1, "first", "²", ""])
def test_an_epoch_that_is_not_there_is_refused(tree: xr.DataTree, epoch: int | str) -> None:
    with pytest.raises(BadInput, match="'last', or one of those saved, 0 to 3"):
        wdiv.pairwise(tree, epoch=epoch)


def test_an_unknown_metric_is_refused(tree: xr.DataTree) -> None:
    with pytest.raises(UnknownName, match="did you mean 'cosine_distance'"):
        wdiv.pairwise(tree, "cosine_distanse")


def test_a_tree_that_holds_no_weights_is_refused(pairs: xr.DataTree) -> None:
    with pytest.raises(BadInput, match="not a tree of weights"):
        wdiv.pairwise(pairs)
