"""The network beside: its logits are added, and the network that it stands beside stays what it was."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import fx, nn

from tests.tuning.networks.test_heads import NETWORKS, logits
from tests.tuning.tiny import moved, snapshot
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton, head_layers, layer_table
from wdiv.tuning.networks.side_network import WIDTHS, small_network
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.spelling import parse

LAYERS = [(f"{kind}{i}", kind) for i in range(1, 5) for kind in ("conv", "bn")] + [("fc", "fc")]
NUMBERED = [  # with numbers in them; VGG without its three large layers, which take seconds to draw
    (name + (",head=mlp512" if ":" in name else ":head=mlp512") * name.startswith("vgg"), size)
    for name, (size, *_) in NETWORKS.items()
    if name not in ("vit_b_16", "swin_t", "vgg16")
]


def attached(name: str, classes: int = 3) -> nn.Module:
    """The network with a small one beside it: cheap numbers, the same at each call."""
    model = build_skeleton(ModelSpec.parse(name).but(beside=True), classes).to_empty(device="cpu")
    make = torch.Generator().manual_seed(0)
    for value in model.parameters():
        nn.init.normal_(value, 0.0, value[0].numel() ** -0.5, generator=make)
    for key, value in model.named_buffers():
        value.fill_(key.endswith("running_var"))
    return model


def pixels(size: int) -> torch.Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_it_stands_in_the_table_and_leaves_the_rest_as_it_was(name: str) -> None:
    size = NETWORKS[name][0]
    plain = ModelSpec.parse(name)
    spec = plain.but(beside=True)
    model, alone = build_skeleton(spec, 5), build_skeleton(plain, 5)
    assert type(model).__name__ == type(alone).__name__
    assert isinstance(model, type(alone))
    ours, theirs = ([(k, v.shape) for k, v in m.state_dict().items()] for m in (model, alone))
    assert ours[: len(theirs)] == theirs
    assert all(key.startswith("beside.") for key, _ in ours[len(theirs) :])
    assert head_layers(spec) == head_layers(plain)

    table = layer_table(spec, 5, size)
    before = layer_table(plain, 5, size)
    added = [layer for layer in table if layer.name.startswith("beside.")]
    rest = [replace(layer, depth=0) for layer in table if layer not in added]
    assert rest == [replace(layer, depth=0) for layer in before]
    assert added[0].depth > max(layer.depth for layer in table if layer.name in head_layers(plain))
    assert [(layer.name, layer.kind) for layer in added] == [(f"beside.{name}", kind) for name, kind in LAYERS]
    assert {layer.stage for layer in added} == {"beside"}
    images = torch.empty(2, 3, size, size, device="meta")
    for training in (False, True):
        assert logits(model.train(training)(images)).shape == (2, 5)


@pytest.mark.parametrize(("name", "size"), NUMBERED)
@pytest.mark.parametrize("training", [False, True])
def test_its_logits_are_added_to_the_main_ones(name: str, size: int, training: bool) -> None:
    model, images = attached(name).train(training), pixels(size)

    def run(forward: Any) -> tuple[torch.Tensor, ...]:
        torch.manual_seed(0)  # of dropout, which the network beside has none of
        with torch.no_grad():
            output = forward(images)
        return output if isinstance(output, tuple) else (output,)

    alone = run(super(type(model), model).forward)
    both = run(model)
    assert type(both) is type(alone)
    main, *auxiliary = both
    assert torch.isfinite(main).all()
    assert torch.equal(main, alone[0] + run(model.beside)[0])
    assert not torch.equal(main, alone[0])
    assert len(auxiliary) == (2 if name == "googlenet" else 1 if name == "inception_v3" else 0) * training
    assert all(torch.equal(a, b) for a, b in zip(auxiliary, alone[1:], strict=True))


def test_it_takes_the_smallest_images_and_halves_between_its_convolutions() -> None:
    network = small_network(5)
    assert [m.out_channels for m in network if isinstance(m, nn.Conv2d)] == list(WIDTHS)
    assert sum(isinstance(m, nn.MaxPool2d) for m in network) == len(WIDTHS) - 1
    assert network(pixels(8)).shape == (2, 5)


def test_it_is_drawn_from_the_seed_after_the_network() -> None:
    plain = ModelSpec.parse("mobilenet_v2:width_mult=0.1")
    for body in (plain, plain.but(head="mlp512")):
        spec = body.but(beside=True)
        first, again, other = (build(spec, 3, seed).state_dict() for seed in (5, 5, 6))
        assert moved(first, again) == set()
        assert {"beside.conv1.weight", "beside.fc.bias"} <= moved(first, other)
        assert all(torch.equal(first[key], value) for key, value in build(body, 3, seed=5).state_dict().items())
        assert list(first) == list(build_skeleton(spec, 3).state_dict())
    off = plain.but(beside=False)
    assert list(build_skeleton(off, 3).state_dict()) == list(build_skeleton(plain, 3).state_dict())


def test_it_is_copied_and_loaded_as_any_network() -> None:
    model, images = attached("resnet18").eval(), pixels(8)
    twin = copy.deepcopy(model)
    assert torch.equal(twin(images), model(images))
    twin.beside.fc.bias.data += 1
    assert torch.allclose(twin(images), model(images) + 1), "a copy has its own network beside it"
    fresh = build(ModelSpec("resnet18", {"beside": True}), 3).eval()
    fresh.load_state_dict(snapshot(model), strict=True)
    assert torch.equal(fresh(images), model(images))
    assert type(fresh) is type(model)


@pytest.mark.parametrize("training", [False, True])
def test_torch_fx_sees_the_addition(training: bool) -> None:
    model, images = attached("resnet18").train(training), pixels(8)
    traced = fx.symbolic_trace(copy.deepcopy(model))
    assert torch.equal(traced(images), model(images))
    assert {"conv1", "fc", "beside.conv1", "beside.fc"} <= {node.target for node in traced.graph.nodes}
    assert set(traced.state_dict()) == set(model.state_dict())


def test_it_learns_where_the_strategy_says_so() -> None:
    spec = ModelSpec("resnet18", {"beside": True})
    model, table = build(spec, 3), layer_table(spec, 3, 8)
    plan = make_plan(model, table, head_layers(spec), parse("beside+fc"))
    beside = {key for key, _ in model.named_parameters() if key.startswith("beside.")}
    assert set(plan.lrs) == {"fc.weight", "fc.bias"} | beside
    apply_freeze(model, plan, table)
    model(pixels(8)).sum().backward()
    assert {key for key, parameter in model.named_parameters() if parameter.grad is not None} == set(plan.lrs)
