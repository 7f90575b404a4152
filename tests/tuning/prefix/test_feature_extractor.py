"""Taps give what hooks on the network itself see; of every family that has a name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import some
from tests.tuning.tiny import HEAD, net, thin
from wdiv.errors import BadInput
from wdiv.store.probe import probe
from wdiv.tuning.networks.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK, feature_extractor, places, pool

SMALL = ("resnet18", "densenet121", "vgg16_bn", "mobilenet_v2", "squeezenet1_1")

LARGEST = ("resnet18", "resnet152", "densenet201", "vgg19", "vgg19_bn", "mobilenet_v2", "squeezenet1_1")
POOLED = {
    ("resnet18", "stem"), ("densenet121", "stem"), *(("vgg16_bn", f"stage{k}") for k in range(1, 6)),
    *(("squeezenet1_1", stage) for stage in ("stem", "stage1", "stage2")),
}  # fmt: skip
"""Whose maps are made smaller by the largest of each part before the next stage reads them."""


def hooked(model: nn.Module, name: str, images: torch.Tensor, *, before: bool) -> torch.Tensor:
    """What a module reads, or gives, pooled by PyTorch's own layer."""
    seen: list[torch.Tensor] = []
    module = model.get_submodule(name)

    def look(_: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor | None = None) -> None:
        seen.append((given[0] if output is None else output).clone())

    handle = module.register_forward_pre_hook(look) if before else module.register_forward_hook(look)
    with handle, torch.no_grad():  # type: ignore[attr-defined]
        model(images)
    found = seen[0]
    return nn.functional.adaptive_avg_pool2d(found, 1).flatten(1) if found.dim() == 4 else found


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
def test_a_stage_gives_what_the_next_one_reads_and_the_bottleneck_what_the_classifier_reads(
    name: str, images: torch.Tensor
) -> None:
    spec = ModelSpec(name)
    model = thin(spec, 2).eval()
    table, head = layer_table(spec, 2, 64), head_layers(spec)
    extractor = feature_extractor(model, table, head, places(table), 64)
    found = dict(zip(extractor.names, extractor.prefix(images), strict=True))
    assert list(found) == [*(s for s in table.stages if s != "head"), BOTTLENECK]
    first = {layer.stage: layer.name for layer in reversed(table.layers)}
    for here, after in zip(table.stages, table.stages[1:], strict=False):
        if (name, here) not in POOLED:
            reads = hooked(model, first[after], images, before=True)
            torch.testing.assert_close(found[here], reads, rtol=1e-4, atol=1e-5)
    last = max((layer for layer in table if layer.name in head), key=lambda layer: layer.depth)
    torch.testing.assert_close(found[BOTTLENECK], hooked(model, last.name, images, before=True), rtol=1e-4, atol=1e-5)
    for stage, layer in zip(extractor.names, extractor.layers, strict=True):
        assert layer.stage == (stage if stage != BOTTLENECK else layer.stage)


@pytest.mark.parametrize("name", ["layer2.0.conv1", "layer2.0.bn1", "layer3", "layer1.1"])
def test_a_layer_or_a_block_gives_its_output_as_it_is(name: str, images: torch.Tensor) -> None:
    """Also where the next module would write into it: torchvision's ReLUs work in place."""
    spec = ModelSpec("resnet18")
    model = thin(spec, 2).eval()
    extractor = feature_extractor(model, layer_table(spec, 2, 64), head_layers(spec), [name], 64)
    torch.testing.assert_close(
        extractor.prefix(images)[0], hooked(model, name, images, before=False), rtol=1e-4, atol=1e-5
    )
    assert extractor.names == (name,)


def test_a_depth_stands_for_its_layer_and_a_tap_reads_no_further() -> None:
    spec = ModelSpec("resnet18")
    table, model = layer_table(spec, 2, 64), build_skeleton(spec, 2)
    by_depth, by_name = (
        feature_extractor(model, table, head_layers(spec), [w], 64) for w in ("3", table.layers[3].name)
    )
    assert by_depth.names == by_name.names == (table.layers[3].name,)
    assert by_depth.digest == by_name.digest
    deeper = {layer.name for layer in table if layer.depth > 3}
    assert not {key.rpartition(".")[0] for key in by_depth.keys} & deeper


