"""Every preset, method and BN mode on every family, phase by phase: exactly the declared tensors move, no other.

What is declared is read off this file's tables and the modules' types and names, by none of wdiv's own rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

import pytest
from torch import nn

from tests.conftest import some
from tests.tuning.tiny import Family, images, moved, snapshot
from wdiv.errors import BadInput
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import ModelSpec, head_keys, head_layers, layer_table
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.l2sp import L2SP
from wdiv.tuning.strategy.methods import METHODS
from wdiv.tuning.strategy.segments import segments
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES, STRATEGIES
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.recipe import Recipe

KINDS = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", nn.Linear: "fc"}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

FAMILIES: dict[str, tuple[int, dict[str, str]]] = {
    # size of the images, and what each stage's modules are called; the head is what is left
    "resnet18": (8, {"stem": "conv1|bn1", **{f"stage{k}": rf"layer{k}\..*" for k in range(1, 5)}}),
    "densenet121": (
        29,
        {
            "stem": r"features\.(conv0|norm0)",
            **{f"stage{k}": rf"features\.(denseblock|transition){k}\..*" for k in range(1, 4)},
            "stage4": r"features\.(denseblock4\..*|norm5)",
        },
    ),
    "vgg16:head=mlp512": (
        32,
        {
            "stage1": r"features\.[02]", "stage2": r"features\.[57]", "stage3": r"features\.1[024]",
            "stage4": r"features\.(17|19|21)", "stage5": r"features\.2[468]",
        },
    ),
    "vgg16_bn:head=mlp512": (
        32,
        {
            "stage1": r"features\.[0134]", "stage2": r"features\.([78]|10|11)", "stage3": r"features\.(1[4578]|2[01])",
            "stage4": r"features\.(2[4578]|3[01])", "stage5": r"features\.(3[4578]|4[01])",
        },
    ),
    "inception_v3:aux_logits=False": (
        75, {"stem": "Conv2d_.*", **{f"stage{k}": rf"Mixed_{k + 4}.*" for k in range(1, 4)}},
    ),
    "mobilenet_v2:width_mult=0.1": (
        8,
        {
            "stem": r"features\.[01]\..*", "stage1": r"features\.[23]\..*", "stage2": r"features\.[456]\..*",
            "stage3": r"features\.([789]|1[0123])\..*", "stage4": r"features\.1[45678]\..*",
        },
    ),
    "squeezenet1_1": (
        17,
        {
            "stem": r"features\.0", "stage1": r"features\.[34]\..*", "stage2": r"features\.[67]\..*",
            "stage3": r"features\.(9|1[012])\..*",
        },
    ),
}  # fmt: skip

GRADUAL = [{"gradual"}]
TRAINS: dict[str, list[set[str]]] = {
    # strategy -> what trains in each of its phases
    "scratch": [{"all"}],
    "fc": [{"fc"}],
    "conv+fc": [{"conv", "fc"}],
    "bn+fc": [{"bn", "fc"}],
    "conv+bn+fc": [{"conv", "bn", "fc"}],
    "by-kind": [{"conv", "bn", "fc"}],
    "bn@stage4+fc": [{"bn@stage4", "fc"}],
    "bn@stage3-4+fc": [{"bn@stage3", "bn@stage4", "fc"}],
    "bn@stage2-4+fc": [{"bn@stage2", "bn@stage3", "bn@stage4", "fc"}],
    "by-depth": [{"all"}],
    "discriminative": [{"all"}],
    "lp-ft": [{"fc"}, {"all"}],
    "gradual": GRADUAL,
    "l2-sp": [{"all"}],
    "auto-rgn": [{"all"}],
    "bn-random": [{"bn"}],
    "bn-random+fc": [{"bn", "fc"}],
    "modular": [{"beside", "fc"}],
    # phases that no preset has
    "fc for 1 then conv+gradual for 2 then fc": [{"fc"}, {"conv@half"}, {"conv"}, {"fc"}],
    "fc for 1 then conv@stage3+rgn": [{"fc"}, {"conv@stage3"}],
}


def test_every_preset_and_method_has_a_row() -> None:
    assert set(STRATEGIES) <= set(TRAINS), "a new preset needs a row here"
    used = {method for name in TRAINS for phase in parse(name).phases for method, _ in phase.methods}
    assert used == set(METHODS), "a new method needs a row here"


def layers(model: nn.Module, name: str) -> Iterator[tuple[str, nn.Module, str, str]]:
    """(path, module, kind, stage) of each layer."""
    head = {key.rpartition(".")[0] for key in head_keys(ModelSpec.parse(name))}
    for path, module in model.named_modules():
        kind = KINDS.get(type(module))
        if kind is None:
            continue
        if path.startswith("beside."):
            yield path, module, "beside", "beside"
            continue
        stage = next((s for s, names in FAMILIES[name][1].items() if re.fullmatch(names, path)), "head")
        assert (stage == "head") == (path in head or path.startswith(("classifier.", "fc"))), path
        yield path, module, "fc" if path in head else kind, stage


def opening(name: str) -> list[set[str]]:
    """The classifier, then a stage more at a time."""
    return list(accumulate(({f"all@{stage}"} for stage in ("head", *reversed(FAMILIES[name][1]))), set.union))


def declared(model: nn.Module, name: str, words: set[str], mode: str) -> set[str]:
    """The keys that may move in a phase."""
    keys, stages = set(), list(FAMILIES[name][1])
    if "conv@half" in words:  # those nearer to the end, the middle one among them
        words = {f"conv@{stage}" for stage in stages[len(stages) // 2 :]}
    for path, module, kind, stage in layers(model, name):
        trains = bool(words & {kind, f"{kind}@{stage}", "all", f"all@{stage}"})
        if trains:
            keys |= {f"{path}.{key}" for key, _ in module.named_parameters()}
        if isinstance(module, nn.BatchNorm2d) and {
            "auto": trains, "frozen": False, "batch": True, "adapt": True, "adabn": True,
        }[mode]:  # fmt: skip
            keys |= {f"{path}.{buffer}" for buffer in BUFFERS}
    return keys


def check(name: str, strategy: str, mode: str = "auto") -> None:
    """Two steps in each stretch of epochs, with whatever moves a tensor in ordinary code."""
    phases = opening(name) if TRAINS[strategy] is GRADUAL else TRAINS[strategy]
    parsed = parse(strategy)
    spec, size = ModelSpec.parse(name), FAMILIES[name][0]
    spec = spec.but(beside=True) if parsed.beside else spec
    model, start, judged = Family.of(spec.label, size)
    model.load_state_dict(start)
    table, head = layer_table(spec, 3, size), head_layers(spec)
    parsed.check(table, head, name)
    data = images(4, size=size)
    recipe = Recipe("adam", len(phases), 2, weight_decay=0.01, decay_all=True)
    found = segments(parsed, table, head, len(phases))
    assert [(s.first, s.last) for s in found] == [(k, k) for k in range(1, len(phases) + 1)]
    for segment, words in zip(found, phases, strict=True):
        before = start if segment.first == 1 else snapshot(model)
        plan = make_plan(model, table, head, segment, mode)
        apply_freeze(model, plan, table)
        strength = segment.phase.number("l2sp")
        away = {key: value + 0.01 for key, value in start.items()}  # at its start nothing is pulled, nor else decays
        l2sp = None if strength is None else L2SP(model, away, head_keys(spec), strength)
        loop = Loop(
            model, plan, recipe, InputSpec(size), data, judged.images, seed=0,
            on_epoch=lambda *epoch: False, segment=segment, l2sp=l2sp, test_feed=judged,
        )  # fmt: skip
        if mode == "adabn":
            loop.adapt()
        loop.run(after=segment.first - 1)
        expected = declared(model, name, words, mode)
        assert set(plan.changing) == expected
        changed = moved(before, model.state_dict())
        assert changed <= expected
        assert expected - changed <= unmoved(loop)


def unmoved(loop: Loop) -> set[str]:
    """Keys whose rate, far from the head or by their relative gradient, has become too small for float32."""
    return {key for group in loop.optimizer.param_groups if group["lr"] < 3e-8 for key in group["keys"]}


def refused(name: str, strategy: str) -> str | None:
    """What a network lacks that a strategy names."""
    stages = FAMILIES[name][1]
    kinds = {"bn"} if name.startswith(("vgg16:", "squeezenet")) else set()
    for word in (word for words in TRAINS[strategy] for word in sorted(words)):
        kind, _, stage = word.partition("@")
        if kind in kinds or (stage.startswith("stage") and stage not in stages):
            return kind
    return None


CASES = [(name, strategy) for name in FAMILIES for strategy in sorted(TRAINS, key=lambda s: s == "modular")]


@pytest.mark.parametrize(("name", "strategy"), some(CASES))
def test_exactly_the_declared_tensors_move_in_each_phase(name: str, strategy: str) -> None:
    lacks = refused(name, strategy)
    if lacks:
        with pytest.raises(BadInput, match=rf"has no {lacks} layer.*its stages: .*stage1, .*head"):
            check(name, strategy)
    else:
        check(name, strategy)


@pytest.mark.parametrize("mode", BN_MODES)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_bn_mode_moves_the_statistics_that_it_should_and_no_other(name: str, mode: str) -> None:
    check(name, "fc", mode)
    if mode == "batch":
        check(name, "fc for 1 then conv@stage3+rgn", mode)
