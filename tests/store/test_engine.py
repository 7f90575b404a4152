"""A store as a tree: its layout, its values against those written, and what is read when."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.fabric import (
    BN,
    CHANGES,
    LABELS,
    TABLE,
    base_state,
    edit_record,
    edit_rows,
    held_out,
    logits,
    make_store,
    run_states,
    source_state,
)
from tests.opening import opened
from wdiv import summary
from wdiv.errors import BadInput, BadStore, Damaged, LeftOut
from wdiv.layers import ROLES
from wdiv.store import tensors
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.verify import verify

STRATEGIES, SEEDS, EPOCHS = ("fc", "bn+fc", "conv+fc", "scratch"), (0, 1), 3
RUNS = sorted((f"toynet-toy-n2-{strategy}-auto-s{seed}", strategy, seed) for strategy in STRATEGIES for seed in SEEDS)
IDS = [run_id for run_id, _, _ in RUNS]
STATES = [run_states(strategy, seed, EPOCHS) for _, strategy, seed in RUNS]
RAGGED = {"channel": TABLE.of("bn"), "filter": TABLE.of("conv")}


def written(*keys: str) -> np.ndarray:
    """(run, epoch, …): the tensors that were written, one after the other along their first axis."""
    return np.stack([[np.concatenate([state[key] for key in keys]) for state in states] for states in STATES])


def bn_keys(role: str) -> list[str]:
    return [layer.key(role) for layer in TABLE.of("bn")]


def source(*keys: str) -> np.ndarray:
    """(run, …): what the source gave; NaN for a run from scratch, and for the head, which is new everywhere."""
    given, like = np.concatenate([source_state()[key] for key in keys]), np.concatenate([base_state()[k] for k in keys])
    nothing = np.full(like.shape, np.nan, np.float32)
    fresh = any(key.startswith("head") for key in keys)
    return np.stack([nothing if fresh or strategy == "scratch" else given for _, strategy, _ in RUNS])


def weights(kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Layer name and (run, epoch, out, …) in float64."""
    for layer in TABLE.of(kind):
        yield layer.name, written(layer.key("weight")).astype(np.float64)


VALUES: dict[str, np.ndarray] = {
    **{f"bn/{role}": written(*bn_keys(role)) for role in BN},
    **{f"pretrained/bn/{role}": source(*bn_keys(role)) for role in BN},
    **{f"weights/{x.name}/{role}": written(x.key(role)) for x in TABLE.of("conv", "fc") for role in x.roles},
    **{f"pretrained/weights/{x.name}/{role}": source(x.key(role)) for x in TABLE.of("conv", "fc") for role in x.roles},
}
"""Path in the tree -> the tensors that were written there."""