def test_the_last_map_before_pooling_stands_for_a_vgg_stage(images: torch.Tensor) -> None:
    spec = ModelSpec("vgg16_bn")
    model = thin(spec, 2).eval()
    extractor = feature_extractor(model, layer_table(spec, 2, 64), head_layers(spec), ["stage2"], 64)
    torch.testing.assert_close(
        extractor.prefix(images)[0], hooked(model, "features.12", images, before=False), rtol=1e-4, atol=1e-5
    )  # the ReLU before the second pooling


def test_many_taps_are_one_pass_and_leave_the_network_as_it_was(images: torch.Tensor) -> None:
    model = net()
    model.train()
    table = probe(model, 8, head=HEAD)
    modes, count = [m.training for m in model.modules()], []
    state = {key: value.clone() for key, value in model.state_dict().items()}
    extractor = feature_extractor(model, table, HEAD, ["conv1", "conv2", BOTTLENECK], 8)
    handle = model.conv1.register_forward_hook(lambda *_: count.append(1))
    model.eval()
    extractor.prefix(images[..., :8, :8])
    handle.remove()
    model.train()
    assert len(count) == 1
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_the_digest_follows_places_and_pooling_but_not_weights() -> None:
    spec = ModelSpec("resnet18")
    table, head = layer_table(spec, 2, 64), head_layers(spec)

    def digest(seed: int, wanted: list[str], pooling: str) -> str:
        return feature_extractor(thin(spec, 2, seed=seed), table, head, wanted, 64, pooling).digest

    assert digest(0, ["stage1"], "avg") == digest(1, ["stage1"], "avg")
    others = [digest(0, ["stage2"], "avg"), digest(0, ["stage1"], "max"), digest(0, ["stage1", "stage2"], "avg")]
    assert len({digest(0, ["stage1"], "avg"), *others}) == 4


def test_pooling(images: torch.Tensor) -> None:
    maps = torch.arange(32.0).view(1, 2, 4, 4)
    assert pool(maps).tolist() == [[7.5, 23.5]]
    assert pool(maps, "max").tolist() == [[15.0, 31.0]]
    assert pool(maps, "grid=2").tolist() == [[2.5, 4.5, 10.5, 12.5, 18.5, 20.5, 26.5, 28.5]]
    assert pool(maps.flatten(1), "max").shape == (1, 32)


@pytest.mark.parametrize(
    ("wanted", "pooling", "words"),
    [
        ("stage9", "avg", r"layer 'stage9': a stage, a layer's depth or name; did you mean 'stage"),
        ("layer2.0.conv9", "avg", r"did you mean 'layer2.0.conv"),
        ("99", "avg", r"layer 99: a depth from 0 to 40"),
        ("stage1", "mean", r"pooling 'mean': avg, max or grid=K"),
        ("stage1", "grid=0", r"pooling 'grid=0'"),
    ],
)
def test_what_is_not_there_is_one_line(wanted: str, pooling: str, words: str) -> None:
    spec = ModelSpec("resnet18")
    with pytest.raises(BadInput, match=words):
        feature_extractor(build_skeleton(spec, 2), layer_table(spec, 2, 64), head_layers(spec), [wanted], 64, pooling)


@pytest.mark.parametrize("name", some(LARGEST))
def test_every_family_can_be_tapped_at_every_place(name: str) -> None:
    spec = ModelSpec(name)
    model = build_skeleton(spec, 2)
    table = layer_table(spec, 2, 64)
    extractor = feature_extractor(model, table, head_layers(spec), places(table), 64)
    depths = [layer.depth for layer in extractor.layers]
    assert depths == sorted(depths)
    assert len(extractor.names) == len(places(table)) >= 5
