"""One value a filter, or one a stage: every number against the files, and labelled as CF has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.measure.plain import METRICS, assert_divergence, runs_of
from wdiv.errors import BadInput
from wdiv.metrics import FAMILIES
from wdiv.metrics import METRICS as RECORDS

OTHER = "toynet-toy-n2-conv+fc-auto-s0"
UNIT = {"conv": "filter", "bn": "channel", "fc": "unit"}
NAMES = ("relative_l2", "cosine_distance", "mean_abs", "wasserstein1")  # defined where there is one value


@pytest.mark.parametrize("reduction", ["layer", "filter", "stage"])
@pytest.mark.parametrize("reference", ["pretrained", 0, "previous", OTHER])
def test_every_value_and_flag_is_what_the_files_say(
    grid: Path, tree: xr.DataTree, reduction: str, reference: str | int
) -> None:
    found = wdiv.divergence(tree, NAMES, reference, reduction=reduction)
    assert found.attrs["reduction"] == reduction
    assert assert_divergence(found, grid, reference, reduction, NAMES) > 900


def test_every_family_has_the_filters_and_stages_that_it_says(grid: Path, tree: xr.DataTree) -> None:
    """Kernels have a spread, so all metrics of distributions are defined there."""
    for reduction in ("filter", "stage"):
        able = [n for n in METRICS if reduction in FAMILIES[RECORDS[n].family].reductions]
        assert {RECORDS[name].family for name in able} == {"gaussian", "paired", "empirical"}
        conv = wdiv.divergence(tree, able, 0, reduction=reduction)["conv"].sel(role="weight", epoch=3)
        for name, run in runs_of(grid).items():
            for u, take in enumerate(run.units("conv", reduction)):
                if 3 in run.states:
                    a, b = take(run.states[0], "weight"), take(run.states[3], "weight")
                    for metric in able:
                        wanted = METRICS[metric](a, b) if (a != b).any() else RECORDS[metric].identity  # type: ignore[arg-type, operator]
                        got = float(conv[metric].sel(run=name)[u])
                        assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12), (name, u, metric)


def test_filters_are_labelled_as_contiguous_ragged_arrays(tree: xr.DataTree) -> None:
    found = wdiv.divergence(tree, "l2", reduction="filter")
    for kind, dim in UNIT.items():
        node = found[kind]
        sizes = {"conv": [4, 6], "bn": [4, 6], "fc": [3]}[kind]
        assert node["l2"].dims == node["flag"].dims == ("run", "epoch", dim, "role")
        assert node["row_size"].values.tolist() == sizes
        assert node["row_size"].attrs["sample_dimension"] == dim
        assert node["layer_index"].dims == (dim,)
        assert node["layer_index"].attrs["instance_dimension"] == "layer"
        assert node["layer_index"].values.tolist() == [i for i, n in enumerate(sizes) for _ in range(n)]
        assert node["layer"].values.tolist() == tree[kind]["layer"].values.tolist()
        assert node["depth"].dims == ("layer",)


def test_stages_are_labelled(tree: xr.DataTree) -> None:
    found = wdiv.divergence(tree, "l2", reduction="stage")
    assert found["conv/l2"].dims == ("run", "epoch", "stage", "role")
    assert found["conv/stage"].values.tolist() == found["bn/stage"].values.tolist() == ["stem", "stage1"]
    assert found["fc/stage"].values.tolist() == ["head"]
    assert found["bn/layers"].values.tolist() == [1, 1]


def test_several_layers_of_a_stage_are_measured_as_one_tensor(tree: xr.DataTree) -> None:
    """Let both convolutions stand in one stage; its distance is that of the two together."""
    one = tree.copy()
    for kind in ("conv", "bn"):
        one[kind] = one[kind].to_dataset().assign_coords(stage=("layer", np.array(["trunk", "trunk"], dtype=object)))
    together = wdiv.divergence(one, ["l2", "relative_l2", "max_abs"], 0, reduction="stage")["conv"]
    apart = wdiv.divergence(tree, ["l2", "max_abs"], 0)["conv"]
    assert together["layers"].values.tolist() == [2]
    weight = {"role": "weight"}
    joined = np.sqrt((apart["l2"].sel(weight) ** 2).sum("layer", skipna=False))
    np.testing.assert_allclose(together["l2"].sel(weight)[:, :, 0], joined, rtol=1e-12)
    np.testing.assert_array_equal(
        together["max_abs"].sel(weight)[:, :, 0], apart["max_abs"].sel(weight).max("layer", skipna=False)
    )
    bias = {"role": "bias"}
    np.testing.assert_array_equal(together["l2"].sel(bias)[:, :, 0], apart["l2"].sel(bias)[:, :, 1])


@pytest.mark.parametrize("reduction", ["filter", "stage"])
def test_pairs_of_runs_have_filters_and_stages_too(grid: Path, tree: xr.DataTree, reduction: str) -> None:
    found = wdiv.pairwise(tree, ["relative_l2", "mean_abs"], reduction=reduction)
    runs = runs_of(grid)
    last = {name: run.states[max(run.states)] for name, run in runs.items()}
    assert found["conv/relative_l2"].dims == (
        "run",
        "run_b",
        UNIT["conv"] if reduction == "filter" else "stage",
        "role",
    )
    for kind, node in found.children.items():
        for name in ("relative_l2", "mean_abs"):
            for i, a in enumerate(runs):
                for j, b in enumerate(runs):
                    for u, take in enumerate(runs[a].units(kind, reduction)):
                        for k, role in enumerate(node["role"].values):
                            left, right = take(last[a], role), take(last[b], role)
                            got = float(node[name].values[i, j, u, k])
                            wanted = np.nan if left is None else METRICS[name](left, right)  # type: ignore[arg-type]
                            assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("metrics", "how", "words"),
    [
        ("spectral", {"reduction": "filter"}, "has no value for one filter; only for a layer"),
        ("subspace_overlap", {"reduction": "stage"}, "'subspace_overlap' has no value for one stage"),
        ("features", {}, "compares features on images, not weights"),
        ("trajectory", {}, "follows the epochs of a run; it does not compare two sets of weights"),
        ("l2", {"reduction": "network"}, "reduction 'network': one of layer, filter, stage"),
    ],
)
def test_pairs_of_runs_refuse_in_one_line(tree: xr.DataTree, metrics: str, how: dict[str, str], words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        wdiv.pairwise(tree, metrics, **how)
    assert "\n" not in str(caught.value)
