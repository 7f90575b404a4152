"""Metrics of a run's path through its epochs, against walking it; and parts of a result that are put together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import make_store, rewrite
from tests.measure.conftest import WEIGHT_METRICS
from tests.measure.plain import paths
from wdiv.measure import Flag, stored_names, with_derived
from wdiv.metrics import METRICS

PATH = [name for name, record in METRICS.items() if record.family == "trajectory"]


@pytest.mark.parametrize("reduction", ["layer", "filter", "stage"])
def test_every_path_is_what_the_files_say(grid: Path, tree: xr.DataTree, reduction: str) -> None:
    found, compared = wdiv.divergence(tree, "trajectory", reduction=reduction), 0
    for (run, kind, unit, role), wanted in paths(grid, reduction):
        here = found[kind].to_dataset().sel(run=run, role=role)
        n = len(wanted["epoch_step"])
        for name, values in wanted.items():
            ours = here[name].values[:, unit]
            np.testing.assert_allclose(ours[:n], values, rtol=1e-9, atol=1e-12)
            assert np.isnan(ours[n:]).all()
            compared += n
        still = np.array(wanted["path_length"]) == 0
        assert here["flag"].values[:n, unit].tolist() == np.where(still, int(Flag.NOT_MOVED), 0).tolist()
        assert (here["flag"].values[n:, unit] == int(Flag.NOT_SAVED)).all()
    assert compared > 1000


def test_a_path_needs_no_reference(tree: xr.DataTree) -> None:
    """It is the same whatever else is measured against, for heads and networks that started at random too."""
    apart = wdiv.divergence(tree, "trajectory")
    for reference in ("pretrained", 0, "previous"):
        beside = wdiv.divergence(tree, ["relative_l2", *PATH], reference)
        for kind in ("conv", "bn", "fc"):
            for name in PATH:
                xr.testing.assert_identical(beside[kind][name], apart[kind][name])


@pytest.mark.parametrize("name", PATH)
def test_only_what_was_asked_for_is_in_the_result(tree: xr.DataTree, name: str) -> None:
    found = wdiv.divergence(tree, [name, "l2"])
    assert list(found["bn"].data_vars) == [name, "l2", "flag"]
    assert ((found["bn/flag"] & int(Flag.NOT_MOVED)) > 0).any() == (name == "straightness")


def test_weights_that_are_not_finite_break_the_path_behind_them_only(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 4)
    whole = wdiv.divergence(wdiv.open(store), "trajectory")
    rewrite(next((store / "runs").iterdir()) / "epochs" / "0002.safetensors", {"stem.bn.bias": lambda b: b * np.nan})
    broken = wdiv.divergence(wdiv.open(store), "trajectory")
    beta = broken["bn"].to_dataset().sel(layer="stem.bn", role="beta").isel(run=0)
    bad, moved = int(Flag.NOT_FINITE), int(Flag.NOT_MOVED)
    assert beta["flag"].values.tolist() == [moved, 0, bad, bad, bad]
    holes = {"epoch_step": [2, 3], "displacement": [2], "path_length": [2, 3, 4], "straightness": [0, 2, 3, 4]}
    for name, epochs in holes.items():
        assert np.flatnonzero(np.isnan(beta[name].values)).tolist() == epochs, name
    spoilt = (broken["bn"]["layer"] == "stem.bn") & (broken["bn"]["role"] == "beta")
    for name in (*PATH, "flag"):
        xr.testing.assert_identical(broken["bn"][name].where(~spoilt), whole["bn"][name].where(~spoilt))


# ---------------------------------------------------------------------------------------------- a part at a time


def test_cells_outside_only_are_left_alone_and_halves_make_the_whole(tree: xr.DataTree) -> None:
    """A result is measured bit by bit as epochs come: what a path is made of is kept, and the path made at the end."""
    names = [*WEIGHT_METRICS[::-1]]
    whole = wdiv.divergence(tree, names)
    one = np.zeros(tree["saved"].shape, dtype=bool)
    one[::2, :2] = one[1::2, 2:] = True
    halves = [wdiv.divergence(tree, names, only=mask) for mask in (one, ~one)]
    for half, mask in zip(halves, (one, ~one), strict=True):
        for node in half.children.values():
            assert set(node.data_vars) == {*stored_names(names), "flag"}
            outside = node.to_dataset().where(xr.DataArray(~mask, dims=("run", "epoch")))
            assert all(outside[name].isnull().all() for name in stored_names(names))
            absent = node["flag"].values[~mask] & int(Flag.ABSENT | Flag.NOT_SAVED)
            assert absent.all()
    chosen = xr.DataArray(one, dims=("run", "epoch"))
    nodes = {
        f"/{kind}": xr.Dataset(
            {
                name: first.where(chosen, halves[1][kind][name]).assign_attrs(first.attrs)
                for name, first in halves[0][kind].data_vars.items()
            }
        )
        for kind in halves[0].children
    }
    merged = with_derived(xr.DataTree.from_dict({"/": whole.to_dataset(), **nodes}), names)
    for kind in whole.children:
        for name in (*names, "flag"):
            np.testing.assert_array_equal(merged[kind][name].values, whole[kind][name].values, err_msg=f"{kind} {name}")
        assert list(merged[kind].data_vars) == list(whole[kind].data_vars)


def test_only_nothing_reads_nothing_and_gives_nothing(tree: xr.DataTree) -> None:
    found = wdiv.divergence(tree, only=np.zeros(tree["saved"].shape, dtype=bool))
    assert found["bn/relative_l2"].isnull().all()
    assert (found["bn/flag"] == int(Flag.NOT_SAVED)).all()
