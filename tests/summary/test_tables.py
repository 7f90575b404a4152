"""Tidy tables, from trees whose numbers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import wdiv
from tests import trees
from tests.fabric import make_store, shorten
from tests.trees import run
from wdiv import summary
from wdiv.errors import BadInput
from wdiv.measure import Flag
from wdiv.numerics import share_interval, wilson

NAN = float("nan")
DEPTH = {"c0": 0, "b1": 1, "c2": 2, "b3": 3, "f4": 4}


def by_depth(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    """1 for the first layer, 2 for the second …; ten times as much after every epoch; a hundredth more per seed."""
    return (1 + DEPTH[layer]) * 10.0**epoch + 0.01 * run["seed"]


RUNS = [run("fc", 0), run("fc", 1), run("bn+fc", 0), run("bn+fc", 1)]


# ---------------------------------------------------------------------------------------------------------- results


def test_results_tell_of_the_last_and_the_best_epoch() -> None:
    tree = trees.history([run("fc", 0), run("bn+fc", 3, n_train=9)], [[0.1, 0.9, 0.7, 0.9], [0.2, 0.4]])
    table = summary.results(tree)
    wanted = pd.DataFrame(
        {
            "run": ["toynet-toy-n6-fc-auto-s0", "toynet-toy-n9-bn+fc-auto-s3"],
            "strategy": ["fc", "bn+fc"],
            "n_train": [6, 9],
            "seed": [0, 3],
            "source": ["toy", "toy"],
            "epochs": [3, 1],
            "last": [0.9, 0.4],
            "best": [0.9, 0.4],
            "best_epoch": [1, 1],
            "train_loss": [1 / 3, 1.0],
            "seconds": [2.0, 1.0],
        }
    )
    pd.testing.assert_frame_equal(table[list(wanted)], wanted, check_dtype=False)
    assert {"model", "dataset", "bn_mode"} <= set(table)
    assert all(type(value) is not np.str_ for value in table["strategy"])


def test_best_flatters_and_last_does_not() -> None:
    row = summary.results(trees.history([run("fc", 0)], [[0.1, 0.8, 0.5]])).iloc[0]
    assert (row["last"], row["best"], row["best_epoch"]) == (0.5, 0.8, 1)


# ----------------------------------------------------------------------------------------------------------- layers


def test_layers_gives_one_row_a_tensor_with_its_place() -> None:
    table = summary.layers(trees.divergence(RUNS, by_depth), "relative_l2")
    assert len(table) == len(RUNS) * (2 * 2 + 2 * 4 + 2)
    assert list(table) == [
        "model", "dataset", "n_train", "strategy", "bn_mode", "run", "seed", "kind", "role", "layer", "depth", "stage",
        "block", "value", "flag",
    ]  # fmt: skip
    row = table[
        table["layer"].eq("b3") & table["role"].eq("beta") & table["run"].eq("toynet-toy-n6-bn+fc-auto-s1")
    ].iloc[0]
    assert (row["strategy"], row["seed"], row["kind"], row["depth"], row["stage"], row["block"]) == (
        "bn+fc", 1, "bn", 3, "stage1", 0,
    )  # fmt: skip
    assert (row["value"], row["flag"]) == (40.01, 0)


@pytest.mark.parametrize(("epoch", "value"), [(0, 1.0), ("0", 1.0), (1, 10.0), (2, 100.0), ("last", 100.0)])
def test_layers_of_an_epoch(epoch: int | str, value: float) -> None:
    table = summary.layers(trees.divergence([run("fc", 0)], by_depth, epochs=3), "relative_l2", epoch)
    assert table["value"].iloc[0] == value


def test_last_is_each_run_s_own_in_every_kind_of_layer() -> None:
    """An absent bias is flagged so in every epoch, saved or not, and must not pass for a saved one."""

    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        if run["seed"] == 1 and epoch > 1:
            return Flag.NOT_SAVED
        return Flag.NO_START if layer == "f4" else 10.0**epoch

    table = summary.layers(trees.divergence(RUNS[:2], value, epochs=4), "relative_l2")
    for kind in ("conv", "bn"):
        ours = table[table["kind"].eq(kind) & table["role"].isin(["weight", "gamma"])]
        assert ours.groupby("seed")["value"].unique().map(list).to_dict() == {0: [1000.0], 1: [10.0]}, kind
    head = table[table["kind"].eq("fc")]
    assert set(head["flag"]) == {int(Flag.NO_START)}


def test_last_on_a_real_store_with_a_shorter_run(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("conv+fc",))
    shorten(store, "toynet-toy-n2-conv+fc-auto-s1", 1)
    tree = wdiv.open(store)
    div = wdiv.divergence(tree, "relative_l2")
    table = summary.layers(div, "relative_l2").query("layer == 'stem.conv' and role == 'weight'").set_index("seed")
    weights = div["conv/relative_l2"].sel(layer="stem.conv", role="weight").values
    assert table["value"].to_dict() == {0: weights[0, 3], 1: weights[1, 1]}
    assert np.isfinite(wdiv.outcomes(tree, div)["conv"]).all()


@pytest.mark.parametrize(
    ("metric", "epoch", "words"),
    [
        ("relative_l1", "last", "metric 'relative_l1' was not measured; did you mean 'relative_l2'"),
        ("flag", "last", "was not measured"),
        ("depth", "last", "metric 'depth' was not measured"),
        ("relative_l2", 7, "epoch 7: 'last', or one of those measured, 0 to 1"),
        ("relative_l2", "first", "epoch 'first'"),
        ("relative_l2", "²", "epoch '²'"),
        ("relative_l2", -1, "epoch -1"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(metric: str, epoch: int | str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        summary.layers(trees.divergence(RUNS, by_depth), metric, epoch)


# ------------------------------------------------------------------------------------------------------- comparable


def test_comparable_says_which_and_why_not() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return {"f4": Flag.NO_START, "b1": Flag.ZERO_SPREAD, "b3": Flag.NOT_FINITE}.get(layer, 1.0)

    table = summary.comparable(trees.divergence(RUNS[:1], value))
    assert list(table) == ["run", "layer", "kind", "role", "comparable", "why"]
    answers = {(row.layer, row.role): (row.comparable, row.why) for row in table.itertuples()}
    assert answers["c0", "weight"] == (True, "")
    assert answers["c0", "bias"] == (False, "the layer has no such tensor")
    assert answers["f4", "weight"] == (False, "it started at random, not from pretrained weights")
    assert answers["b1", "gamma"][0], "a layer without spread has a partner of the same shape"
    assert answers["b3", "gamma"] == (True, "it holds inf or NaN, or numbers too large to add up")
    assert len(answers) == 14


def test_comparable_of_pairs_leaves_out_each_run_with_itself() -> None:
    table = summary.comparable(trees.pairwise(RUNS[:3], lambda **_: 1.0))
    assert list(table) == ["run", "run_b", "layer", "kind", "role", "comparable", "why"]
    assert (table["run"] != table["run_b"]).all()
    assert len(table) == 3 * 2 * 14


def test_comparable_of_a_diff() -> None:
    table = summary.comparable(wdiv.diff({"x.weight": np.ones((2, 3))}, {"x.weight": np.ones((4, 3))}))
    assert table.to_dict("records") == [
        {"layer": "x", "kind": "fc", "role": "weight", "comparable": False, "why": "the two have different shapes"}
    ]


# -------------------------------------------------------------------------------------------- stage profile, outcomes


def test_stage_profile_averages_the_layers_of_a_stage() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return Flag.ZERO_SPREAD if (layer, role) == ("b3", "gamma") else by_depth(run, epoch, layer, role)

    div = trees.divergence(RUNS[:1], value)
    apart = summary.stage_profile(div, "relative_l2", 0)
    assert apart.loc[apart["kind"].eq("conv"), ["stage", "value", "layers"]].values.tolist() == [
        ["stem", 1.0, 1], ["stage1", 3.0, 1],
    ]  # fmt: skip
    for kind in ("conv", "bn"):
        div[kind] = div[kind].to_dataset().assign_coords(stage=("layer", ["stage1", "stage1"]))
    table = summary.stage_profile(div, "relative_l2", 0).set_index(["kind", "role", "stage"])
    assert (
        table[["value", "layers"]].T.to_dict("list")
        == {
            ("conv", "weight", "stage1"): [2.0, 2],
            ("bn", "gamma", "stage1"): [2.0, 1],  # what has no value is neither averaged nor counted
            **{("bn", role, "stage1"): [3.0, 2] for role in trees.BN[1:]},
            ("fc", "weight", "head"): [5.0, 1],
            ("fc", "bias", "head"): [5.0, 1],
        }
    )
    assert {"model", "n_train", "strategy", "bn_mode", "run", "seed"} <= set(table)


ACCURACY = {
    ("fc", 0): 0.50,
    ("fc", 1): 0.60,
    ("fc", 2): 0.90,
    ("bn+fc", 1): 0.65,
    ("bn+fc", 2): 0.96,
    ("scratch", 0): 0.2,
}


def moved(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
    """bn+fc moves BatchNorm, its statistics most; the head always moves farthest of all."""
    if run["strategy"] == "scratch":
        return Flag.NO_START
    if layer == "f4":
        return 99.0
    if run["strategy"] == "fc" or layer in ("c0", "c2"):
        return 0.0
    return {"gamma": 1.0, "beta": 2.0}.get(role, 50.0) * {"b1": 1.0, "b3": 3.0}[layer] * run["seed"]


def test_outcomes_sets_what_moved_beside_what_it_bought() -> None:
    runs = [run(strategy, seed) for strategy, seed in ACCURACY]
    tree = trees.history(runs, [[0.1, accuracy + 0.03, accuracy] for accuracy in ACCURACY.values()])
    table = summary.outcomes(tree, trees.divergence(runs, moved, epochs=3)).set_index("strategy")
    assert list(table.index) == ["scratch", "fc", "bn+fc"], "from the one that changes least"
    assert table["seeds"].tolist() == [1, 3, 2]
    np.testing.assert_allclose(table["last"], [0.2, 2 / 3, 0.805])
    np.testing.assert_allclose(table["best"], [0.23, 2 / 3 + 0.03, 0.835])
    np.testing.assert_allclose(table["spread"], [NAN, np.std([0.5, 0.6, 0.9], ddof=1), np.std([0.65, 0.96], ddof=1)])
    np.testing.assert_allclose(table["over_fc"], [-0.3, 0.0, (0.05 + 0.06) / 2])  # seeds 1 and 2 only, pair by pair
    np.testing.assert_allclose(table["conv"], [NAN, 0.0, 0.0])
    np.testing.assert_allclose(table["gamma"], [NAN, 0.0, 3.0])  # (1 + 3) / 2 layers x (1 + 2) / 2 seeds
    np.testing.assert_allclose(table["beta"], [NAN, 0.0, 6.0])
    assert table["farthest"].tolist() == ["", "", "stage1"], "neither the head, nor what has not moved"


def test_farthest_heeds_weights_and_not_statistics() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return {("b1", "gamma"): 1.0, ("b3", "running_var"): 9.0, ("f4", "weight"): 99.0}.get((layer, role), 0.0)

    tree = trees.history([run("bn+fc", 0)], [[0.1, 0.2]])
    assert summary.outcomes(tree, trees.divergence([run("bn+fc", 0)], value))["farthest"].tolist() == ["stem"]


@pytest.mark.parametrize("other", [{"n_train": 12}, {"bn_mode": "batch"}, {"model": "vgg"}, {"dataset": "digits"}])
def test_over_fc_is_over_the_fc_of_the_same_circumstances(other: dict[str, Any]) -> None:
    runs = [run("fc", 0), run("bn+fc", 0, **other), run("fc", 0, **other), run("bn+fc", 0)]
    tree = trees.history(runs, [[0.1], [0.7], [0.4], [0.8]])
    div = trees.divergence(runs, lambda **_: 1.0, epochs=1)
    both = summary.outcomes(tree, div).query("strategy == 'bn+fc'")
    assert sorted(both["over_fc"].round(9)) == [0.3, 0.7]
    alone = summary.outcomes(tree.isel(run=[0, 1]), div.isel(run=[0, 1])).query("strategy == 'bn+fc'")
    assert alone["over_fc"].isna().all(), "nothing to set it beside"


def test_what_was_frozen_is_set_beside_an_fc_whose_statistics_were_frozen_by_default() -> None:
    runs = [run("fc", 0), run("svm", 0, bn_mode="frozen")]
    table = summary.accuracies(summary.results(trees.history(runs, [[0.4], [0.7]])))
    assert table["over_fc"].round(9).tolist() == [0.0, 0.3]


def test_outcomes_are_ordered_by_model_size_and_strategy() -> None:
    runs = [run(s, 0, n_train=n) for n in (20, 5) for s in ("zzz", "conv+fc", "bn+fc", "bn@stage4+fc", "fc", "scratch")]
    table = summary.outcomes(trees.history(runs, [[0.1]] * 12), trees.divergence(runs, lambda **_: 1.0, epochs=1))
    assert table["n_train"].tolist() == [5] * 6 + [20] * 6
    assert table["strategy"].tolist() == ["scratch", "fc", "bn@stage4+fc", "bn+fc", "conv+fc", "zzz"] * 2


def test_outcomes_of_a_real_store(store: Path) -> None:
    tree = wdiv.open(store)
    div = wdiv.divergence(tree)
    table = summary.outcomes(tree, div).set_index("strategy")
    np.testing.assert_allclose(table["last"], [0.605, 0.605])
    np.testing.assert_allclose(table["spread"], np.std([0.6, 0.61], ddof=1))
    np.testing.assert_allclose(table["over_fc"], 0.0, atol=1e-12)
    gamma = div["bn/relative_l2"].sel(role="gamma").isel(epoch=-1, run=[0, 1]).mean()
    np.testing.assert_allclose(table["gamma"], [0.0, gamma])


def test_accuracies_come_with_the_interval_of_their_images_and_seeds() -> None:
    runs = [run("fc", 0), run("fc", 1), run("bn+fc", 0)]
    tree = trees.history(runs, [[0.1, 0.8], [0.1, 0.9], [0.1, 1.0]])
    unknown = summary.results(tree)
    assert unknown[["low", "high"]].isna().all(axis=None), "no number of test images is known"
    assert summary.accuracies(unknown)[["low", "high"]].isna().all(axis=None)
    tree.coords["n_test"] = ("run", [50, 50, 50])
    table = summary.results(tree)
    assert table["n_test"].tolist() == [50] * 3
    for row in table.itertuples():
        assert (row.low, row.high) == pytest.approx([*map(float, wilson(row.last, 50)[1:])])
    both = summary.accuracies(table).set_index("strategy")
    assert both.loc["fc", ["low", "high"]].tolist() == pytest.approx([*map(float, share_interval([0.8, 0.9], 50)[1:])])
    assert both.loc["bn+fc", ["low", "high"]].tolist() == pytest.approx([0.9287, 1.0], abs=1e-4)


# ------------------------------------------------------------------------------------------------------ noise floor


def test_noise_floor_sets_seeds_beside_strategies() -> None:
    """Pairs that differ in the seed alone, and in the strategy alone; every other pair is left out."""
    runs = [run("fc", 0), run("fc", 1), run("bn+fc", 0), run("bn+fc", 1), run("bn+fc", 1, n_train=9)]
    apart = {
        ("fc", "fc"): 1.0, ("bn+fc", "bn+fc"): 3.0, ("fc", "bn+fc"): 10.0, ("bn+fc", "fc"): 20.0,
    }  # fmt: skip

    def value(run: dict[str, Any], run_b: dict[str, Any], layer: str, role: str) -> float:
        if layer == "f4":
            return Flag.NO_START
        if run["n_train"] != run_b["n_train"] or run == run_b:
            return 1e6
        if run["seed"] != run_b["seed"] and run["strategy"] != run_b["strategy"]:
            return 1e6
        return apart[run["strategy"], run_b["strategy"]] + DEPTH[layer]

    table = summary.noise_floor(trees.pairwise(runs, value), "relative_l2")
    assert list(table) == ["kind", "role", "layer", "depth", "stage", "seeds", "strategies"]
    for layer, role, depth, stage in (("c0", "weight", 0, "stem"), ("b3", "running_var", 3, "stage1")):
        row = table[table["layer"].eq(layer) & table["role"].eq(role)].iloc[0]
        assert (row["depth"], row["stage"], row["seeds"], row["strategies"]) == (
            depth,
            stage,
            2.0 + depth,
            15.0 + depth,
        )
    assert table[table["layer"].eq("f4")][["seeds", "strategies"]].isna().all(axis=None)
    assert len(table) == 14


def test_noise_floor_of_one_seed_is_not_known() -> None:
    table = summary.noise_floor(trees.pairwise([run("fc", 0), run("bn+fc", 0)], lambda **_: 2.0), "relative_l2")
    assert table["seeds"].isna().all()
    assert table.query("layer == 'c0' and role == 'weight'")["strategies"].tolist() == [2.0]


# -------------------------------------------------------------------------------------------------- labels and grids


@pytest.mark.parametrize(
    ("runs", "labels"),
    [
        ([run("fc", 0), run("bn+fc", 0)], ["fc", "bn+fc"]),
        ([run("fc", 0), run("fc", 0, n_train=9)], ["fc  n=6", "fc  n=9"]),
        ([run("fc", 0), run("bn+fc", 0, bn_mode="frozen")], ["fc  auto", "bn+fc  frozen"]),
        ([run("fc", 0), run("fc", 0, n_train=9, model="vgg")], ["fc  n=6  toynet", "fc  n=9  vgg"]),
    ],
)
def test_labels_say_no_more_than_tells_rows_apart(runs: list[dict[str, Any]], labels: list[str]) -> None:
    assert summary.labels(pd.DataFrame(runs)).tolist() == labels


def test_layer_grid_stands_by_size_strategy_and_depth() -> None:
    runs = [run(s, seed, n_train=n) for n in (20, 5) for s in ("conv+fc", "fc", "bn+fc") for seed in (0, 1)]
    div = trees.divergence(runs, by_depth)
    reverse = xr_reversed(div)
    for tree in (div, reverse):
        grid = summary.layer_grid(summary.layers(tree, "relative_l2"), "conv", "weight")
        assert grid.index.tolist() == [f"{s}  n={n}" for n in (5, 20) for s in ("fc", "bn+fc", "conv+fc")]
        assert grid.columns.tolist() == [("stem", "c0"), ("stage1", "c2")]
        assert grid.columns.names == ["stage", "layer"]
        np.testing.assert_allclose(grid.to_numpy(), [[10.005, 30.005]] * 6)  # mean of seeds 0 and 1


def xr_reversed(div: Any) -> Any:
    return div.map_over_datasets(lambda node: node.isel(layer=slice(None, None, -1)) if "layer" in node.dims else node)


def test_layer_grid_keeps_rows_and_columns_that_have_no_value() -> None:
    def value(run: dict[str, Any], epoch: int, layer: str, role: str) -> float:
        return Flag.NO_START if run["strategy"] == "scratch" or layer == "c2" else 1.0

    div = trees.divergence([run("scratch", 0), run("fc", 0)], value)
    grid = summary.layer_grid(summary.layers(div, "relative_l2"), "conv", "weight")
    assert grid.index.tolist() == ["scratch", "fc"]
    np.testing.assert_array_equal(grid.to_numpy(), [[NAN, NAN], [1.0, NAN]])


def test_layer_grid_of_two_models_stands_by_depth_over_all_layers() -> None:
    rows = [
        {
            "model": model,
            "strategy": "fc",
            "kind": "conv",
            "role": "weight",
            "layer": layer,
            "depth": depth,
            "value": 1.0,
        }
        for model, layers in (("a", "pr"), ("b", "qs"))
        for depth, layer in enumerate("pqrs")
        if layer in layers
    ]
    grid = summary.layer_grid(pd.DataFrame(rows).assign(stage=""), "conv", "weight")
    assert grid.index.tolist() == ["fc  a", "fc  b"]
    assert grid.columns.get_level_values("layer").tolist() == ["p", "q", "r", "s"]
    np.testing.assert_array_equal(grid.to_numpy(), [[1.0, NAN, 1.0, NAN], [NAN, 1.0, NAN, 1.0]])


def test_layer_grid_of_a_role() -> None:
    table = summary.layers(trees.divergence(RUNS, by_depth), "relative_l2")
    grid = summary.layer_grid(table, "bn", "running_var")
    assert grid.columns.tolist() == [("stem", "b1"), ("stage1", "b3")]
    np.testing.assert_allclose(grid.loc["fc"], [20.005, 40.005])


# ------------------------------------------------------------------------------------------------------------- diffs

BEFORE = {
    "norm.weight": np.array([1.0, 2.0]), "norm.bias": np.array([0.0, 0.0]), "norm.running_mean": np.array([3.0, 4.0]),
    "conv.weight": np.arange(1.0, 5.0).reshape(1, 4, 1, 1), "alone.weight": np.ones((2, 3, 1, 1)),
    "conv.bias": np.array([2.0]),
    "head.weight": np.ones((10, 2)), "head.bias": np.zeros(10),
}  # fmt: skip
AFTER = {
    "norm.weight": np.array([1.0, 2.0]), "norm.bias": np.array([0.0, 1.0]), "norm.running_mean": np.array([3.0, 9.0]),
    "conv.weight": np.arange(1.0, 5.0).reshape(1, 4, 1, 1) * 1.5, "extra.weight": np.ones((5, 7, 1, 1)),
    "conv.bias": np.array([2.0]),
    "head.weight": np.ones((3, 2)), "head.bias": np.zeros(3),
}  # fmt: skip


def test_diff_rows_stand_by_depth_those_of_b_last() -> None:
    rows = summary.diff_rows(wdiv.diff(BEFORE, AFTER, "relative_l2"), ["relative_l2"])
    assert [(row["layer"], row["role"], row["side"], row["relative_l2"]) for row in rows] == [
        ("norm", "gamma", "both", 0.0), ("norm", "beta", "both", None), ("norm", "running_mean", "both", 1.0),
        ("conv", "weight", "both", 0.5), ("conv", "bias", "both", 0.0),
        ("alone", "weight", "a", None), ("head", "weight", "both", None),
        ("head", "bias", "both", None), ("extra", "weight", "b", None),
    ]  # fmt: skip
    assert [row["comparable"] for row in rows] == [True] * 5 + [False] * 4
    assert [row["why"] for row in rows] == [
        "", "one of them is all zeros", "", "", "", "nothing in the other network corresponds to it",
        *["the two have different shapes"] * 2, "nothing in the other network corresponds to it",
    ]  # fmt: skip
    assert {row["partner"] for row in rows if row["side"] == "a"} == {""}
    assert set(rows[0]) == {"layer", "kind", "role", "depth", "partner", "side", "comparable", "why", "relative_l2"}


def test_diff_summary_averages_weights_and_gammas() -> None:
    tree = wdiv.diff(BEFORE | {"steps": np.zeros(1)}, AFTER, ["relative_l2", "gaussian_kl"])
    found = summary.diff_summary(tree, ["relative_l2", "gaussian_kl"])
    assert {name: value for name, value in found.items() if name != "kinds"} == {
        "matched": "by name", "direction": "metric(a, b)", "outside_a": 1, "outside_b": 0,
    }  # fmt: skip
    kinds = found["kinds"]
    assert kinds["bn"] == {"comparable": 1, "not_comparable": 0, "relative_l2": 0.0, "gaussian_kl": 0.0}
    assert kinds["fc"] == {"comparable": 0, "not_comparable": 1, "relative_l2": None, "gaussian_kl": None}
    assert (kinds["conv"]["comparable"], kinds["conv"]["not_comparable"]) == (1, 2)
    assert kinds["conv"]["relative_l2"] == 0.5
