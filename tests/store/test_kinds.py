"""Norms, and convolutions of one to three dimensions, transposed or not, in a tree: dims, values, moments by filter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import load_file, save_file

from wdiv.layers import Layer, LayerTable
from wdiv.store.engine import open_store
from wdiv.store.imports import import_run
from wdiv.store.record import RunRecord
from wdiv.store.seals import fast_digest, pack, sealed_lines, write_sealed

SHAPES = {
    "a.weight": (6, 2, 5), "a.bias": (6,),  # one dimension
    "b.weight": (4, 6, 3, 3), "b.bias": (6,),  # transposed
    "c.weight": (5, 4, 1, 2, 3),  # three dimensions
    "n.weight": (6,), "n.bias": (6,),
    "m.weight": (4,),  # an RMSNorm
    "head.weight": (3, 4),
}  # fmt: skip
EPOCHS = (1, 2)


def state(epoch: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(epoch)
    return {key: rng.normal(size=shape).astype(np.float32) for key, shape in SHAPES.items()}


@pytest.fixture
def tree(tmp_path: Path) -> xr.DataTree:
    for epoch in EPOCHS:
        save_file(state(epoch), tmp_path / f"{epoch}.safetensors")
    import_run(tmp_path, base=tmp_path / "1.safetensors", out=tmp_path / "store", name="x")
    return open_store(tmp_path / "store")


def test_kinds_stand_in_nodes_of_their_own(tree: xr.DataTree) -> None:
    layers = {kind: tree[kind]["layer"].values.tolist() for kind in ("conv", "norm", "fc")}
    assert layers == {"conv": ["a", "b", "c"], "norm": ["m", "n"], "fc": ["head"]}
    assert "bn" not in tree.children


def test_norms_are_ragged_as_batchnorms_are(tree: xr.DataTree) -> None:
    node = tree["norm"]
    assert node["gamma"].dims == node["beta"].dims == ("run", "epoch", "channel")
    assert node["row_size"].values.tolist() == [4, 6]
    assert node["row_size"].attrs["sample_dimension"] == "channel"
    assert node["layer_index"].values.tolist() == [0] * 4 + [1] * 6
    assert node["role"].values.tolist() == ["gamma", "beta"]
    for i, epoch in enumerate(EPOCHS):
        held = state(epoch)
        gamma = np.concatenate([held["m.weight"], held["n.weight"]])
        beta = np.concatenate([np.full(4, np.nan), held["n.bias"]])  # the RMSNorm has none
        np.testing.assert_array_equal(node["gamma"].values[0, i], gamma)
        np.testing.assert_array_equal(node["beta"].values[0, i], beta)
    np.testing.assert_array_equal(tree["pretrained/norm/gamma"].values[0], node["gamma"].values[0, 0])
    np.testing.assert_array_equal(
        node["gamma"].isel(channel=[9, 0, 4, 3]).values, node["gamma"].values[..., [9, 0, 4, 3]]
    )


@pytest.mark.parametrize(
    ("layer", "dims"),
    [("a", ("out", "in", "k")), ("b", ("in", "out", "kh", "kw")), ("c", ("out", "in", "kd", "kh", "kw"))],
)
def test_kernels_of_every_dimension(tree: xr.DataTree, layer: str, dims: tuple[str, ...]) -> None:
    weight = tree[f"weights/{layer}/weight"]
    assert weight.dims == ("run", "epoch", *dims)
    assert tree[f"pretrained/weights/{layer}/weight"].dims == ("run", *dims)
    for i, epoch in enumerate(EPOCHS):
        np.testing.assert_array_equal(weight.values[0, i], state(epoch)[f"{layer}.weight"])
    chosen = weight.isel({"in": [1, 0], "out": slice(1, 4)}).values
    axis = dims.index("out")
    expected = np.take(np.take(weight.values, [1, 2, 3], axis + 2), [1, 0], 3 - axis)
    np.testing.assert_array_equal(chosen, expected)
    if layer != "c":
        assert tree[f"weights/{layer}/bias"].dims == ("run", "epoch", "out")
        assert tree[f"weights/{layer}/bias"].sizes["out"] == weight.sizes["out"]


def test_moments_by_filter_follow_the_outputs(tree: xr.DataTree) -> None:
    node = tree["conv"]
    assert node["row_size"].values.tolist() == [6, 6, 5]
    assert node["fan_in"].values.tolist() == [10, 36, 24]
    assert node["kernel"].values.tolist() == ["5", "3x3", "1x2x3"]
    for i, epoch in enumerate(EPOCHS):
        held = {key: value.astype(np.float64) for key, value in state(epoch).items()}
        filters = [held["a.weight"].reshape(6, -1), held["b.weight"].swapaxes(0, 1).reshape(6, -1)]
        filters.append(held["c.weight"].reshape(5, -1))
        np.testing.assert_allclose(node["filter_mean"].values[0, i], np.concatenate([f.mean(1) for f in filters]))
        np.testing.assert_allclose(node["filter_std"].values[0, i], np.concatenate([f.std(1) for f in filters]))
        np.testing.assert_allclose(node["std"].values[0, i], [f.std() for f in filters])


def test_netcdf_brings_it_back(tree: xr.DataTree, tmp_path: Path) -> None:
    tree.load().to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as back:
        xr.testing.assert_identical(back.load(), tree)


def test_a_transposed_layer_of_groups_in_a_store_of_wdivs_own(tmp_path: Path) -> None:
    """Types tell of groups; a bare state dict would not."""
    layer = Layer("up", "conv", ("weight", "bias"), (4, 3, 2, 2), groups=2, transposed=True)
    values = {"up.weight": np.arange(48, dtype=np.float32).reshape(4, 3, 2, 2), "up.bias": np.ones(6, np.float32)}
    run = tmp_path / "runs" / "r"
    (run / "epochs").mkdir(parents=True)
    (tmp_path / "bases").mkdir()
    save_file(values, tmp_path / "bases" / "b.safetensors")
    save_file(values, run / "epochs" / "0001.safetensors")
    keys = tuple(values)
    record = RunRecord(
        "r", "net", "net", {}, None, 0, (), "w", "d", "", 1, 1, "scratch", "auto", 0, {"epochs": 1}, {"size": 8}, "b",
        keys, keys, (), {}, LayerTable((layer,)),
    )  # fmt: skip
    write_sealed(run / "run.json", record.to_json())
    digests = pack({key: fast_digest(value) for key, value in values.items()})
    (run / "history.jsonl").write_text(sealed_lines([{"epoch": 1, "test_accuracy": 0.5, "tensors": digests}]))
    tree = open_store(tmp_path)
    assert tree["weights/up/weight"].dims == ("run", "epoch", "in", "out_of_group", "kh", "kw")
    assert tree["weights/up/bias"].shape == (1, 1, 6)
    assert tree["conv/row_size"].item() == 6
    weight = load_file(run / "epochs" / "0001.safetensors")["up.weight"]
    expected = [weight[2 * g : 2 * g + 2, o].mean() for g in range(2) for o in range(3)]
    np.testing.assert_allclose(tree["conv/filter_mean"].values[0, 0], expected)
