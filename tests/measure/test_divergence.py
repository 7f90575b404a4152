"""wdiv.divergence: every number against the files, for every kind of reference; what cannot be compared, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import make_store, rewrite
from tests.measure.conftest import PAIR_METRICS, SHORT, WEIGHT_METRICS
from tests.measure.plain import assert_divergence
from wdiv.errors import BadInput, UnknownName
from wdiv.measure import DEFAULT_METRICS, INCOMPARABLE, REASONS, Flag, why
from wdiv.metrics import METRICS

OTHER = "toynet-toy-n2-conv+fc-auto-s0"


@pytest.mark.parametrize(
    ("reference", "compared"),
    [("pretrained", 22 * 11), (0, 30 * 13), ("2", 28 * 13), ("previous", 22 * 13), (OTHER, 30 * 13), (SHORT, 16 * 13)],
)  # saved epochs of runs, times tensors: 11 of the trunk, 2 of the head
def test_every_value_and_flag_is_what_the_files_say(
    grid: Path, tree: xr.DataTree, reference: str | int, compared: int
) -> None:
    found = wdiv.divergence(tree, reference=reference)
    plain = int(reference) if str(reference).isdecimal() else reference
    assert assert_divergence(found, grid, plain) == compared * len(DEFAULT_METRICS), "all that can be, no fewer"


def test_the_direction_is_metric_of_reference_and_run(tree: xr.DataTree) -> None:
    """KL and relative L2 are directed, so swapping run and reference must give the other value."""
    there = wdiv.divergence(tree, reference=OTHER).sel(run="toynet-toy-n2-scratch-auto-s0", drop=True)
    back = wdiv.divergence(tree, reference="toynet-toy-n2-scratch-auto-s0").sel(run=OTHER, drop=True)
    for kind in ("conv", "bn", "fc"):
        xr.testing.assert_allclose(there[kind]["cosine_distance"], back[kind]["cosine_distance"])
        for name in ("gaussian_kl", "relative_l2"):
            both = np.isfinite(there[kind][name]) & np.isfinite(back[kind][name])
            assert (there[kind][name] != back[kind][name]).where(both, other=True).all()
    assert there.attrs["direction"] == "metric(reference, run)"


def test_a_new_head_is_not_comparable_with_pretrained_weights_and_never_zero(div: xr.DataTree) -> None:
    """The source's head has ten classes, the runs' three: that the numbers are there does not make them comparable."""
    saved = (div["fc/flag"] & int(Flag.NOT_SAVED)) == 0
    assert (div["fc/flag"].where(saved, other=int(Flag.NO_START)) == int(Flag.NO_START)).all()
    for name in DEFAULT_METRICS:
        assert div["fc"][name].isnull().all()


def test_a_new_head_of_the_source_s_own_shape_is_not_comparable_either(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc",), (0,), 1)
    base = next((store / "bases").iterdir())
    rewrite(base, {"head.weight": lambda w: w[:3], "head.bias": lambda b: b[:3]})
    head = wdiv.divergence(wdiv.open(store))["fc"]
    assert (head["flag"] == int(Flag.NO_START)).all()
    assert head["relative_l2"].isnull().all()


def test_what_starts_from_random_weights_has_no_pretrained_ones(div: xr.DataTree) -> None:
    scratch = div.isel(run=np.flatnonzero(div["strategy"] == "scratch"))
    assert (scratch["bn/flag"] == int(Flag.NO_START)).all()
    assert scratch["bn/gaussian_kl"].isnull().all()


def test_epochs_that_a_shorter_run_has_not_saved(tree: xr.DataTree, div: xr.DataTree) -> None:
    assert tree["saved"].sel(run=SHORT).values.tolist() == [True, True, False, False]
    assert tree["saved"].drop_sel(run=SHORT).all()
    bn = div["bn"].sel(run=SHORT)
    assert (bn["flag"].isel(epoch=[2, 3]) == int(Flag.NOT_SAVED)).all()
    assert bn["relative_l2"].isel(epoch=[2, 3]).isnull().all()
    assert (bn["flag"].isel(epoch=[0, 1]) == 0).all()


def test_an_absent_bias_is_absent_in_every_epoch(div: xr.DataTree) -> None:
    bias = div["conv"].sel(layer="stem.conv", role="bias")
    assert (bias["flag"] == int(Flag.ABSENT)).all()
    assert bias["relative_l2"].isnull().all()


@pytest.mark.parametrize("reference", ["pretrained", 0, "previous"])
def test_frozen_tensors_are_exactly_at_the_identity(tree: xr.DataTree, reference: str | int) -> None:
    found = wdiv.divergence(tree, PAIR_METRICS, reference)
    for name in PAIR_METRICS:
        checked, spectral = 0, METRICS[name].family == "spectral"
        for kind in ("conv", "bn"):
            flag = found[kind]["flag"] & ~(0 if spectral else int(Flag.NO_MATRIX))
            still = tree[kind]["frozen"] & (flag == 0)
            checked += int(still.sum())
            values = found[kind][name].values[still.transpose(*found[kind][name].dims).values]
            assert set(values.tolist()) == {METRICS[name].identity} or (spectral and kind == "bn" and not values.size)
        assert checked > (10 if spectral else 50), name


def test_moving_tensors_move_farther_every_epoch(div: xr.DataTree) -> None:
    gamma = div["bn/relative_l2"].sel(run="toynet-toy-n2-bn+fc-auto-s0", role="gamma")
    assert (gamma.isel(epoch=0) == 0).all()
    assert (gamma.diff("epoch") > 0).all()


def spoil(store: Path, epoch: int, change: Any) -> xr.Dataset:
    """The BN node of a one-run store in which one gamma has been changed after an epoch."""
    rewrite(next((store / "runs").iterdir()) / "epochs" / f"{epoch:04d}.safetensors", {"stage.bn.weight": change})
    return wdiv.divergence(wdiv.open(store), ["gaussian_kl", "relative_l2"])["bn"].to_dataset().isel(run=0)


@pytest.fixture
def lone(tmp_path: Path) -> Path:
    return make_store(tmp_path / "lone", ("bn+fc",), (0,), 2)


def test_a_gamma_without_spread_has_no_gaussian_divergence(lone: Path) -> None:
    bn = spoil(lone, 2, np.ones_like)
    gamma = bn.sel(layer="stage.bn", role="gamma")
    assert gamma["flag"].values.tolist() == [0, 0, int(Flag.ZERO_SPREAD)]
    assert np.isnan(gamma["gaussian_kl"].values).tolist() == [False, False, True]
    assert np.isfinite(gamma["relative_l2"]).all(), "the paired metric does not mind"
    others = bn["flag"].where((bn["layer"] != "stage.bn") | (bn["role"] != "gamma"), 0)
    assert (others == 0).all(), "and no other tensor is touched"


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_flagged_in_their_epoch(lone: Path, hole: float) -> None:
    gamma = spoil(lone, 1, lambda g: np.where(np.arange(len(g)) == 2, hole, g)).sel(layer="stage.bn", role="gamma")
    assert gamma["flag"].values.tolist() == [0, int(Flag.NOT_FINITE), 0]
    for name in ("gaussian_kl", "relative_l2"):
        assert np.isnan(gamma[name].values).tolist() == [False, True, False]


def test_a_beta_that_starts_at_zero(lone: Path) -> None:
    """Fresh BatchNorms have beta = 0: nothing to be relative to once it moves, and no movement until then."""
    rewrite(next((lone / "bases").iterdir()), {"stem.bn.bias": np.zeros_like})
    beta = wdiv.divergence(wdiv.open(lone), ["gaussian_kl", "relative_l2"])["bn"].sel(layer="stem.bn", role="beta")
    both = int(Flag.ZERO_SPREAD | Flag.ZERO_NORM)
    assert beta["flag"].values.tolist() == [[0, both, both]]
    for name in ("gaussian_kl", "relative_l2"):
        np.testing.assert_array_equal(beta[name].values, [[0.0, np.nan, np.nan]])


# ------------------------------------------------------------------------------------------------ the tree it returns


def test_the_result_is_labelled(tree: xr.DataTree, div: xr.DataTree) -> None:
    assert list(div.children) == ["conv", "bn", "fc"]
    assert dict(div.attrs) == {
        "Conventions": "CF-1.11", "reference": "pretrained", "reduction": "layer", "title": "wdiv store grid",
        "direction": "metric(reference, run)", "architecture": "toynet", "layer_order": "execution",
    }  # fmt: skip
    assert set(div.to_dataset().coords) == set(tree.to_dataset().coords)
    assert not div.to_dataset().data_vars
    for kind, node in div.children.items():
        assert set(node.data_vars) == {*DEFAULT_METRICS, "flag"}
        assert {v.dims for v in node.data_vars.values()} == {("run", "epoch", "layer", "role")}
        assert {"layer", "role", "depth", "stage", "block", "kernel", "fan_in", "groups"} <= set(node.coords)
        for coord in ("layer", "role", "depth", "stage"):
            assert node[coord].values.tolist() == tree[kind][coord].values.tolist()
        for name in DEFAULT_METRICS:
            assert node[name].attrs == {**METRICS[name].attrs, "ancillary_variables": "flag"}
        assert node["flag"].attrs["flag_masks"] == [int(bit) for bit in Flag]
        assert len(node["flag"].attrs["flag_meanings"].split()) == len(Flag)


def test_metrics_are_given_by_name_each_once(tree: xr.DataTree) -> None:
    one = wdiv.divergence(tree, "relative_l2")
    two = wdiv.divergence(tree, ["relative_l2", "relative_l2"])
    assert list(one["bn"].data_vars) == ["relative_l2", "flag"]
    xr.testing.assert_identical(one, two)


def test_other_metrics_do_not_change_a_metric_s_values(tree: xr.DataTree) -> None:
    some = tree.isel(run=[0, 3, 5])
    together = wdiv.divergence(some, WEIGHT_METRICS)
    for name in WEIGHT_METRICS:
        alone = wdiv.divergence(some, name)
        for kind in ("conv", "bn", "fc"):
            xr.testing.assert_identical(alone[kind][name], together[kind][name])


@pytest.mark.parametrize("choice", [{"run": [5, 0]}, {"epoch": [0, 2]}, {"run": [3], "epoch": [1, 3]}])
def test_a_part_of_the_tree_gives_that_part_of_the_result(
    tree: xr.DataTree, div: xr.DataTree, choice: dict[str, Any]
) -> None:
    xr.testing.assert_identical(wdiv.divergence(tree.isel(choice)), div.isel(choice))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"metrics": "gausian_kl"}, UnknownName, "unknown metric 'gausian_kl'; did you mean 'gaussian_kl'"),
        ({"metrics": ["relative_l2", "l3"]}, UnknownName, "unknown metric 'l3'"),
        ({"metrics": "features"}, BadInput, "compares features on images, not weights"),
        ({"metrics": "spectral", "reduction": "filter"}, BadInput, "has no value for one filter; only for a layer"),
        ({"metrics": "spectral", "reduction": "stage"}, BadInput, "has no value for one stage; only for a layer"),
        ({"reduction": "block"}, BadInput, "reduction 'block': one of layer, filter, stage"),
        ({"metrics": []}, BadInput, "at least one metric"),
        ({"reference": "pretraned"}, BadInput, "reference 'pretraned'.*did you mean 'pretrained'"),
        ({"reference": OTHER[:-1] + "7"}, BadInput, f"did you mean .*{OTHER[:-1]}".replace("+", r"\+")),
        ({"reference": 4}, BadInput, "reference epoch 4 is not saved; saved: 0 to 3"),
        ({"reference": "9"}, BadInput, "reference epoch 9 is not saved"),
        ({"reference": -1}, BadInput, "reference epoch -1 is not saved"),
        ({"reference": "²"}, BadInput, "reference '²'"),
    ],
)
def test_a_wrong_question_is_answered_in_one_line(
    tree: xr.DataTree, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        wdiv.divergence(tree, **arguments)
    assert "\n" not in str(caught.value)


def test_a_tree_that_holds_no_weights_is_refused(div: xr.DataTree) -> None:
    for other in (xr.DataTree(), div):
        with pytest.raises(BadInput, match="not a tree of weights"):
            wdiv.divergence(other)


@pytest.mark.parametrize("dimension", ["run", "epoch"])
def test_a_tree_without_its_dimensions_is_refused(tree: xr.DataTree, dimension: str) -> None:
    with pytest.raises(BadInput, match="must keep both dimensions"):
        wdiv.divergence(tree.isel({dimension: 0}))


def test_every_flag_has_its_reason() -> None:
    assert set(REASONS) == set(Flag)
    assert len(set(REASONS.values())) == len(Flag)
    assert why(0) == ""
    assert (
        why(Flag.NOT_SAVED | Flag.NOT_FINITE)
        == "this epoch is not saved; it holds inf or NaN, or numbers too large to add up"
    )
    assert not INCOMPARABLE & (Flag.ZERO_SPREAD | Flag.ZERO_NORM | Flag.NOT_FINITE), "these are comparable layers"
