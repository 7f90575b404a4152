"""Networks by name: what the record says is what torchvision builds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.tuning.tiny import Log, images
from wdiv.errors import BadInput, UnknownName
from wdiv.store.probe import probe
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import (
    MODELS,
    ModelSpec,
    build,
    build_skeleton,
    class_keys,
    head_keys,
    head_layers,
    layer_table,
    new_keys,
    other_keys,
)
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.recipe import Recipe

TYPES = {"conv": nn.Conv2d, "bn": nn.BatchNorm2d, "fc": nn.Linear}


@pytest.mark.parametrize("name", MODELS)
def test_the_record_is_right(name: str) -> None:
    record, spec = MODELS[name], ModelSpec(name)
    skeleton = build_skeleton(spec, 7)
    counts = {kind: sum(isinstance(m, of) for m in skeleton.modules()) for kind, of in TYPES.items()}
    assert (record.conv, record.bn, record.fc) == (counts["conv"], counts["bn"], counts["fc"])
    table = layer_table(spec, 7, record.min_size)
    assert {kind: len(table.of(kind)) for kind in TYPES} == counts
    assert table.order == "execution"
    assert all(layer.stage for layer in table), "every layer has a stage"
    assert [layer.depth for layer in table] == list(range(len(table)))
    assert record.source

    head = head_layers(spec)
    assert {layer.name for layer in table if layer.name in head} == head
    assert {key: skeleton.state_dict()[key].shape[0] for key in head_keys(spec)} == dict.fromkeys(head_keys(spec), 7)
    last = max((layer for layer in table if layer.stage != "aux"), key=lambda layer: layer.depth)
    assert last.name in head
    assert {layer.stage for layer in table if layer.name in head} <= {"head", "aux"}

    with pytest.raises(BadInput, match=f"{name}: takes images of at least {record.min_size} pixels"):
        layer_table(spec, 7, record.min_size - 1)
    if record.min_size > 8:  # the least that wdiv takes; the others could do with less
        with pytest.raises(BadInput, match="cannot take images of"):
            probe(skeleton, record.min_size - 1)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenet_v2", "squeezenet1_1"])
def test_a_network_trains_on_the_smallest_images_it_takes(name: str) -> None:
    spec, size = ModelSpec(name), MODELS[name].min_size
    model, table = build(spec, 3), layer_table(spec, 3, size)
    plan = make_plan(model, table, head_layers(spec), parse("conv+fc"), "batch")
    apply_freeze(model, plan, table)
    log, data = Log(model), images(4, size=size)
    Loop(model, plan, Recipe(epochs=1, batch_size=2), InputSpec(size), data, data, seed=0, on_epoch=log).run()
    assert math.isfinite(log.rows[-1]["train_loss"])


def test_inception_without_its_auxiliary_head_takes_smaller_images() -> None:
    spec = ModelSpec.parse("inception_v3:aux_logits=False")
    assert len(layer_table(spec, 3, 75)) == 94 + 94 + 1
    assert head_keys(spec) == {"fc.weight", "fc.bias"}
    with pytest.raises(BadInput, match="at least 75 pixels"):
        layer_table(spec, 3, 74)
    with pytest.raises(BadInput, match=r"at least 299 pixels \(without its auxiliary head, .*aux_logits=False, 75\)"):
        layer_table(ModelSpec("inception_v3"), 3, 75)


@pytest.mark.parametrize(
    ("name", "kinds", "head"),
    [
        ("efficientnet_b0", (81, 49, 0, 1), {"classifier.1"}),
        ("convnext_tiny", (22, 0, 36, 1), {"classifier.2"}),
        ("regnet_y_400mf", (85, 53, 0, 1), {"fc"}),
        ("googlenet", (59, 59, 2, 3), {"fc", "aux1.fc2", "aux2.fc2"}),
        ("vit_b_16", (1, 0, 36, 1), {"heads.head"}),
        ("shufflenet_v2_x0_5", (56, 56, 0, 1), {"fc"}),
        ("alexnet", (5, 0, 0, 3), {"classifier.6"}),
    ],
)
def test_any_torchvision_classifier_will_do(name: str, kinds: tuple[int, ...], head: set[str]) -> None:
    spec = ModelSpec(name)
    assert name not in MODELS
    table = layer_table(spec, 4, 224)
    assert head_layers(spec) == head
    assert {key.rpartition(".")[0] for key in head_keys(spec)} == head
    skeleton = build_skeleton(spec, 4)
    conv, bn, linear = (sum(isinstance(m, of) for m in skeleton.modules()) for of in TYPES.values())
    assert tuple(len(table.of(kind)) for kind in ("conv", "bn", "linear", "fc")) == kinds
    assert (conv, bn, linear) == (*kinds[:2], sum(kinds[2:]))
    assert table.stages[-1] == "head"
    for strategy in ("fc", "conv+fc"):
        plan = make_plan(skeleton, table, head_layers(spec), parse(strategy))
        assert set(head_keys(spec)) <= set(plan.lrs)


def test_googlenet_trains_both_its_auxiliary_heads() -> None:
    spec = ModelSpec("googlenet")
    model, table = build(spec, 3), layer_table(spec, 3, 64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    plan = make_plan(model, table, head_layers(spec), parse("fc"))
    apply_freeze(model, plan, table)
    data, log = images(2, size=64), Log(model)
    Loop(model, plan, Recipe(epochs=1), InputSpec(64), data, data, seed=0, on_epoch=log).run()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == set(plan.changing)
    assert changed == {f"{name}.{role}" for name in ("aux1.fc2", "aux2.fc2", "fc") for role in ("weight", "bias")}


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("resnet18", "resnet18", {}),
        ("mobilenet_v2:width_mult=0.35", "mobilenet_v2", {"width_mult": 0.35}),
        ("inception_v3:aux_logits=False,dropout=0.1", "inception_v3", {"aux_logits": False, "dropout": 0.1}),
        ("googlenet:aux_logits=False", "googlenet", {"aux_logits": False}),
        ("resnet18:head=mlp512,beside=True", "resnet18", {"head": "mlp512", "beside": True}),
    ],
)
def test_arguments_are_spelled_as_they_are_read(text: str, name: str, args: dict[str, Any]) -> None:
    spec = ModelSpec.parse(text)
    assert (spec.name, spec.args, spec.bn_eps) == (name, args, None)
    assert spec.label == text
    assert ModelSpec.parse(spec.label) == spec
    assert len(build_skeleton(spec, 5).state_dict()) > 0


def test_arguments_are_replaced_in_place_and_none_removes_one() -> None:
    spec = ModelSpec("resnet18", {"head": "mlp512", "norm_layer": None}, 1e-3)
    assert spec.but(head="linear", beside=True) == ModelSpec(
        "resnet18", {"head": "linear", "norm_layer": None, "beside": True}, 1e-3
    )
    assert spec.but(head=None, beside=None) == ModelSpec("resnet18", {"norm_layer": None}, 1e-3)
    assert spec.args["head"] == "mlp512"


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "inception_v3", "squeezenet1_1", "convnext_tiny"])
def test_kinds_of_keys(name: str) -> None:
    plain = ModelSpec(name)
    assert class_keys(plain) == new_keys(plain) == head_keys(plain)
    assert new_keys(plain.but(head="linear", beside=False)) == head_keys(plain)
    both = plain.but(head="mlp512", beside=True)
    keys = {text: frozenset(build_skeleton(spec, 4).state_dict()) for text, spec in (("plain", plain), ("both", both))}
    assert new_keys(both) - head_keys(both) == {key for key in keys["both"] if key.startswith("beside.")}
    assert class_keys(both) < new_keys(both)
    assert head_keys(both) & keys["plain"] == head_keys(plain) & keys["both"], (
        "of the names that both have, auxiliary heads"
    )
    assert other_keys(plain) == other_keys(both) >= keys["plain"] | keys["both"]


def test_arguments_may_be_lists() -> None:
    """As a source card has them, where the command line has no room for one."""
    spec = ModelSpec("resnet50", {"replace_stride_with_dilation": [False, True, True]})
    assert head_keys(spec) == {"fc.weight", "fc.bias"}
    assert build_skeleton(spec, 5).layer4[1].conv2.dilation == (4, 4)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("resnet19", UnknownName, "unknown model 'resnet19'; did you mean 'resnet18'"),
        ("", UnknownName, "unknown model ''"),
        ("ResNet18", UnknownName, "did you mean 'resnet18'"),
        ("fasterrcnn_resnet50_fpn", UnknownName, "unknown model"),
        ("mobilenet_v2:width_mult", BadInput, "write arguments as NAME:argument=value, not 'width_mult'"),
        ("mobilenet_v2:width_mult=wide", BadInput, "model 'mobilenet_v2:width_mult=wide': "),
        ("googlenet:aux_logits=false", BadInput, "write arguments as NAME:argument=value, not 'aux_logits=false'"),
        ("resnet18:head=mlp", UnknownName, "unknown head 'mlp'; did you mean 'mlp512'?"),
        ("resnet18:head=512", UnknownName, "unknown head '512'"),
        ("resnet18:beside=yes", BadInput, "model 'resnet18:beside=yes': beside is True or False, not 'yes'"),
        ("mobilenet_v2:2=3", BadInput, "write arguments as NAME:argument=value"),
        ("mobilenet_v2:width_mult=__import__('os')", BadInput, "write arguments as NAME:argument=value"),
        ("mobilenet_v2:widthmult=0.5", BadInput, "model 'mobilenet_v2:widthmult=0.5': .*widthmult"),
        ("resnet18:num_classes=3", BadInput, "num_classes"),
        ("resnet18:width_per_group=3", BadInput, "BasicBlock only supports groups=1"),
    ],
)
def test_a_network_that_cannot_be_is_an_error(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        build(ModelSpec.parse(text), 3)


@pytest.mark.parametrize("size", [64, 299])
def test_an_image_size_that_a_transformer_does_not_take_is_an_error(size: int) -> None:
    with pytest.raises(BadInput, match=f"vit_b_16: Wrong image height! Expected 224 but got {size}"):
        layer_table(ModelSpec("vit_b_16"), 3, size)


def test_building_draws_from_its_seed_and_leaves_pytorchs_generator_alone() -> None:
    spec = ModelSpec.parse("mobilenet_v2:width_mult=0.1")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(spec, 3, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build(spec, 3, seed=5).state_dict(), build(spec, 3, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["features.0.0.weight"], other["features.0.0.weight"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        from torchvision.models import mobilenet_v2

        plain = mobilenet_v2(num_classes=3, width_mult=0.1).state_dict()
    assert all(np.array_equal(first[key], plain[key]) for key in plain), "torchvision's own initialisation"


def test_the_epsilon_reaches_every_batchnorm_and_only_if_it_is_given() -> None:
    for eps, expected in ((None, 1e-5), (1e-3, 1e-3)):
        model = build(ModelSpec("resnet18", {}, eps), 3)
        assert {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {expected}


@pytest.mark.parametrize("name", ["resnet18", "regnet_y_400mf"])
def test_a_skeleton_has_the_shapes_of_the_network(name: str) -> None:
    """RegNet is built for real, because it computes its widths with tensors."""
    spec = ModelSpec(name)
    ours, theirs = build_skeleton(spec, 3).state_dict(), build(spec, 3).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
