"""Which linear layers of a bare list are the classifier's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from tests.fabric import edit_record, make_store
from wdiv.layers import Layer, LayerTable
from wdiv.store.classifier import classified
from wdiv.store.foreign import layers_from_shapes

torch = pytest.importorskip("torch")

NETWORKS = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "inception_v3", "maxvit_t", "mnasnet0_5",
    "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "resnet18:head=mlp512", "shufflenet_v2_x0_5",
    "swin_t", "swin_v2_t", "vgg11", "vit_b_16",
]  # fmt: skip


def table_and_shapes(text: str) -> tuple[LayerTable, dict[str, tuple[int, ...]]]:
    from wdiv.tuning.networks.models import ModelSpec, build_skeleton, layer_table

    spec = ModelSpec.parse(text)
    shapes = {key: tuple(value.shape) for key, value in build_skeleton(spec, 7).state_dict().items()}
    return layer_table(spec, 7, 299 if spec.name == "inception_v3" else 224), shapes


@pytest.mark.parametrize("text", NETWORKS)
def test_a_file_tells_what_the_network_does(text: str) -> None:
    """Of auxiliary heads a file knows nothing."""
    table, shapes = table_and_shapes(text)
    wanted = {layer.name for layer in table.of("fc") if layer.stage != "aux"}
    assert {layer.name for layer in layers_from_shapes(shapes).of("fc")} == wanted
    alphabetical = layers_from_shapes(dict(sorted(shapes.items())))
    assert {layer.name for layer in alphabetical.of("fc")} == wanted, "safetensors files are sorted"


PLACES = {"classifier.0": "stage4", "classifier.3": "stage4", "aux1.fc1": "stage2", "aux2.fc1": "stage3"}
"""Where the hidden layers of classifiers stood before, that of VGG's and AlexNet's aside."""


@pytest.mark.parametrize("text", [*NETWORKS, "googlenet"])
def test_a_table_of_before_reads_as_one_of_today(text: str) -> None:
    table, _ = table_and_shapes(text)
    assert classified(table) == table
    hidden = {} if text in ("alexnet", "vgg11") else PLACES
    places = {name: stage for name, stage in hidden.items() if name != table.of("fc")[-1].name}
    before = (replace(layer, stage=places.get(layer.name, layer.stage)) for layer in table)
    called = tuple(replace(layer, kind="fc") if layer.kind == "linear" else layer for layer in before)
    assert [layer.kind for layer in classified(LayerTable(called))] == [layer.kind for layer in table]


def test_a_trunk_alone_has_no_classifier() -> None:
    shapes = {f"blocks.{i}.mlp.fc{n}.weight": shape for i in range(3) for n, shape in ((1, (16, 4)), (2, (4, 16)))}
    table = layers_from_shapes(shapes)
    assert {layer.kind for layer in table} == {"linear"}
    staged = LayerTable(tuple(replace(layer, kind="fc", stage="stage1") for layer in table))
    assert {layer.kind for layer in classified(staged)} == {"linear"}


def test_a_store_of_before_opens_with_todays_kinds_beside_a_run_of_today(tmp_path: Path) -> None:
    store = make_store(tmp_path, ("fc",))
    for number, run in enumerate(sorted((store / "runs").iterdir())):

        def change(record: dict[str, Any], number: int = number) -> None:
            layers = record["table"]["layers"]
            layers[2] |= {"kind": ("fc", "linear")[number], "shape": [6, 4]}
            if number:  # a layer that never ran came last
                layers.append(layers.pop(2))

        edit_record(run, change)
    tree = xr.open_datatree(store, engine="wdiv")
    assert tree["linear"]["layer"].values.tolist() == ["stage.conv"]
    assert tree["fc"]["layer"].values.tolist() == ["head"]


def test_what_is_linear_before_the_classifier_does_not_count_unless_it_feeds_it() -> None:
    def kinds(*shapes: tuple[int, int]) -> list[str]:
        layers = (Layer(f"head.{n}", "fc", ("weight",), shape) for n, shape in enumerate(shapes))
        return [layer.kind for layer in classified(LayerTable(tuple(layers)))]

    assert kinds((8, 4), (6, 8), (3, 6)) == ["fc", "fc", "fc"]
    assert kinds((8, 4), (6, 9), (3, 6)) == ["linear", "fc", "fc"]
    assert kinds() == []
