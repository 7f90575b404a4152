"""Stage and block of every layer of the named models, against the papers and against the networks themselves."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from wdiv.layers import LayerTable
from wdiv.store.stages import MODEL_FAMILIES, family_of, stages_by_name, stages_by_resolution
from wdiv.tuning.networks.models import MODELS

TableOf = Callable[[str], LayerTable]

BLOCKS: dict[str, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2),  # He et al. (2016), table 1
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3),
    "densenet121": (6, 12, 24, 16),  # Huang et al. (2017), table 1
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "inception_v3": (3, 5, 3),  # Szegedy et al. (2016), table 1
    "squeezenet1_1": (2, 2, 4),  # Iandola et al. (2016): eight fire modules
    "vgg16": (0,) * 5,
    "vgg19": (0,) * 5,
    "vgg16_bn": (0,) * 5,
    "vgg19_bn": (0,) * 5,
    "mobilenet_v2": (2, 3, 7, 5),  # 16 inverted blocks after the stem's, and the last convolution
}
CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # Simonyan and Zisserman (2015), table 1


def skeleton(name: str) -> Any:
    from wdiv.tuning.networks.models import ModelSpec, build_skeleton

    return build_skeleton(ModelSpec(name), 6)


def test_every_named_model_is_held_to_its_paper() -> None:
    assert set(BLOCKS) == set(MODELS)
    assert all(family_of(name) is not None for name in MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_has_a_stage_and_only_the_classifier_is_the_head(table_of: TableOf, name: str) -> None:
    from wdiv.tuning.networks.models import ModelSpec, head_layers

    table = table_of(name)
    assert all(re.fullmatch(r"stem|stage\d|aux|head", layer.stage) for layer in table)
    heads = {layer.name for layer in table if layer.stage == "head"}
    if name.startswith("vgg"):  # the classifier is three layers, of which one follows the number of classes
        assert heads == {"classifier.0", "classifier.3", "classifier.6"}
    else:
        assert heads == {n for n in head_layers(ModelSpec(name)) if not n.startswith("AuxLogits.")}
        assert len(heads) == 1
    first = [layer.stage for layer in table if layer.stage.startswith("stage")]
    assert first == sorted(first), "stages come in order"
    assert table.stages[-1] == "head"


@pytest.mark.parametrize("name", MODELS)
def test_named_models_have_as_many_layers_as_their_records_say(table_of: TableOf, name: str) -> None:
    record, table = MODELS[name], table_of(name)
    assert tuple(len(table.of(kind)) for kind in ("conv", "bn", "fc")) == (record.conv, record.bn, record.fc)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_those_of_the_paper(table_of: TableOf, name: str) -> None:
    table = table_of(name)
    for number, count in enumerate(BLOCKS[name], start=1):
        met = dict.fromkeys(x.block for x in table if x.stage == f"stage{number}" and x.block >= 0)
        assert list(met) == list(range(count)), f"stage{number}"
    assert f"stage{len(BLOCKS[name]) + 1}" not in table.stages
    if name in CONVOLUTIONS:
        found = Counter(layer.stage for layer in table.of("conv"))
        assert tuple(found[f"stage{i}"] for i in range(1, 6)) == CONVOLUTIONS[name]


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith("vgg")])
def test_a_stage_of_vgg_ends_in_a_pooling(table_of: TableOf, name: str) -> None:
    table, pools = table_of(name), 0
    for number, module in enumerate(skeleton(name).features):
        if f"features.{number}" in table:
            assert table[f"features.{number}"].stage == f"stage{pools + 1}"
        pools += type(module).__name__ == "MaxPool2d"
    assert pools == 5


def by_resolution(name: str, *, size: int = 96) -> LayerTable:
    from wdiv.store.probe import probe
    from wdiv.tuning.networks.models import ModelSpec, head_layers

    return probe(skeleton(name), size, head=head_layers(ModelSpec(name)))


@pytest.mark.parametrize("name", [n for n in MODELS if n.startswith(("resnet", "densenet", "mobilenet", "squeezenet"))])
def test_the_maps_resolution_agrees_with_the_names(table_of: TableOf, name: str) -> None:
    """Two rules that know nothing of each other: module names, and the sizes of what the layers write."""
    named, measured = table_of(name), by_resolution(name)
    assert [(x.name, x.stage) for x in named] == [(x.name, x.stage) for x in measured]


def test_inceptions_stages_are_its_grids(table_of: TableOf) -> None:
    """At 299 pixels the three grids are 35, 17 and 8 wide."""
    torch = pytest.importorskip("torch")
    model, widths = skeleton("inception_v3"), {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda _m, _i, output, name=name: widths.update({name: output.shape[-1]}))
    model.eval()(torch.empty(1, 3, 299, 299, device="meta"))
    table, grid = table_of("inception_v3"), {35: "stage1", 17: "stage2", 8: "stage3"}
    for layer in table:
        child = layer.name.split(".")[0]
        if child.startswith("Mixed_"):  # the two that reduce the grid belong to the one they make
            assert layer.stage == grid[widths[child]]
    assert {layer.name.split(".")[0] for layer in table if layer.stage == "aux"} == {"AuxLogits"}


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("resnet18", "resnet"),
        ("resnext50_32x4d", "resnet"),
        ("wide_resnet101_2", "resnet"),
        ("densenet161", "densenet"),
        ("vgg11_bn", "vgg11_bn"),
        ("vgg11", "vgg11"),
        ("mobilenet_v2", "mobilenet_v2"),
        ("mobilenet_v3_small", None),
        ("squeezenet1_0", None),
        ("googlenet", None),
        ("my_resnet18", None),
        ("", None),
    ],
)
def test_family_of_a_name(model: str, family: str | None) -> None:
    found = family_of(model)
    assert (found and found.name) == family


def test_every_model_has_one_family_at_most() -> None:
    for name in MODELS:
        assert sum(bool(re.fullmatch(family.models, name)) for family in MODEL_FAMILIES.values()) == 1


def test_names_that_a_family_does_not_know_have_no_stage() -> None:
    names = ["conv1", "extra.conv", "layer1.0.conv1", "conv1x", "layer2.0.extra.deep", "fc"]
    places = stages_by_name(MODEL_FAMILIES["resnet"], names)
    assert places == [("stem", -1), ("", -1), ("stage1", 0), ("", -1), ("stage2", 0), ("head", -1)]


def test_blocks_are_numbered_as_they_are_met() -> None:
    names = [f"features.denseblock{b}.denselayer{n}.conv1" for b in (1, 2) for n in (1, 2, 10)]
    assert stages_by_name(MODEL_FAMILIES["densenet"], names) == [(f"stage{b}", n) for b in (1, 2) for n in range(3)]


@pytest.mark.parametrize(
    ("layers", "places"),
    [
        # strides 1 and 2 are the stem, then one stage for each halving
        (
            [("a", 64, 64), ("b", 64, 32), ("c", 32, 16), ("d", 16, 8), ("e", 8, 4), ("f", 4, 2)],
            ["stem", "stem", "stage1", "stage2", "stage3", "stage4"],
        ),
        # a first layer may take any stride at once
        ([("patches", 64, 4), ("b", 4, 4)], ["stage3", "stage3"]),
        # squeeze and excitation reads a single pixel; a linear layer no map at all
        ([("a", 64, 16), ("squeeze", 1, 1), ("gate", 0, 0), ("b", 16, 16)], ["stage1"] * 4),
        # an auxiliary head pools by more than a stage: it rises by one, and the trunk does not go back
        ([("a", 64, 16), ("aux", 4, 4), ("b", 16, 8)], ["stage1", "stage2", "stage2"]),
        # a decoder does not go back either
        ([("a", 64, 16), ("b", 16, 8), ("up", 16, 32)], ["stage1", "stage2", "stage2"]),
        # what is named as the head is the head, wherever it stands
        ([("a", 64, 16), ("h1", 16, 16), ("b", 16, 16), ("h2", 0, 0)], ["stage1", "head", "stage1", "head"]),
        ([], []),
    ],
)
def test_stages_by_resolution(layers: list[tuple[str, int, int]], places: list[str]) -> None:
    names, sizes = [name for name, _, _ in layers], [(i * i, o * o) for _, i, o in layers]
    found = stages_by_resolution(names, sizes, 64, frozenset({"h1", "h2"}))
    assert [stage for stage, _ in found] == places


def test_a_block_is_whole_and_stands_in_the_stage_that_it_ends_in() -> None:
    names = ["conv", "a.1", "a.2", "b.1", "b.2", "plain", "aux", "head"]
    sizes = [(64, 16)] * 4 + [(16, 4), (4, 4), (1, 1), (0, 0)]
    blocks = {name: name[0] for name in names if "." in name}
    found = stages_by_resolution(names, sizes, 8, {"head"}, blocks, {"aux"})
    places = [("stem", -1), ("stem", 0), ("stem", 0), ("stage1", 0), ("stage1", 0), ("stage1", -1)]
    assert found == [*places, ("aux", -1), ("head", -1)]


BLOCKS_OF_OTHERS = {
    "convnext_tiny": (0, 3, 3, 9, 3),  # Liu et al. (2022)
    "efficientnet_b0": (1, 2, 2, 6, 5),  # Tan and Le (2019): 1, 2, 2, 3 + 3, 4 + 1
    "googlenet": (0, 0, 2, 5, 2),  # Szegedy et al. (2015): 3a-b, 4a-e, 5a-b
    "maxvit_t": (0, 6, 6, 15, 6),  # Tu et al. (2022): 2, 2, 5, 2, each an inverted block and two of attention
    "mnasnet0_5": (0, 3, 3, 5, 5),  # Tan et al. (2019): 3, 3, 3 + 2, 4 + 1
    "mobilenet_v3_large": (1, 2, 3, 6, 3),
    "regnet_y_400mf": (0, 1, 3, 6, 6),  # Radosavovic et al. (2020)
    "shufflenet_v2_x0_5": (0, 0, 4, 8, 4),  # Ma et al. (2018)
    "swin_t": (0, 2, 2, 6, 2),  # Liu et al. (2021)
    "swin_v2_t": (0, 2, 2, 6, 2),
    "vit_b_16": (0, 0, 0, 12),  # Dosovitskiy et al. (2021): one resolution
}


@pytest.mark.parametrize("name", BLOCKS_OF_OTHERS)
def test_blocks_of_any_family_are_found_by_where_the_data_goes(name: str) -> None:
    pytest.importorskip("torch")
    table = by_resolution(name, size=224)
    counted = Counter(stage for stage, block in {(x.stage, x.block) for x in table} if block >= 0)
    stages = ("stem", "stage1", "stage2", "stage3", "stage4")
    assert tuple(counted[stage] for stage in stages[: len(BLOCKS_OF_OTHERS[name])]) == BLOCKS_OF_OTHERS[name]


@pytest.mark.parametrize("name", [n for n in MODELS if not n.startswith("vgg")])
def test_the_datas_ways_agree_with_the_names(table_of: TableOf, name: str) -> None:
    """Two rules that know nothing of each other."""
    measured = {layer.name: layer for layer in by_resolution(name, size=299 if name == "inception_v3" else 96)}
    together: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for layer in table_of(name):
        other = measured[layer.name]
        if layer.block >= 0 and other.block >= 0:
            together.setdefault((layer.stage, layer.block), set()).add((other.stage, other.block))
    assert together
    assert all(len(found) == 1 for found in together.values())
