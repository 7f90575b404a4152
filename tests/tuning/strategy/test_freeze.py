"""The freeze contract (DESIGN, section 5): what is declared frozen is bit-identical, and what is not moves.

Beside each clause stands the way in which it is usually broken, and the test shows that it breaks there.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.tuning.tiny import HEAD, Family, Log, images, moved, net, planned, snapshot
from wdiv.errors import BadInput
from wdiv.store.probe import probe
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, make_plan, parameter_groups
from wdiv.tuning.strategy.segments import segments
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.prefix_plan import plan_prefix
from wdiv.tuning.training.recipe import OPTIMIZERS, Recipe

HEAD_KEYS = {"fc.weight", "fc.bias"}
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def step(model: nn.Module, optimizer: torch.optim.Optimizer, between: Callable[[], object] = lambda: None) -> None:
    """One step as anyone writes it; ``between`` is called after backward."""
    data = images(8)
    loss = cross_entropy(model(data.pixels / 128.0 + 1.0), data.labels)  # inputs far from what BN has seen
    optimizer.zero_grad()
    loss.backward()
    between()
    optimizer.step()


def held(strategy: str = "fc", **optimizer: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    model = net()
    _, plan = planned(model, strategy)
    decay = optimizer.pop("weight_decay", 0.0)
    return model, torch.optim.SGD(parameter_groups(model, plan, decay, True), **optimizer)


# --- the ways that break, each beside the contract -----------------------------------------------------------------


def zeroed_gradients(model: nn.Module, **optimizer: float) -> set[str]:
    """Everything is in the optimizer, and the gradients of the frozen parameters are set to zero."""
    frozen = [p for name, p in model.named_parameters() if name not in HEAD_KEYS]
    everything = torch.optim.SGD(model.parameters(), lr=0.1, **optimizer)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    step(model, everything)  # a first, unfrozen phase, as in gradual unfreezing
    before = snapshot(model)
    step(model, everything, lambda: [p.grad.zero_() for p in frozen])
    return moved(before, snapshot(model)) - HEAD_KEYS


@pytest.mark.parametrize("optimizer", [{"momentum": 0.9}, {"weight_decay": 0.1}], ids=str)
def test_a_frozen_parameter_is_not_in_the_optimizer(optimizer: dict[str, float]) -> None:
    assert len(zeroed_gradients(net(), **optimizer)) == 8, "the naive way moves every frozen parameter"
    model, ours = held("fc", lr=0.1, **optimizer)
    before = snapshot(model)
    for _ in range(3):
        model.train()
        step(model, ours)
    assert moved(before, snapshot(model)) == HEAD_KEYS


def later_steps(model: nn.Module, optimizer: torch.optim.Optimizer, to_none: bool) -> set[str]:
    """What three steps move, of which a phase before has left momentum behind."""
    before, data = snapshot(model), images(8)
    for _ in range(3):
        optimizer.zero_grad(set_to_none=to_none)
        cross_entropy(model(data.pixels / 128.0 + 1.0), data.labels).backward()
        optimizer.step()
    return moved(before, snapshot(model)) - HEAD_KEYS


def test_a_second_phase_freezes_whatever_the_first_one_left_behind() -> None:
    """Momentum of a phase in which everything trained, and statistics that were running."""
    naive = net()
    everything = torch.optim.SGD(naive.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    step(naive, everything)
    for name, parameter in naive.named_parameters():
        parameter.requires_grad_(name in HEAD_KEYS)
    assert len(later_steps(naive, everything, to_none=False)) == 8 + 6, "parameters by momentum, buffers by train()"
    assert len(later_steps(naive, everything, to_none=True)) == 6, "buffers by train() all the same"

    model, strategy = net(), parse("conv+bn+fc for 1 then fc")
    table, data, recipe = probe(model, 8, head=HEAD), images(8), Recipe("sgd", 3, 4, 0.1, 0.9, decay_all=True)
    states = [snapshot(model)]
    for segment in segments(strategy, table, HEAD, 3):
        plan = make_plan(model, table, HEAD, segment)
        apply_freeze(model, plan, table)
        log = Log(model)
        Loop(model, plan, recipe, InputSpec(8), data, data, seed=0, on_epoch=log, segment=segment).run()
        states += log.states[-1:]
    start, first, second = states
    assert moved(start, first) == set(start)
    assert moved(first, second) == HEAD_KEYS == set(plan.changing)


def test_dropout_in_the_frozen_prefix_is_off_and_before_the_trained_head_on() -> None:
    def sleepy() -> nn.Module:
        model = net(dropout=0.5)
        model.relu1 = nn.Sequential(nn.ReLU(), nn.Dropout(0.5))
        return model

    def features(model: nn.Module) -> torch.Tensor:
        """What stands before the classifier and its dropout."""
        return functools.reduce(lambda x, layer: layer(x), list(model)[:-2], images(8).pixels / 128.0)

    naive = sleepy()
    for module in naive.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.train = lambda mode=True, held=module: held  # the BatchNorms are held, and yet:
    naive.train()
    assert not torch.equal(features(naive), features(naive)), "frozen features differ each time"

    model, truth = sleepy(), features(naive.eval())
    table, plan = planned(model, "fc")
    for recipe in (Recipe(), Recipe(keep_prefix=False), Recipe(augment=("flip",))):
        apply_freeze(model, plan, table)
        disabled_dropout = plan_prefix(model, plan, table, recipe, 8).disabled_dropout
        assert disabled_dropout == {"relu1.1"}
        apply_freeze(model, plan, table, disabled_dropout)
        model.train()
        assert torch.equal(features(model), truth)
        assert not torch.equal(model[-2](truth), model[-2](truth)), "the classifier's dropout is its own"
    apply_freeze(model, plan, table)
    assert model.train().relu1[1].training, "another plan releases it"


@pytest.mark.parametrize(
    ("strategy", "trains"), [("fc", ()), ("bn@stage4+fc", ("features.denseblock4", "features.norm5"))]
)
def test_densenets_first_norm_is_frozen_though_it_stands_in_no_block_and_is_not_called_bn(
    strategy: str, trains: tuple[str, ...]
) -> None:
    norm0 = {f"features.norm0.{name}" for name in ("weight", "bias", *BUFFERS)}
    model, start, _ = Family.of("densenet121", 29)
    for module in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        module.__dict__.pop("train", None)
    model.load_state_dict(start)
    for name, module in model.train().named_modules():
        if "bn" in name or name.startswith(("features.denseblock", "features.transition")):
            module.eval()
    with torch.no_grad():
        model(images(2, size=29).pixels / 128.0)
    by_name = moved(start, model.state_dict())
    assert by_name == {f"features.{n}.{b}" for n in ("norm0", "norm5") for b in BUFFERS}, "the usual way misses both"

    model.load_state_dict(start)
    spec = ModelSpec("densenet121")
    table = layer_table(spec, 3, 29)
    plan = make_plan(model, table, head_layers(spec), parse(strategy))
    apply_freeze(model, plan, table)
    data, recipe = images(4, size=29), Recipe("sgd", 1, 2, 0.1, 0.9, decay_all=True)
    Loop(model, plan, recipe, InputSpec(29), data, data, seed=0, on_epoch=lambda *epoch: None).run()
    assert norm0 <= set(plan.frozen)
    changed = moved(start, model.state_dict())
    assert not changed & norm0
    assert {key for key in changed if not key.startswith("classifier")} == {
        key for key in plan.changing if key.startswith(trains or "-")
    }


def test_model_train_does_not_wake_a_frozen_batchnorm() -> None:
    naive = net()
    for name, parameter in naive.named_parameters():
        parameter.requires_grad_(name in HEAD_KEYS)
    for module in naive.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # once, before the loop that calls train()
    naive.train()
    before = snapshot(naive)
    step(naive, torch.optim.SGD([naive.fc.weight, naive.fc.bias], lr=0.1))
    assert moved(before, snapshot(naive)) - HEAD_KEYS == {f"{bn}.{b}" for bn in ("bn1", "bn2") for b in BUFFERS}

    model, ours = held("fc", lr=0.1, momentum=0.9, weight_decay=0.1)
    before = snapshot(model)
    for wake in (model.train, lambda: model.bn1.train(True), lambda: model.train(True), lambda: model.eval().train()):
        wake()
        assert model.training
        assert not model.bn1.training
        assert not model.bn2.training
        step(model, ours)
    assert moved(before, snapshot(model)) == HEAD_KEYS
    assert int(model.bn1.num_batches_tracked) == 7


def test_a_frozen_batchnorm_normalises_by_its_running_statistics() -> None:
    """Switching off tracking leaves the buffers alone too, but then the batch decides the output."""
    pixels = images(8).pixels / 128.0 + 3.0
    truth = net(dropout=0.0).eval()(pixels)
    untracked = net(dropout=0.0)
    for module in untracked.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    before = snapshot(untracked)
    assert not torch.allclose(untracked.train()(pixels), truth, rtol=0.1)
    assert moved(before, snapshot(untracked)) == set(), "which is why comparing buffers alone does not find it"
    model = net(dropout=0.0)
    planned(model, "fc")
    assert torch.equal(model.train()(pixels), truth)


def test_parameters_are_told_apart_by_identity() -> None:
    """Fresh BatchNorms are all ones and zeros: membership by value takes one for another."""
    model = nn.Sequential()
    for name, layer in (("conv1", nn.Conv2d(3, 4, 3)), ("bn1", nn.BatchNorm2d(4)), ("conv2", nn.Conv2d(4, 4, 3)),
                        ("bn2", nn.BatchNorm2d(4)), ("flat", nn.Flatten()), ("fc", nn.Linear(64, 3))):  # fmt: skip
        model.add_module(name, layer)
    frozen = [model.bn1.weight, model.bn1.bias]
    by_value = [p for p in model.parameters() if not any(p.shape == f.shape and torch.equal(p, f) for f in frozen)]
    assert not any(p is model.bn2.weight for p in by_value), "the naive way loses a parameter that should train"

    plan = FreezePlan({"bn2.weight": 0.1, "bn2.bias": 0.1}, {}, frozenset(), (), ())
    chosen = [p for group in parameter_groups(model, plan, 0.0, False) for p in group["params"]]
    assert [id(p) for p in chosen] == [id(model.bn2.weight), id(model.bn2.bias)]


# --- what holding leaves alone -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["fc", "bn+fc", "scratch"])
def test_modules_are_neither_swapped_nor_renamed(strategy: str) -> None:
    model = net()
    modules, parameters, before = dict(model.named_modules()), dict(model.named_parameters()), snapshot(model)
    _, plan = planned(model, strategy)
    assert {name: id(m) for name, m in model.named_modules()} == {name: id(m) for name, m in modules.items()}
    assert {name: id(p) for name, p in model.named_parameters()} == {name: id(p) for name, p in parameters.items()}
    assert moved(before, snapshot(model)) == set()
    assert sorted(plan.changing + plan.frozen) == sorted(before)
    assert [k for k in before if k in plan.changing] == list(plan.changing), "in the state dict's order"
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(plan.lrs)
    net().load_state_dict(model.state_dict(), strict=True)


def test_planning_touches_nothing() -> None:
    model = net()
    before = snapshot(model)
    make_plan(model, probe(model, 8, head=HEAD), HEAD, parse("fc"), "frozen")
    model.train()
    assert model.bn1.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert moved(before, snapshot(model)) == set()


def test_a_network_can_be_held_again_in_another_way() -> None:
    model = net()
    planned(model, "fc")
    planned(model, "bn+fc")
    model.train()
    assert model.bn1.training
    assert model.bn1.weight.requires_grad
    assert not model.conv1.weight.requires_grad


def test_a_parameter_of_two_layers_is_refused_unless_both_train_alike() -> None:
    model = net()
    model.conv3 = nn.Conv2d(3, 4, 3)
    model.conv3.weight = model.conv1.weight
    table = probe(net(), 8, head=HEAD)
    with pytest.raises(BadInput, match=r"conv1\.weight and conv3\.weight are one tensor"):
        make_plan(model, table, HEAD, parse("conv+fc"))
    assert "conv1.weight" in make_plan(model, table, HEAD, parse("fc")).frozen
    model.conv3.weight = nn.Parameter(model.conv1.weight.detach().clone())
    assert "conv1.weight" in make_plan(model, table, HEAD, parse("conv+fc")).lrs, "equal is not the same"


def test_a_module_registered_twice_is_frozen_or_refused() -> None:
    model = net()
    model.again = model.bn1
    table = probe(net(), 8, head=HEAD)
    with pytest.raises(BadInput, match="are one tensor"):
        make_plan(model, table, HEAD, parse("bn+fc"))
    plan = make_plan(model, table, HEAD, parse("fc"))
    apply_freeze(model, plan, table)
    model.train()
    assert not model.again.training
    assert "again.running_mean" in plan.frozen


def test_decay_is_for_weights_unless_asked() -> None:
    model = net()
    _, plan = planned(model, "conv=1e-1,bn=1e-2,fc=1e-1")
    names = {id(p): name for name, p in model.named_parameters()}
    spelled = {
        (group["lr"], group["weight_decay"]): sorted(names[id(p)] for p in group["params"])
        for group in parameter_groups(model, plan, 0.5, False)
    }
    assert spelled == {
        (0.1, 0.5): ["conv1.weight", "conv2.weight", "fc.weight"],
        (0.1, 0.0): ["conv1.bias", "conv2.bias", "fc.bias"],
        (0.01, 0.0): ["bn1.bias", "bn1.weight", "bn2.bias", "bn2.weight"],
    }
    assert {group["weight_decay"] for group in parameter_groups(model, plan, 0.5, True)} == {0.5}


# --- every family: two real steps, and exactly the declared tensors have moved -------------------------------------

LAST = {
    "resnet18": ("stage4", ("layer4.",)),
    "densenet121": ("stage4", ("features.denseblock4.", "features.norm5")),
    "mobilenet_v2:width_mult=0.1": ("stage4", tuple(f"features.{i}." for i in range(14, 19))),
    "vgg16_bn": ("stage5", tuple(f"features.{i}" for i in range(34, 44))),
    "vgg16": ("stage5", tuple(f"features.{i}" for i in range(24, 31))),
    "squeezenet1_1": ("stage3", tuple(f"features.{i}." for i in range(9, 13))),
}
SIZES = {"resnet18": 16, "densenet121": 29, "squeezenet1_1": 24}
KINDS = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", nn.Linear: "fc"}
Terms = dict[str, str]  # kind -> "" for everywhere, "last" for the last stage


def cases() -> list[tuple[str, Terms, str, str]]:
    """(model, terms, bn mode, optimizer)."""
    found = []
    for model in LAST:
        strategies: list[Terms] = [{"fc": ""}, {"bn": "last", "fc": ""}, {"conv": "last"}, {"conv": "", "bn": ""}]
        modes = ["auto", "frozen", "batch", "adapt"]
        if model == "densenet121":  # its steps are the slowest
            strategies = strategies[:2]
        if model in ("vgg16", "squeezenet1_1"):
            strategies, modes = [terms for terms in strategies if "bn" not in terms], ["auto"]
        optimizers = itertools.cycle(OPTIMIZERS)
        found += [(model, t, mode, next(optimizers)) for t, mode in itertools.product(strategies, modes)]
    return found


def declared(model: nn.Module, name: str, terms: Terms, mode: str) -> set[str]:
    """The tensors that may move, found from module types and names alone."""
    head, keys = head_layers(ModelSpec.parse(name)), set()
    for path, module in model.named_modules():
        kind = "fc" if path in head else KINDS.get(type(module))
        where = terms.get(kind or "")
        trains = where == "" or (where == "last" and path.startswith(LAST[name][1]))
        if trains:
            keys |= {f"{path}.{parameter}" for parameter, _ in module.named_parameters(recurse=False)}
        if kind == "bn" and (mode in ("batch", "adapt") or (mode == "auto" and trains)):
            keys |= {f"{path}.{buffer}" for buffer in BUFFERS}
    return keys


@pytest.mark.parametrize(
    ("name", "terms", "mode", "optimizer"),
    cases(),
    ids=lambda value: "+".join(kind + where for kind, where in value.items()) if isinstance(value, dict) else value,
)
def test_exactly_the_declared_tensors_move(name: str, terms: Terms, mode: str, optimizer: str) -> None:
    spec, size = ModelSpec.parse(name), SIZES.get(name, 32)
    model, start, judged = Family.of(name, size)
    model.load_state_dict(start)
    head, table = head_layers(spec), layer_table(spec, 3, size)
    strategy = "+".join(kind + (f"@{LAST[name][0]}" if where else "") for kind, where in terms.items())
    plan = make_plan(model, table, head, parse(strategy), mode)
    apply_freeze(model, plan, table)
    recipe = Recipe(optimizer=optimizer, epochs=1, batch_size=4, weight_decay=0.01, decay_all=True)
    data = images(8, size=size)
    loop = Loop(model, plan, recipe, InputSpec(size), data, judged.images, seed=0,
                on_epoch=lambda *epoch: None, test_feed=judged)  # fmt: skip
    loop.run()
    expected = declared(model, name, terms, mode)
    assert set(plan.changing) == expected
    assert moved(start, model.state_dict()) == expected
    if name == "densenet121" and mode in ("auto", "frozen"):
        assert {f"features.norm0.{buffer}" for buffer in BUFFERS} <= set(plan.frozen)


# --- Inception: the auxiliary head ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "mode", "moves"),
    [
        ("fc", "auto", lambda key: key.startswith(("fc.", "AuxLogits.fc."))),
        ("conv@aux+bn@aux", "auto", lambda key: key.startswith("AuxLogits.conv")),
        ("fc@head", "adapt", lambda key: key.startswith("fc.") or key.endswith(BUFFERS)),
    ],
)
def test_the_auxiliary_head_trains_and_freezes_like_any_layer(
    strategy: str, mode: str, moves: Callable[[str], bool]
) -> None:
    model, start, _ = Family.of("inception_v3", 299)
    model.load_state_dict(start)
    if strategy == "fc":  # the usual way: whatever was set to eval mode, the loop calls train()
        with torch.no_grad():
            for module in model.modules():
                module.__dict__.pop("train", None)
            model.train()(images(2, size=299).pixels / 128.0)
        woken = {key for key in moved(start, model.state_dict()) if key.startswith("AuxLogits.")}
        assert woken == {f"AuxLogits.conv{i}.bn.{buffer}" for i in (0, 1) for buffer in BUFFERS}
        model.load_state_dict(start)
    spec = ModelSpec("inception_v3")
    table = layer_table(spec, 3, 299)
    plan = make_plan(model, table, head_layers(spec), parse(strategy), mode)
    apply_freeze(model, plan, table)
    data = images(2, size=299)
    loop = Loop(model, plan, Recipe(batch_size=2), InputSpec(299), data, data, seed=0, on_epoch=lambda *epoch: None)
    loop.train_epoch(1)
    if plan.bn_mode == "adapt":
        loop.adapt()
        statistics = model.AuxLogits.conv0.bn.running_mean
        assert statistics.any(), "estimated anew in the auxiliary head too, not only reset"
    expected = {key for key in start if moves(key)}
    assert set(plan.changing) == expected
    assert moved(start, model.state_dict()) == expected


# --- norms, and convolutions of other sorts ------------------------------------------------------------------------


def normed() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in (("up", nn.ConvTranspose2d(3, 4, 3)), ("group", nn.GroupNorm(2, 4)), ("act", nn.PReLU(4)),
                        ("flat", nn.Flatten()), ("layer", nn.LayerNorm(400)), ("fc", nn.Linear(400, 3))):  # fmt: skip
        model.add_module(name, layer)
    return model


@pytest.mark.parametrize(
    ("strategy", "moves"),
    [
        ("fc", {"fc"}),
        ("norm+fc", {"group", "layer", "fc"}),
        ("norm=1e-3", {"group", "layer"}),
        ("conv", {"up"}),
        ("conv+norm+fc", {"up", "group", "layer", "fc"}),
        ("scratch", {"up", "group", "act", "layer", "fc"}),
    ],
)
def test_norms_train_and_freeze_like_any_layer(strategy: str, moves: set[str]) -> None:
    model = normed()
    table = probe(model, 8, head=HEAD)
    plan = make_plan(model, table, HEAD, parse(strategy))
    apply_freeze(model, plan, table)
    before = snapshot(model)
    loop = Loop(model, plan, Recipe(optimizer="sgd", epochs=1, batch_size=4, weight_decay=0.01, decay_all=True),
                InputSpec(8), images(8), images(8), seed=0, on_epoch=lambda *epoch: None)  # fmt: skip
    loop.run()
    assert {key.partition(".")[0] for key in moved(before, snapshot(model))} == moves
    assert {key.partition(".")[0] for key in plan.changing} == moves
    assert plan.batch_stats == frozenset()
    if strategy == "conv+norm+fc":
        assert {(plan.kinds[key], lr) for key, lr in plan.lrs.items()} == {(k, 1e-4) for k in ("conv", "norm", "fc")}


@pytest.mark.parametrize("name", ["convnext_tiny", "swin_t", "swin_v2_t", "vit_b_16", "maxvit_t"])
def test_decay_spares_layer_scales_tokens_and_positions(name: str) -> None:
    spec = ModelSpec(name)
    model = build_skeleton(spec, 3)
    plan = make_plan(model, layer_table(spec, 3, 224), head_layers(spec), parse("all"))
    decayed = {
        key for group in parameter_groups(model, plan, 0.1, False) if group["weight_decay"] for key in group["keys"]
    }
    weights = {
        f"{path}.{key}" for path, module in model.named_modules() for key, p in module.named_parameters(recurse=False)
        if isinstance(module, (nn.Conv2d, nn.Linear, nn.MultiheadAttention)) and p.dim() > 1
    }  # fmt: skip
    assert decayed == weights
    spared = {key.rpartition(".")[2] for key in set(plan.lrs) - decayed} - {"weight", "bias", "in_proj_bias"}
    assert (
        spared
        == {
            "convnext_tiny": {"layer_scale"},
            "swin_t": {"relative_position_bias_table"},
            "swin_v2_t": {"logit_scale"},
            "vit_b_16": {"class_token", "pos_embedding"},
            "maxvit_t": {"relative_position_bias_table"},
        }[name]
    )
