"""Rates that fall with depth, against timm's and fastai's rules written out by hand."""

from __future__ import annotations

import pytest

from wdiv.tuning.networks.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.strategy.freeze import make_plan
from wdiv.tuning.strategy.layerwise_lr import lr_factors
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import STRATEGIES

BLOCKS = [
    ("conv1", "bn1"),
    ("layer1.0",), ("layer1.1",), ("layer2.0",), ("layer2.1",),
    ("layer3.0",), ("layer3.1",), ("layer4.0",), ("layer4.1",),
    ("fc",),
]  # fmt: skip
"""ResNet-18 as timm's ``group_matcher`` divides it: the stem, eight residual blocks, the classifier."""


def of(model: str, text: str) -> dict[str, float]:
    spec = ModelSpec.parse(model)
    return dict(lr_factors(parse(text).last, layer_table(spec, 3, 64), head_layers(spec)))


def within(name: str, block: tuple[str, ...]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in block)


@pytest.mark.parametrize("lr", [0.75, 0.5, 1.0])
def test_decay_is_timms_rule(lr: float) -> None:
    """``layer_scales = [layer_decay ** (layer_max - i) for i in range(num_layers)]``: timm/optim/_param_groups.py."""
    scales = [lr ** (len(BLOCKS) - 1 - i) for i in range(len(BLOCKS))]
    found = of("resnet18", f"all+decay={lr}")
    assert len(found) == 41
    for name, factor in found.items():
        (wanted,) = [scale for scale, block in zip(scales, BLOCKS, strict=True) if within(name, block)]
        assert factor == wanted, name


def test_spread_is_geometric_by_stage() -> None:
    """``even_mults(start, stop, n)`` of fastai, between a hundredth and the rate itself."""
    stages = [("conv1", "bn1"), ("layer1",), ("layer2",), ("layer3",), ("layer4",), ("fc",)]
    for name, factor in of("resnet18", "discriminative").items():
        (k,) = [k for k, stage in enumerate(stages) if within(name, stage)]
        assert factor == pytest.approx(0.01 * (1 / 0.01) ** (k / 5), rel=1e-12), name


def test_the_spread_is_over_the_stages_that_train() -> None:
    found = of("resnet18", "conv@stage3-4+fc+spread=16")
    assert [found[name] for name in ("layer3.0.conv1", "layer4.0.conv1", "fc")] == [1 / 16, 1 / 4, 1.0]


@pytest.mark.parametrize(
    "name", [n for n in STRATEGIES if "decay" not in STRATEGIES[n].spelling and n != "discriminative"]
)
def test_otherwise_every_layer_has_its_own_rate(name: str) -> None:
    model = "resnet18:beside=True" if name == "modular" else "resnet18"
    assert set(of(model, name).values()) == {1.0}


def test_the_plan_has_the_rates_times_the_factors() -> None:
    spec = ModelSpec("resnet18")
    table, head = layer_table(spec, 3, 64), head_layers(spec)
    plan = make_plan(build_skeleton(spec, 3), table, head, parse("conv=1e-3,bn=1e-2,fc=1e-1,decay=0.5"))
    assert plan.lrs["conv1.weight"] == 1e-3 * 0.5**9
    assert plan.lrs["layer4.1.bn2.bias"] == 1e-2 * 0.5
    assert plan.lrs["fc.weight"] == 1e-1


def test_what_stands_beside_or_is_auxiliary_has_the_full_rate() -> None:
    spec = ModelSpec("inception_v3", {"beside": True})
    found = lr_factors(parse("all+decay").last, layer_table(spec, 3, 299), head_layers(spec))
    assert {f for name, f in found.items() if name.startswith(("beside.", "AuxLogits.", "fc"))} == {1.0}


def test_a_tensor_of_no_layer_has_the_rate_of_those_around_it() -> None:
    """A transformer's class token and positions stand where the first layers do."""
    spec = ModelSpec("vit_b_16")
    table, head, network = layer_table(spec, 3, 224), head_layers(spec), build_skeleton(spec, 3)
    plan = make_plan(network, table, head, parse("all=1e-2,decay=0.5"))
    assert plan.lrs["class_token"] == min(plan.lrs.values())
    assert plan.lrs["heads.head.weight"] == 1e-2
