"""Layers as data: keys, shapes, coordinates and the JSON that run.json holds."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from wdiv.layers import BUFFERS, KINDS, ROLES, Layer, LayerTable

NAMES = st.text("abc.0123_é", min_size=0, max_size=8)


@st.composite
def layers(draw: st.DrawFn, name: str) -> Layer:
    kind = draw(st.sampled_from(KINDS))
    roles = tuple(role for role in ROLES[kind] if draw(st.booleans()))
    shape = tuple(draw(st.lists(st.integers(1, 512), min_size=1, max_size=4)))
    stage = draw(st.sampled_from(["", "stem", "stage1", "stage2", "head"]))
    numbers = [draw(st.integers(low, 99)) for low in (0, -1, 1)]
    transposed = kind == "conv" and len(shape) > 1 and draw(st.booleans())
    return Layer(name, kind, roles, shape, numbers[0], stage, numbers[1], numbers[2], transposed)


@st.composite
def tables(draw: st.DrawFn) -> LayerTable:
    names = draw(st.lists(NAMES, unique=True, max_size=6))
    order = draw(st.sampled_from(["execution", "registration"]))
    return LayerTable(tuple(draw(layers(name)) for name in names), order)


@given(tables())
def test_json_gives_an_equal_table_back(table: LayerTable) -> None:
    back = LayerTable.from_json(json.loads(json.dumps(table.to_json(), allow_nan=False)))
    assert back == table
    assert all(
        type(a) is type(b) for x, y in zip(back, table, strict=True) for a, b in zip(_row(x), _row(y), strict=True)
    )
    assert [hash(layer) for layer in back] == [hash(layer) for layer in table]


def _row(layer: Layer) -> list[object]:
    return [getattr(layer, field.name) for field in fields(layer)]


@given(tables())
def test_coords_hold_every_field_and_fit_a_dataset(table: LayerTable) -> None:
    coords = LayerTable.coords(table)
    data = xr.Dataset(coords=coords)
    assert data.sizes["layer"] == len(table)
    for i, layer in enumerate(table):
        found = {name: data[name].values[i] for name in coords}
        assert found == {
            "layer": layer.name, "stage": layer.stage, "kernel": layer.kernel, "depth": layer.depth,
            "block": layer.block, "fan_in": layer.fan_in, "groups": layer.groups,
        }  # fmt: skip


def test_every_field_of_a_layer_is_a_coordinate_or_told_by_the_node() -> None:
    """A field added to Layer must find its way into the trees."""
    told = {"kind", "roles", "shape", "transposed"}  # node, dimension role, kernel with fan_in, order of in and out
    assert {field.name for field in fields(Layer)} - told - {"name"} <= set(LayerTable.coords(()))


@pytest.mark.parametrize(
    ("kind", "role", "key"),
    [
        ("conv", "weight", "a.0.weight"),
        ("conv", "bias", "a.0.bias"),
        ("bn", "gamma", "a.0.weight"),
        ("bn", "beta", "a.0.bias"),
        ("bn", "running_mean", "a.0.running_mean"),
        ("bn", "running_var", "a.0.running_var"),
        ("norm", "gamma", "a.0.weight"),
        ("norm", "beta", "a.0.bias"),
        ("fc", "weight", "a.0.weight"),
        ("fc", "bias", "a.0.bias"),
    ],
)
def test_keys_are_those_of_pytorch(kind: str, role: str, key: str) -> None:
    layer = Layer("a.0", kind, tuple(ROLES[kind]), (2, 3))
    assert layer.key(role) == key
    assert replace(layer, name="").key(role) == key.removeprefix("a.0.")


def test_the_vocabulary_is_complete() -> None:
    assert KINDS == ("conv", "bn", "norm", "linear", "fc")
    assert {(kind, role) for kind in KINDS for role in ROLES[kind]} == {
        ("conv", "weight"), ("conv", "bias"), ("bn", "gamma"), ("bn", "beta"), ("bn", "running_mean"),
        ("bn", "running_var"), ("norm", "gamma"), ("norm", "beta"), ("linear", "weight"), ("linear", "bias"),
        ("fc", "weight"), ("fc", "bias"),
    }  # fmt: skip
    assert sorted(BUFFERS) == ["running_mean", "running_var"]
    for roles in ROLES.values():
        assert len(set(roles.values())) == len(roles), "two roles of a kind would share a tensor"


@pytest.mark.parametrize(
    ("kind", "shape", "fan_in", "kernel"),
    [
        ("conv", (64, 3, 7, 7), 147, "7x7"),
        ("conv", (8, 1, 3, 1), 3, "3x1"),
        ("conv", (8, 4, 5), 20, "5"),
        ("conv", (8, 4, 1, 3, 3), 36, "1x3x3"),
        ("bn", (64,), 1, ""),
        ("norm", (64,), 1, ""),
        ("fc", (10, 512), 512, ""),
    ],
)
def test_fan_in_and_kernel(kind: str, shape: tuple[int, ...], fan_in: int, kernel: str) -> None:
    layer = Layer("x", kind, tuple(ROLES[kind]), shape)
    assert (layer.fan_in, layer.kernel) == (fan_in, kernel)
    assert layer.shape_of("weight") == shape
    assert all(layer.shape_of(role) == shape[:1] for role in ROLES[kind] if role != "weight")


@pytest.mark.parametrize(("groups", "outputs", "fan_in"), [(1, 6, 36), (2, 12, 18), (4, 24, 9)])
def test_transposed_convolutions_count_outputs_on_their_second_axis(groups: int, outputs: int, fan_in: int) -> None:
    layer = Layer("x", "conv", ("weight", "bias"), (4, 6, 3, 3), groups=groups, transposed=True)
    assert (layer.outputs, layer.fan_in, layer.kernel) == (outputs, fan_in, "3x3")
    assert layer.shape_of("bias") == (outputs,)
    weight = np.arange(4 * 6 * 9).reshape(4, 6, 3, 3)
    filters = layer.filters(weight)
    assert filters.shape == (outputs, fan_in)
    for output in range(outputs):  # output o of group g is made of that group's inputs alone
        group, place = divmod(output, 6)
        inputs = slice(group * 4 // groups, (group + 1) * 4 // groups)
        assert filters[output].tolist() == weight[inputs, place].ravel().tolist()


def test_filters_of_other_layers_are_their_first_axis() -> None:
    weight = np.arange(24).reshape(4, 2, 3)
    layer = Layer("x", "conv", ("weight",), (4, 2, 3), groups=2)
    assert layer.filters(weight).tolist() == weight.reshape(4, 6).tolist()
    assert (layer.outputs, layer.shape_of("bias")) == (4, (4,))


def test_a_record_written_before_there_were_transposed_layers_is_read_and_written_the_same() -> None:
    old = {"order": "execution", "layers": [{
        "name": "a", "kind": "conv", "roles": ["weight"], "shape": [4, 3, 3, 3], "depth": 0, "stage": "stem",
        "block": -1, "groups": 1,
    }]}  # fmt: skip
    table = LayerTable.from_json(old)
    assert not table["a"].transposed
    assert json.loads(json.dumps(table.to_json())) == old
    turned = LayerTable((replace(table["a"], transposed=True),))
    assert LayerTable.from_json(json.loads(json.dumps(turned.to_json()))) == turned


TABLE = LayerTable(
    (
        Layer("a", "conv", ("weight",), (4, 3, 3, 3), 0, "stem"),
        Layer("b", "bn", ("gamma",), (4,), 1, "stem"),
        Layer("c", "conv", ("weight",), (4, 4, 1, 1), 2, "stage2"),
        Layer("d", "conv", ("weight",), (4, 4, 1, 1), 3, ""),
        Layer("e", "bn", ("gamma",), (4,), 4, "stage1"),
        Layer("f", "fc", ("weight",), (2, 4), 5, "stem"),
    )
)


def test_a_table_is_looked_up_by_name_and_kind() -> None:
    assert len(TABLE) == 6
    assert TABLE["c"] is TABLE.layers[2]
    assert "c" in TABLE
    assert "x" not in TABLE
    assert [layer.name for layer in TABLE.of("conv")] == ["a", "c", "d"]
    assert [layer.name for layer in TABLE.of("fc", "bn")] == ["b", "e", "f"], "the table's order, not the question's"
    assert TABLE.of() == ()
    with pytest.raises(KeyError):
        TABLE["x"]


def test_stages_stand_in_the_order_in_which_they_are_met() -> None:
    assert TABLE.stages == ("stem", "stage2", "stage1")


def test_two_layers_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="same name"):
        LayerTable((TABLE["a"], replace(TABLE["b"], name="a")))


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TABLE["a"].depth = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        TABLE.order = "registration"  # type: ignore[misc]


def test_equality_sees_the_order() -> None:
    assert LayerTable(TABLE.layers) == TABLE
    assert LayerTable(TABLE.layers, "registration") != TABLE
    assert LayerTable(TABLE.layers[::-1]) != TABLE


def test_coords_have_plain_types() -> None:
    coords = LayerTable.coords(TABLE)
    kinds = {name: values.dtype for name, (_, values) in coords.items()}
    assert {name for name, dtype in kinds.items() if dtype == np.dtype(object)} == {"layer", "stage", "kernel"}
    assert {name for name, dtype in kinds.items() if dtype == np.int64} == {"depth", "block", "fan_in", "groups"}
