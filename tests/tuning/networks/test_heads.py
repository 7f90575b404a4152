"""Heads: only the classifier is another, and it reads what the network's own read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.tuning.tiny import Log, images, moved, snapshot
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks import models
from wdiv.tuning.networks.heads import HEADS
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton, head_keys, head_layers, layer_table
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.recipe import Recipe

NETWORKS = {  # network -> image size, where the classifier stands, what it reads, what stays of it, auxiliary layers
    "resnet18": (32, "fc", 512, [], []),
    "densenet121": (32, "classifier", 1024, [], []),
    "vgg16": (32, "classifier", 7 * 7 * 512, [], []),
    "vgg16_bn": (32, "classifier", 7 * 7 * 512, [], []),
    "inception_v3": (299, "fc", 2048, [], ["AuxLogits.fc"]),
    "inception_v3:aux_logits=False": (75, "fc", 2048, [], []),
    "mobilenet_v2": (32, "classifier", 1280, [], []),
    "squeezenet1_1": (32, "classifier", 512, ["pool", "flat"], []),
    "googlenet": (64, "fc", 1024, [], ["aux1.fc2", "aux2.fc2"]),
    "efficientnet_b0": (32, "classifier", 1280, [], []),
    "convnext_tiny": (32, "classifier", 768, ["0", "1"], []),
    "swin_t": (32, "head", 768, [], []),
    "vit_b_16": (224, "heads", 768, [], []),
}
MLP = ["hidden1", "relu1", "dropout1", "hidden2", "relu2", "dropout2", "out"]


def logits(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output


def test_the_records_are_complete() -> None:
    assert list(HEADS) == ["linear", "mlp512"]
    assert all(head.long_name and head.source for head in HEADS.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_head_takes_the_place_of_the_classifier_and_of_nothing_else(name: str) -> None:
    size, place, features, kept, auxiliary = NETWORKS[name]
    plain = ModelSpec.parse(name)
    spec = plain.but(head="mlp512")
    model, alone = build_skeleton(spec, 5), build_skeleton(plain, 5)
    head = model.get_submodule(place)
    assert [child for child, _ in head.named_children()] == [*kept, *MLP]
    assert (head.hidden1.in_features, head.hidden1.out_features) == (features, 512)
    assert (head.hidden2.in_features, head.hidden2.out_features) == (512, 512)
    assert (head.out.in_features, head.out.out_features) == (512, 5)
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.3, 0.3]

    def body(of: nn.Module) -> list[tuple[str, torch.Size]]:
        return [(key, value.shape) for key, value in of.state_dict().items() if not key.startswith(f"{place}.")]

    assert body(model) == body(alone)
    new = {f"{place}.{layer}" for layer in ("hidden1", "hidden2", "out")}
    assert head_layers(spec) == new | set(auxiliary)
    assert not head_keys(spec) & {key for key in alone.state_dict() if key.startswith(f"{place}.")}

    table = layer_table(spec, 5, size)
    assert [(layer.name, layer.kind, layer.stage) for layer in table if layer.name in new] == [
        (f"{place}.{layer}", "fc", "head") for layer in ("hidden1", "hidden2", "out")
    ]
    plan = make_plan(model, table, head_layers(spec), parse("fc"))
    assert head_keys(spec) <= set(plan.lrs)
    pixels = torch.empty(2, 3, size, size, device="meta")
    for training in (False, True):
        assert logits(model.train(training)(pixels)).shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2:width_mult=0.1", "squeezenet1_1", "regnet_y_400mf"])
def test_a_head_is_drawn_from_the_seed_after_the_body(name: str) -> None:
    plain = ModelSpec.parse(name)
    spec = plain.but(head="mlp512")
    models._shapes_of.cache_clear()  # what is built to find the classifier must draw nothing from the seed
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(spec, 3, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    again, other, without = (build(s, 3, seed).state_dict() for s, seed in ((spec, 5), (spec, 6), (plain, 5)))
    assert moved(first, again) == set()
    assert head_keys(spec) <= moved(first, other)
    assert all(torch.equal(first[key], without[key]) for key in first if key not in head_keys(spec))
    skeleton = build_skeleton(spec, 3).state_dict()
    assert [(key, value.shape) for key, value in skeleton.items()] == [(k, v.shape) for k, v in first.items()]


def test_the_networks_own_head_is_the_network() -> None:
    spec = ModelSpec("resnet18")
    named = spec.but(head="linear")
    assert moved(build(spec, 3).state_dict(), build(named, 3).state_dict()) == set()
    assert head_keys(named) == head_keys(spec) == {"fc.weight", "fc.bias"}
    assert head_keys(ModelSpec("vgg16")) == {"classifier.6.weight", "classifier.6.bias"}


def test_a_head_trains_alone() -> None:
    spec = ModelSpec.parse("mobilenet_v2:width_mult=0.1,head=mlp512")
    model, table = build(spec, 3), layer_table(spec, 3, 8)
    before = snapshot(model)
    plan = make_plan(model, table, head_layers(spec), parse("fc"))
    apply_freeze(model, plan, table)
    data, log = images(4), Log(model)
    Loop(model, plan, Recipe(epochs=1), InputSpec(8), data, data, seed=0, on_epoch=log).run()
    assert moved(before, model.state_dict()) == set(plan.changing) == head_keys(spec)