MOMENTS: dict[str, np.ndarray] = {
    f"{kind}/{moment}": np.stack([getattr(w, moment)(axis=tuple(range(2, w.ndim))) for _, w in weights(kind)], axis=2)
    for kind in ("conv", "fc")
    for moment in ("mean", "std")
} | {
    f"conv/filter_{moment}": np.concatenate(
        [getattr(w, moment)(axis=tuple(range(3, w.ndim))) for _, w in weights("conv")], axis=2
    )
    for moment in ("mean", "std")
}
"""Path in the tree -> moments in float64, by NumPy."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("engine") / "store", STRATEGIES, SEEDS, EPOCHS)


@pytest.fixture
def tree(path: Path) -> xr.DataTree:
    return xr.open_datatree(path, engine="wdiv")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """(file, tensor, rows) of every read from now on; files opened without one are entered as (file, '', 0)."""
    done: list[tuple[str, str, int]] = []
    read, opened = tensors.read, tensors._open

    def counted(path: Path, key: str, *how: Any) -> np.ndarray:
        array = read(path, key, *how)
        done[:] = [entry for entry in done if entry != (path.name, "", 0)]
        done.append((path.name, key, len(array)))
        return array

    def noted(path: Path) -> int:
        done.append((path.name, "", 0))
        return opened(path)

    monkeypatch.setattr(tensors, "read", counted)
    monkeypatch.setattr(tensors, "_open", noted)
    return done


def nobody_computes(*_: object, **__: object) -> None:
    raise AssertionError("dask computed")


# What is read


def test_opening_and_looking_around_reads_nothing(path: Path, reads: list[Any]) -> None:
    tree = xr.open_datatree(path, engine="wdiv")
    repr(tree)
    tree._repr_html_()
    for node in tree.subtree:
        for name, variable in node.dataset.variables.items():
            assert f"{node.path}/{name}".lstrip("/") in VALUES | MOMENTS or variable.load() is not None
    assert tree["bn/frozen"].values.any()
    assert tree["history/train_loss"].values.any()
    tree["bn"].sel(layer="stage.bn").isel(run=0)
    tree["weights/stem.conv/weight"].sel(epoch=2)[:, 1:3].transpose(..., "run")
    assert reads == []


@pytest.mark.parametrize(
    ("variable", "where", "expected"),
    [
        ("bn/gamma", {"epoch": 2, "channel": 5}, [("0002.safetensors", "stage.bn.weight", 1)]),
        ("bn/gamma", {"epoch": 2, "channel": slice(5, 8)}, [("0002.safetensors", "stage.bn.weight", 3)]),
        (
            "bn/running_var",
            {"epoch": 3, "channel": slice(3, 5)},
            [("0003.safetensors", "stem.bn.running_var", 1), ("0003.safetensors", "stage.bn.running_var", 1)],
        ),
        ("bn/beta", {"epoch": [1, 3], "channel": 0}, [(f"000{e}.safetensors", "stem.bn.bias", 1) for e in (1, 3)]),
        ("bn/beta", {"epoch": 0, "channel": 0}, [("base", "stem.bn.bias", 1)]),
        ("weights/stage.conv/weight", {"epoch": 3, "out": 4}, [("base", "stage.conv.weight", 1)]),
        ("weights/head/weight", {"epoch": 0, "out": 2, "in": 1}, [("0000.safetensors", "head.weight", 1)]),
        ("weights/head/bias", {"epoch": 1}, [("0001.safetensors", "head.bias", 3)]),
        ("pretrained/bn/gamma", {"channel": 9}, [("base", "stage.bn.weight", 1)]),
        ("pretrained/weights/head/weight", {}, []),
        ("conv/mean", {"epoch": [0, 1, 2, 3], "layer": 1}, [("base", "stage.conv.weight", 6)]),
        ("bn/gamma", {"epoch": [], "channel": 0}, []),
    ],
)
def test_only_the_rows_asked_for_are_read(
    path: Path, reads: list[Any], variable: str, where: dict[str, Any], expected: list[tuple[str, str, int]]
) -> None:
    tree = xr.open_datatree(path, engine="wdiv")
    run = IDS.index("toynet-toy-n2-bn+fc-auto-s0")
    array = tree[variable].isel(run=run, **where)
    assert reads == []
    values = array.values
    assert [("base" if len(file) > 60 else file, key, rows) for file, key, rows in reads] == expected
    whole = (VALUES | MOMENTS)[variable][run]
    for axis, key in reversed(list(enumerate(where.values()))):
        whole = whole[(slice(None),) * axis + (key,)]
    np.testing.assert_allclose(values, whole, rtol=0 if variable in VALUES else 1e-15)


def test_a_long_run_opens_like_a_short_one(tmp_path: Path, reads: list[Any]) -> None:
    store = make_store(tmp_path / "long", ("bn+fc",), (0,), epochs=1000)
    tree = xr.open_datatree(store, engine="wdiv")
    assert tree.sizes["epoch"] == 1001
    assert "bn" in repr(tree)
    assert reads == []
    one = tree["bn/gamma"].sel(epoch=777).isel(run=0, channel=3).values
    assert reads == [("0777.safetensors", "stem.bn.weight", 1)]
    assert one == run_states("bn+fc", 0, 777)[777]["stem.bn.weight"][3]


# Layout


def test_nodes(tree: xr.DataTree) -> None:
    layers = [layer.name for layer in TABLE.of("conv", "fc")]
    both = ["weights", *(f"weights/{name}" for name in layers)]
    nodes = {"/", "/history", "/bn", "/conv", "/fc", "/pretrained", "/pretrained/bn"}
    assert set(tree.groups) == nodes | {f"/{p}" for p in both} | {f"/pretrained/{p}" for p in both}


def test_dims(tree: xr.DataTree) -> None:
    dims = {f"{node.path}/{k}".lstrip("/"): v.dims for node in tree.subtree for k, v in node.data_vars.items()}
    kernel = ("out", "in", "kh", "kw")
    expected = {
        "saved": ("run", "epoch"),
        **{f"history/{k}": ("run", "epoch") for k in ("train_loss", "train_accuracy", "test_accuracy", "seconds")},
        "history/lr": ("run", "epoch", "kind"),
        **{f"bn/{role}": ("run", "epoch", "channel") for role in BN},
        **{f"pretrained/bn/{role}": ("run", "channel") for role in BN},
        **{f"{kind}/{m}": ("run", "epoch", "layer") for kind in ("conv", "fc") for m in ("mean", "std")},
        **{f"conv/filter_{m}": ("run", "epoch", "filter") for m in ("mean", "std")},
        **{
            f"{kind}/{fact}": ("run", "layer", "role")
            for kind in ("conv", "bn", "fc")
            for fact in ("frozen", "started")
        },
        **{f"{kind}/present": ("layer", "role") for kind in ("conv", "bn", "fc")},
        **{f"{p}/layer_index": (d,) for p, d in (("bn", "channel"), ("pretrained/bn", "channel"), ("conv", "filter"))},
        **{f"{p}/row_size": ("layer",) for p in ("bn", "pretrained/bn", "conv")},
        "weights/head/weight": ("run", "epoch", "out", "in"),
        "pretrained/weights/head/weight": ("run", "out", "in"),
        **{f"weights/{name}.conv/weight": ("run", "epoch", *kernel) for name in ("stem", "stage")},
        **{f"pretrained/weights/{name}.conv/weight": ("run", *kernel) for name in ("stem", "stage")},
        **{f"weights/{name}/bias": ("run", "epoch", "out") for name in ("stage.conv", "head")},
        **{f"pretrained/weights/{name}/bias": ("run", "out") for name in ("stage.conv", "head")},
    }
    assert dims == expected


def test_coords_of_the_runs(tree: xr.DataTree) -> None:
    assert tree.run.values.tolist() == IDS
    assert tree.epoch.values.tolist() == [0, 1, 2, 3]
    on_run = {name for name, coord in tree.coords.items() if coord.dims == ("run",)}
    facts = {"model", "source", "dataset", "n_train", "n_test", "strategy", "bn_mode", "seed"}
    assert on_run == {"run", "final", "state"} | facts
    assert set(tree.state.values) == {"finished"}
    assert tree.strategy.values.tolist() == [strategy for _, strategy, _ in RUNS]
    assert tree.seed.values.tolist() == [seed for _, _, seed in RUNS]
    assert set(tree.source.values) == {"random", "toy weights"}
    assert (tree.source == "random").values.tolist() == [strategy == "scratch" for _, strategy, _ in RUNS]
    assert set(tree.n_train.values) == {6}
    assert tree.attrs["architecture"] == "toynet"
    assert tree.attrs["layer_order"] == "execution"
    assert tree.saved.values.all()


@pytest.mark.parametrize("kind", ["conv", "bn", "fc"])
def test_coords_of_the_layers(tree: xr.DataTree, kind: str) -> None:
    layers, node = TABLE.of(kind), tree[kind]
    for coord, field in (
        ("layer", "name"),
        *((f, f) for f in ("stage", "block", "depth", "kernel", "fan_in", "groups")),
    ):
        assert node.coords[coord].dims == ("layer",)
        assert node.coords[coord].values.tolist() == [getattr(layer, field) for layer in layers]
    assert node.role.values.tolist() == list(ROLES[kind])
    expected = [
        [[role in x.roles and x.key(role) not in CHANGES[strategy] for role in ROLES[kind]] for x in layers]
        for _, strategy, _ in RUNS
    ]
    assert node["frozen"].values.tolist() == expected


@pytest.mark.parametrize(("node", "dim"), [("bn", "channel"), ("pretrained/bn", "channel"), ("conv", "filter")])
def test_ragged_rows(tree: xr.DataTree, node: str, dim: str) -> None:
    """CF contiguous ragged: the row sizes carry the dimension that they count, the index says whose each row is."""
    sizes = [layer.shape[0] for layer in RAGGED[dim]]
    assert tree[node]["row_size"].values.tolist() == sizes
    assert tree[node]["row_size"].attrs["sample_dimension"] == dim
    assert tree[node]["layer_index"].values.tolist() == [i for i, size in enumerate(sizes) for _ in range(size)]
    assert tree[node]["layer_index"].attrs["instance_dimension"] == "layer"


def test_coords_are_plain(tree: xr.DataTree) -> None:
    indexes = [index for node in tree.subtree for index in node.indexes.values()]
    assert indexes
    assert not any(isinstance(index, pd.MultiIndex) for index in indexes)


# Values


@pytest.mark.parametrize("variable", VALUES)
def test_tensors_are_those_written(tree: xr.DataTree, variable: str) -> None:
    values = tree[variable].values
    assert values.dtype == np.float32
    assert values.tobytes() == np.ascontiguousarray(VALUES[variable]).tobytes()


@pytest.mark.parametrize("variable", MOMENTS)
def test_moments_are_numpys_in_float64(tree: xr.DataTree, variable: str) -> None:
    values = tree[variable].values
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, MOMENTS[variable], rtol=1e-12, atol=1e-15)


def test_changing_tensors_differ_from_epoch_to_epoch_and_frozen_ones_do_not(tree: xr.DataTree) -> None:
    """Of the fabric itself: otherwise the tests above could not tell one epoch's file from another's."""
    for _, strategy, seed in RUNS:
        run = f"toynet-toy-n2-{strategy}-auto-s{seed}"
        gamma, kernel = (tree[v].sel(run=run).values for v in ("bn/gamma", "weights/stage.conv/weight"))
        for values, key in ((gamma, "stage.bn.weight"), (kernel, "stage.conv.weight")):
            same = [bool(np.array_equal(values[i], values[j])) for i in range(4) for j in range(i)]
            assert same == [key not in CHANGES[strategy]] * 6


def test_history(tree: xr.DataTree, path: Path) -> None:
    for i, run in enumerate(IDS):
        rows = [json.loads(line) for line in (path / "runs" / run / "history.jsonl").read_text().splitlines()]
        for name in ("train_loss", "train_accuracy", "test_accuracy", "seconds"):
            expected = [np.nan if row[name] is None else row[name] for row in rows]
            np.testing.assert_array_equal(tree[f"history/{name}"].values[i], expected)
    assert np.isnan(tree["history/train_loss"].sel(epoch=0)).all()
    rates = tree["history/lr"]
    assert rates.kind.values.tolist() == ["conv", "bn", "norm", "linear", "fc"]
    assert np.isnan(rates.sel(kind=["conv", "bn", "norm"])).all()
    np.testing.assert_array_equal(rates.sel(kind="fc").isel(run=0), [np.nan, 0.01, 0.01, 0.01])


def test_a_store_made_anew_in_the_same_place_is_not_remembered(tmp_path: Path) -> None:
    means = []
    for seed in (0, 1):
        store = make_store(tmp_path / "store", ("conv+fc",), (0,), epochs=1)
        if seed:  # another run's epoch under the same name and of the same size
            other = make_store(tmp_path / "other", ("conv+fc",), (1,), epochs=1)
            source, target = (next(s.glob("runs/*")) for s in (other, store))
            for name in ("epochs/0001.safetensors", "history.jsonl"):
                shutil.copyfile(source / name, target / name)
        tree = open_store(store)
        means.append(tree["conv/mean"].sel(epoch=1).values.tolist() + tree["bn/gamma"].isel(epoch=1).values.tolist())
        means[-1] += tree["weights/stem.conv/weight"].sel(epoch=1).values.mean(axis=(1, 2, 3, 4)).tolist()
        shutil.rmtree(store)
    assert means[0][0] != means[1][0]
    assert means[1][0][0] == pytest.approx(means[1][-1], rel=1e-5)


# Indexing

INDEXED = ("bn/gamma", "weights/stage.conv/weight", "pretrained/bn/beta", "conv/filter_std", "conv/mean", "fc/mean")


def index_of(size: int) -> st.SearchStrategy[Any]:
    """An integer, a slice, integers in any order and number, or a boolean mask, for an axis of this length.

    Slices that go backwards do so from a place on the axis to its beginning: xarray itself fails on others (empty
    ones raise IndexError, whatever the backend).
    """
    integers = st.integers(-size, size - 1)
    bound = st.none() | st.integers(-size - 2, size + 2)
    slices = st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, 3]))
    slices |= st.builds(slice, st.none() | st.integers(0, size - 1), st.none(), st.sampled_from([-1, -2]))
    fancy = st.lists(integers, max_size=size + 2).map(partial(np.array, dtype=np.int64))
    masks = st.lists(st.booleans(), min_size=size, max_size=size).map(partial(np.array, dtype=bool))
    return integers | slices | fancy | masks


@pytest.fixture(scope="module")
def unread(path: Path) -> xr.DataTree:
    """Opened once: an index of it reads what it asks for, and leaves the tree as it is."""
    return open_store(path)


@given(st.data())
@settings(max_examples=150)
def test_indexing_is_numpys(unread: xr.DataTree, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(INDEXED))
    whole = (VALUES | MOMENTS)[name]
    keys = [data.draw(index_of(size)) for size in whole.shape]
    array = unread[name]
    lazy = array.isel(dict(zip(array.dims, keys, strict=True))).values
    for axis, key in reversed(list(enumerate(keys))):  # every axis by itself, as xarray means it
        whole = whole[(slice(None),) * axis + (key,)]
    assert lazy.shape == whole.shape
    np.testing.assert_allclose(lazy, whole, rtol=1e-12 if whole.dtype == np.float64 else 0)


@given(st.data())
@settings(max_examples=50)
def test_indexing_in_two_steps_is_numpys(unread: xr.DataTree, data: st.DataObject) -> None:
    whole = VALUES["bn/beta"]
    lazy = unread["bn/beta"].variable
    for _ in range(2):
        axis = data.draw(st.integers(0, whole.ndim - 1))
        key = (slice(None),) * axis + (data.draw(index_of(whole.shape[axis]).filter(lambda k: not np.isscalar(k))),)
        whole, lazy = whole[key], lazy[key]
        assume(whole.size)  # xarray itself fails to join a backward slice to an empty one
    np.testing.assert_array_equal(lazy.values, whole)


@given(st.data())
@settings(max_examples=60)
def test_pointwise_indexing_is_numpys(unread: xr.DataTree, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(INDEXED))
    whole = (VALUES | MOMENTS)[name]
    array = unread[name]
    chosen = data.draw(st.lists(st.sampled_from(array.dims), min_size=2, unique=True))
    count = data.draw(st.integers(1, 5))
    points = {
        dim: data.draw(st.lists(st.integers(0, array.sizes[dim] - 1), min_size=count, max_size=count)) for dim in chosen
    }
    lazy = array.isel({dim: xr.DataArray(p, dims="point") for dim, p in points.items()}).transpose("point", ...)
    axes = [array.dims.index(dim) for dim in chosen]
    moved = np.moveaxis(whole, axes, range(len(axes)))[tuple(points[dim] for dim in chosen)]
    np.testing.assert_allclose(lazy.values, moved, rtol=1e-12)


def test_labels_and_masks(tree: xr.DataTree) -> None:
    bn = tree["bn"].to_dataset()
    stage = bn.gamma.isel(channel=(bn.stage[bn.layer_index] == "stage1").values).sel(epoch=[3, 1])
    np.testing.assert_array_equal(stage.values, VALUES["bn/gamma"][:, [3, 1], 4:])
    some = tree["bn/gamma"].isel(run=(tree.strategy == "fc").values)
    np.testing.assert_array_equal(some.values, VALUES["bn/gamma"][[strategy == "fc" for _, strategy, _ in RUNS]])


# Dask, other ways in, files


def test_dask_chunks_hold_the_same_and_wait_to_be_asked(path: Path, tree: xr.DataTree, reads: list[Any]) -> None:
    with dask.config.set(scheduler=nobody_computes):
        lazy = xr.open_datatree(path, engine="wdiv", chunks={})
        total = lazy["weights/stage.conv/weight"].mean(("in", "kh", "kw"))
        repr(lazy)
    assert reads == []
    assert lazy["bn/gamma"].chunks == ((1,) * 8, (1,) * 4, (10,))
    assert lazy["pretrained/bn/gamma"].chunks == ((1,) * 8, (10,))
    with dask.config.set(scheduler="synchronous"):
        np.testing.assert_allclose(
            total.values, VALUES["weights/stage.conv/weight"].mean((3, 4, 5)), rtol=1e-5, atol=1e-7
        )
        assert lazy.load().identical(tree.load())


def test_a_tree_travels_to_another_process_unread(path: Path, reads: list[Any]) -> None:
    sent = pickle.loads(pickle.dumps(xr.open_datatree(path, engine="wdiv", chunks={})))
    assert reads == []
    np.testing.assert_array_equal(sent["bn/gamma"].compute(scheduler="synchronous"), VALUES["bn/gamma"])


@pytest.mark.parametrize("loaded", [True, False])
def test_netcdf_brings_the_tree_back(path: Path, tmp_path: Path, tree: xr.DataTree, loaded: bool) -> None:
    (tree.load() if loaded else tree).to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as back:
        xr.testing.assert_identical(back.load(), open_store(path).load())


def test_xarray_finds_the_engine_by_itself(path: Path, tree: xr.DataTree) -> None:
    assert xr.open_datatree(path).load().identical(tree.load())
    assert xr.open_datatree(str(path)).identical(tree)


@pytest.mark.parametrize("group", ["/bn", "bn", "/conv", "/history", "/weights/stem.conv", "/pretrained/bn"])
def test_one_node_as_a_dataset(path: Path, tree: xr.DataTree, group: str, reads: list[Any]) -> None:
    dataset = xr.open_dataset(path, engine="wdiv", group=group)
    assert reads == []
    node = tree[group].to_dataset()
    assert set(node.coords) <= set(dataset.coords)
    assert set(tree.coords) <= set(dataset.coords)
    assert set(dataset.data_vars) == {*node.data_vars, "saved"}
    for name, variable in node.variables.items():
        xr.testing.assert_identical(dataset[name].variable.load(), variable.load())


def test_the_root_as_a_dataset(path: Path, tree: xr.DataTree) -> None:
    assert xr.open_dataset(path, engine="wdiv").identical(tree.to_dataset())
    with pytest.raises(BadInput, match=re.escape("no group '/bm'; did you mean '/bn'?")):
        xr.open_dataset(path, engine="wdiv", group="/bm")


def test_groups_as_xarray_gives_them(path: Path, tree: xr.DataTree) -> None:
    groups = xr.open_groups(path, engine="wdiv")
    assert set(groups) == set(tree.groups)
    assert groups["/bn"].gamma.dims == ("run", "epoch", "channel")


@pytest.mark.parametrize("dropped", ["gamma", ["gamma", "std"]])
def test_dropping_variables(path: Path, dropped: str | list[str]) -> None:
    tree = xr.open_datatree(path, engine="wdiv", drop_variables=dropped)
    assert "gamma" not in tree["bn"]
    assert "beta" in tree["bn"]
    assert ("std" in tree["conv"]) == (dropped == "gamma")


# Stores that are not rectangular, not finished, not there


def test_runs_of_unequal_length(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("bn+fc",), (0,), epochs=3)
    make_store(store, ("bn+fc",), (1,), epochs=1, planned=3)
    tree = open_store(store)
    assert tree.epoch.values.tolist() == [0, 1, 2, 3]
    assert tree.saved.values.tolist() == [[True] * 4, [True, True, False, False]]
    for variable in ("bn/gamma", "weights/stem.conv/weight", "conv/mean", "conv/filter_std", "history/seconds"):
        values = tree[variable].values
        missing = np.isnan(values).reshape(2, 4, -1)
        assert missing[1, 2:].all()
        assert not missing[0].any()
        assert not missing[1, :2].any()
    np.testing.assert_array_equal(tree["bn/beta"].values[1, :2], written(*bn_keys("beta"))[IDS.index(RUNS[1][0]), :2])
    tree.to_netcdf(tmp_path / "tree.nc")
    with xr.open_datatree(tmp_path / "tree.nc") as back:
        xr.testing.assert_identical(back.load(), open_store(store).load())


def test_one_tree_for_each_architecture(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("fc",), (0,))
    make_store(store, ("fc", "bn+fc"), (0,), label="other:net")
    with pytest.raises(BadInput, match=r"several architectures; give --group \(group=\) one of other:net, toynet$"):
        xr.open_datatree(store, engine="wdiv")
    for group, runs in (("toynet", 1), ("/toynet", 1), ("other:net", 2)):
        tree = xr.open_datatree(store, engine="wdiv", group=group)
        assert tree.sizes["run"] == runs
        assert tree.attrs["architecture"] == group.strip("/")
    with pytest.raises(BadInput, match=r"no architecture 'toynett'; did you mean 'toynet'\?"):
        open_store(store, "toynett")


def test_runs_of_one_architecture_have_the_same_layers(store: Path) -> None:
    run = sorted(store.glob("runs/*"))[1]
    edit_record(run, lambda record: record["table"]["layers"][0].update(shape=[8, 3, 3, 3]))
    with pytest.raises(BadStore, match=r"its layers are not those of .*, though both are 'toynet'"):
        open_store(store)


def test_an_epoch_counts_once_its_row_is_there(store: Path) -> None:
    run = sorted(store.glob("runs/*"))[0]
    history = run / "history.jsonl"
    lines = history.read_text().splitlines(keepends=True)
    history.write_text("".join(lines[:-1]))
    assert (run / "epochs" / "0003.safetensors").is_file()
    tree = open_store(store)
    assert tree.saved.values.tolist() == [[True, True, True, False], *[[True] * 4] * 3]
    assert np.isnan(tree["bn/gamma"].values[0, 3]).all()
    history.unlink()
    assert run.name not in open_store(store).run
    for other in store.glob("runs/*/history.jsonl"):
        other.unlink()
    with pytest.raises(BadStore, match="no run has saved an epoch yet"):
        open_store(store)


def test_folders_that_are_no_stores(tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.write_text("x")
    for path, message in (
        (tmp_path / "none", "none: no such folder"),
        (file, "file: no such folder"),
        (empty, "empty: no runs in it; a wdiv store has a folder 'runs' with a 'run.json' in each run"),
    ):
        with pytest.raises(BadStore, match=re.escape(message)):
            xr.open_datatree(path, engine="wdiv")
    with pytest.raises(ValueError, match="did not find a match in any of xarray's currently installed IO backends"):
        xr.open_datatree(empty)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"run.json: damaged: no JSON"),
        ("[1]", r"run.json: damaged: no JSON object"),
        ('{"format": 99}', r"run.json: written in format 99; this wdiv reads formats 1 to 2"),
        ('{"format": 1, "id": "x"}', r"run.json: lacks base, bn_eps"),
    ],
)
def test_a_damaged_record_is_named(store: Path, content: str, message: str) -> None:
    file, *others = sorted(store.glob("runs/*/run.json"))
    file.write_text(content)
    with pytest.warns(LeftOut, match=message):
        assert open_store(store).run.values.tolist() == [other.parent.name for other in others]
    for other in others:
        other.unlink()
    with pytest.warns(LeftOut), pytest.raises(BadStore, match=message):
        open_store(store)


@pytest.mark.parametrize("content", [b'{"epoch": 0}\n{"epo', b'{"epoch": 0}\n\xff\n', b"7\n", b'{"x": 1}\n', b"\n"])
def test_a_damaged_history_is_named(store: Path, content: bytes) -> None:
    file, *others = sorted(store.glob("runs/*/history.jsonl"))
    file.write_bytes(content)
    with pytest.warns(LeftOut, match=r"history.jsonl: damaged"):
        assert open_store(store).run.values.tolist() == [other.parent.name for other in others]


def test_a_file_that_went_away_is_named(store: Path) -> None:
    tree = open_store(store)
    for file in store.glob("runs/*/epochs/0002.safetensors"):
        file.unlink()
    with pytest.raises(BadStore, match=r"0002.safetensors: damaged: no such file"):
        tree["bn/gamma"].sel(epoch=2).load()
    assert np.isfinite(tree["bn/gamma"].sel(epoch=[0, 1, 3]).values).all()


# --- predictions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    return make_store(tmp_path / "predicted", ("fc", "bn+fc"), (0, 1), 2, predicted=True)


def test_predictions_are_those_that_each_epoch_gave_each_image(predicted: Path) -> None:
    tree = open_store(predicted)
    node = tree["predictions"].to_dataset()
    assert node.logits.dims == ("run", "epoch", "image", "class")
    assert (node.logits.dtype, node.sizes["image"]) == (np.float32, 9 + 3), "seeds share one image held out"
    assert node["class"].values.tolist() == ["a", "b", "c"]
    for run, strategy, seed in zip(node.run.values, tree.strategy.values, tree.seed.values.tolist(), strict=True):
        for epoch in node.epoch.values.tolist():
            one, wanted = node.sel(run=run, epoch=epoch), logits(strategy, seed, epoch)
            for part, rows in (("test", np.arange(9)), ("validation", held_out(seed))):
                mine = one.isel(image=np.flatnonzero(one.part.values == part))
                place = {name: i for i, name in enumerate(mine.file.values)}
                folder = "test" if part == "test" else "pool"
                order = [place[f"{folder}/{row}.png"] for row in rows.tolist()]
                assert mine.logits.values[order].tobytes() == wanted[part].tobytes()
                assert mine.label.values[order].tolist() == (LABELS if part == "test" else rows).tolist()
            assert np.isnan(one.logits.values[one.part.values == ""]).all()
    assert (node.part.values == "").sum() == 4 * 1, "each run was asked about two of the three"
    assert node.probabilities.values.tolist() == ["softmax"] * 4


def test_opening_predictions_reads_none_and_one_epoch_reads_one_file(predicted: Path) -> None:
    with opened() as counts:
        node = open_store(predicted)["predictions"].to_dataset()
        assert not [file for file in counts if file.suffix == ".safetensors"]
        node.logits.isel(run=0, epoch=1, image=[3, 1], **{"class": 0}).load()
    read = [file for file in counts if file.suffix == ".safetensors"]
    assert [file.parts[-2:] for file in read] == [("predictions", "0001.safetensors")]
    whole = node.logits.values
    keys = (slice(1, None), np.array([2, 0]), slice(None, None, 3), np.array([2, 1]))
    np.testing.assert_array_equal(node.logits[keys].values, whole[1:][:, [2, 0]][:, :, ::3][..., [2, 1]])


def test_runs_on_other_images_share_none_and_each_has_its_own_classes(predicted: Path) -> None:
    folder = predicted / "runs" / "toynet-toy-n2-fc-auto-s0"
    other_images = {"data_digest": "1" * 64, "class_names": ["x", "y", "z"], "dataset": "other"}
    edit_record(folder, lambda record: record.update(other_images))
    tree = open_store(predicted)
    node = tree["predictions"].to_dataset()
    assert node.sizes["image"] == 9 + 3 + 9 + 2
    other = tree.run.values.tolist().index(folder.name)
    assert node.class_name.values[other].tolist() == ["x", "y", "z"]
    assert {tuple(names) for names in np.delete(node.class_name.values, other, 0)} == {("a", "b", "c")}
    for i, (strategy, seed) in enumerate(zip(tree.strategy.values, tree.seed.values.tolist(), strict=True)):
        mine = node.logits.values[i, 2][node.part.values[i] == "test"]
        assert mine.tobytes() == logits(strategy, seed, 2)["test"].tobytes()
    assert [row["classes"][0] for row in summary.results(tree).to_dict("records")].count("x") == 1


def test_what_is_not_kept_is_nan_and_a_store_without_predictions_has_no_node(predicted: Path, tmp_path: Path) -> None:
    edit_rows(min((predicted / "runs").iterdir()), lambda rows: rows[1].pop("predictions"))
    node = open_store(predicted)["predictions"].to_dataset().load()
    asked = node.part.values[0] != ""
    assert np.isnan(node.logits.values[0, 1]).all()
    assert np.isfinite(node.logits.values[0, [0, 2]][:, asked]).all()
    assert "predictions" not in open_store(make_store(tmp_path / "without", ("fc",), (0,), 1)).children


def test_a_list_of_images_that_is_damaged_stops_nothing_else(predicted: Path) -> None:
    whole = open_store(predicted)["predictions"].to_dataset().load()
    (lost,) = [file for file in (predicted / "images").iterdir() if "test/8.png" in file.read_text()]
    lost.write_text(lost.read_text().replace("8.png", "9.png"))
    node = open_store(predicted)["predictions"].to_dataset().load()
    assert set(np.unique(node.part.values)) == {"", "validation"}
    kept = node.logits.values[node.part.values[:, None].repeat(3, 1) == "validation"]
    assert kept.tobytes() == whole.logits.values[whole.part.values[:, None].repeat(3, 1) == "validation"].tobytes()


def test_predictions_are_written_to_netcdf_and_come_back(predicted: Path, tmp_path: Path) -> None:
    tree = open_store(predicted)
    node = tree["predictions"].to_dataset().load()
    tree.to_netcdf(tmp_path / "whole.nc")
    with xr.open_datatree(tmp_path / "whole.nc") as back:
        xr.testing.assert_identical(back["predictions"].to_dataset().load(), node)


def test_epochs_that_somebody_took_away_are_named_and_the_rest_is_there(tmp_path: Path) -> None:
    """The first, the last and the one that counts are kept; to save the room of the others is common."""
    store = make_store(tmp_path / "s", ("bn+fc", "fc"), (0,), 5)
    with xr.open_datatree(store, engine="wdiv") as whole:
        whole.load()
    thin = Run(store / "runs" / str(whole["run"].values[0]))
    for epoch in (1, 2, 4):
        thin.epoch_file(epoch).unlink()
    assert (thin.thinned, thin.epochs()) == ([1, 2, 4], [0, 3, 5])
    told = f"{thin.path.name}: epochs 1, 2, 4 left out: no longer there, and not thinned by wdiv"
    with pytest.warns(LeftOut, match=re.escape(told)):
        tree = xr.open_datatree(store, engine="wdiv")
    assert tree["saved"].values.tolist() == [[True, False, False, True, False, True], [True] * 6]
    wanted = whole["bn/gamma"].where(tree["saved"])
    np.testing.assert_array_equal(tree["bn/gamma"].values, wanted.values)
    np.testing.assert_array_equal(tree["history/test_accuracy"].values, whole["history/test_accuracy"].values)
    with pytest.raises(BadInput, match=r"epoch 4 is not saved; saved: 0, 3, 5; it was thinned, and nearest.* 3 and 5$"):
        thin.checkpoint(4)
    (problems,) = [one.problems for one in verify(store) if one.problems]
    assert problems == tuple(f"{thin.epoch_file(epoch)}: missing" for epoch in (1, 2, 4))


def test_a_run_without_the_epoch_that_counts_is_damaged(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 3)
    (run,) = CheckpointStore.open(store)
    run.epoch_file(3).unlink()
    assert run.thinned == []
    with pytest.raises(Damaged, match="no such file"):
        run.checkpoint(3)


def test_the_first_epoch_may_go_where_later_ones_hold_all_that_it_held(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 3)
    (run,) = CheckpointStore.open(store)
    run.epoch_file(0).unlink()
    assert run.thinned == run.missing == [0]
    assert run.state_dict(3)["head.weight"].shape == (3, 6)
    edit_record(run.path, lambda record: record.update(new=[*record["new"], "stage.conv.bias"]))
    (needy,) = CheckpointStore.open(store)
    assert needy.thinned == [], "a tensor that started at random and never changes is in epoch 0 alone"
