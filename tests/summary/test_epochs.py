"""Tables along epochs, of stages measured as one, of what is broken, and of runs whose accuracy nobody knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wdiv
from tests import trees
from tests.fabric import make_store, rewrite, shorten
from tests.trees import run
from wdiv import summary
from wdiv.errors import BadInput
from wdiv.measure import Flag

NAN = float("nan")
FIRST, SECOND = "toynet-toy-n6-fc-auto-s0", "toynet-toy-n6-fc-auto-s1"


def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    """The first run has saved epochs 0, 2 and 3; b1 is broken from 2 on."""
    if run["seed"] == 0 and epoch == 1:
        return Flag.NOT_SAVED
    if layer == "b1" and epoch >= 2 and run["seed"] == 0:
        return Flag.NOT_FINITE
    return epoch + {"c0": 0.25, "b1": 0.5, "c2": 0.75}.get(layer, 0.0)


@pytest.fixture
def div() -> Any:
    return trees.divergence([run("fc", 0), run("fc", 1)], value, epochs=4)


def test_epoch_grid_has_a_row_for_each_saved_epoch_and_a_column_for_each_layer(div: Any) -> None:
    reverse = div.map_over_datasets(lambda n: n.isel(layer=slice(None, None, -1)) if "layer" in n.dims else n)
    for tree in (div, reverse):
        grid = summary.epoch_grid(tree, "relative_l2", "conv", "weight", FIRST)
        assert grid.index.tolist() == [0, 2, 3]
        assert grid.columns.tolist() == [("stem", "c0"), ("stage1", "c2")]
        assert grid.columns.names == ["stage", "layer"]
        np.testing.assert_array_equal(grid.to_numpy(), [[0.25, 0.75], [2.25, 2.75], [3.25, 3.75]])
    assert summary.epoch_grid(div, "relative_l2", "conv", "weight", SECOND).index.tolist() == [0, 1, 2, 3]


def test_epoch_grid_leaves_out_layers_without_such_a_tensor_and_keeps_those_without_a_value(div: Any) -> None:
    assert summary.epoch_grid(div, "relative_l2", "conv", "bias", FIRST).shape[1] == 0
    grid = summary.epoch_grid(div, "relative_l2", "bn", "gamma", FIRST)
    np.testing.assert_array_equal(grid["stem", "b1"], [0.5, NAN, NAN])


def test_not_finite_names_each_broken_tensor_and_its_first_epoch(div: Any) -> None:
    table = summary.not_finite(div)
    assert list(table) == ["run", "kind", "layer", "role", "epoch"]
    assert set(table["role"]) == set(trees.BN)
    assert table.drop(columns="role").drop_duplicates().values.tolist() == [[FIRST, "bn", "b1", 2]]


def test_nothing_broken_is_an_empty_table() -> None:
    assert summary.not_finite(trees.divergence([run("fc", 0)], lambda **_: 1.0)).empty


def test_not_finite_of_a_real_store(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("bn+fc",), (0,))
    (folder,) = (store / "runs").iterdir()
    for epoch in (2, 3):
        rewrite(folder / "epochs" / f"{epoch:04d}.safetensors", {"stage.bn.bias": lambda values: values * np.nan})
    table = summary.not_finite(wdiv.divergence(wdiv.open(store), "relative_l2"))
    assert table.values.tolist() == [[folder.name, "bn", "stage.bn", "beta", 2]]


@pytest.mark.parametrize("epoch", ["last", 1])
def test_stage_profile_of_what_was_measured_by_stage_is_the_stage_s_own_value(tmp_path: Path, epoch: int | str) -> None:
    store = make_store(tmp_path / "store", ("scratch", "conv+fc"))
    shorten(store, "toynet-toy-n2-conv+fc-auto-s1", 2)
    tree = wdiv.open(store)
    by_stage, by_layer = (wdiv.divergence(tree, "relative_l2", 0, reduction=how) for how in ("stage", "layer"))
    found, means = (summary.stage_profile(div, "relative_l2", epoch) for div in (by_stage, by_layer))
    keys = ["run", "kind", "role", "stage"]
    assert set(found) == set(means)
    found, means = found.set_index(keys).sort_index(), means.set_index(keys).sort_index()
    assert found.index.equals(means.index)
    np.testing.assert_array_equal(found["layers"], means["layers"])
    np.testing.assert_allclose(found["value"], means["value"], err_msg="a layer a stage: the same", rtol=1e-12)


def test_tables_by_layer_refuse_what_was_measured_otherwise(tmp_path: Path) -> None:
    tree = wdiv.open(make_store(tmp_path / "store", ("bn+fc",), (0,), 1))
    for reduction in ("stage", "filter"):
        with pytest.raises(BadInput, match=f"measured one value a {reduction}; tables and figures want one a layer"):
            summary.layers(wdiv.divergence(tree, "relative_l2", reduction=reduction), "relative_l2")


def test_results_of_a_run_whose_accuracy_nobody_knows() -> None:
    tree = trees.history([run("foreign", 0), run("fc", 0)], [[NAN, NAN, NAN], [0.1, 0.7]])
    table = summary.results(tree).set_index("strategy")
    theirs, ours = table.loc["foreign"], table.loc["fc"]
    assert theirs["epochs"] == 2
    assert np.isnan(theirs["last"])
    assert np.isnan(theirs["best"])
    assert theirs["best_epoch"] is None or np.isnan(theirs["best_epoch"])
    assert (ours["last"], ours["best"], ours["best_epoch"]) == (0.7, 0.7, 1)


def test_outcomes_of_runs_whose_accuracy_nobody_knows() -> None:
    runs = [run("foreign", seed) for seed in (0, 1)]
    tree = trees.history(runs, [[NAN, NAN]] * 2)
    (row,) = summary.outcomes(tree, trees.divergence(runs, lambda **_: 1.0)).to_dict("records")
    assert (row["seeds"], row["conv"]) == (2, 1.0)
    assert np.isnan([row["last"], row["spread"], row["best"], row["over_fc"]]).all()
