"""The freeze contract: what a strategy does not name is bit-identical afterwards, buffers included.

Four things break that in ordinary code, and are ruled out here: an optimizer that holds a frozen parameter moves
it by momentum or decay; ``model.train()`` sets frozen BatchNorm layers back to updating their statistics, and wakes
dropout and stochastic depth in what is frozen; and a parameter shared by two layers is frozen in one and trained in
the other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.layers import BUFFERS, LayerTable
from wdiv.store.probe import buffers_of
from wdiv.tuning.strategy.layerwise_lr import lr_factors
from wdiv.tuning.strategy.segments import Segment
from wdiv.tuning.strategy.strategies import BN_MODES, Phase, Strategy, kind_of

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FreezePlan", "changing", "apply_freeze", "make_plan", "parameter_groups"]


@dataclass(frozen=True)
class FreezePlan:
    """What trains, at what rate, and what may move at all.

    lrs          parameter key -> learning rate, of the trainable ones
    kinds        parameter key -> kind of its layer, as the strategy counts it
    batch_stats  BatchNorm layers that normalise by batch statistics while training
    estimated    BatchNorm layers whose statistics are estimated over the training images: before the first step of
                 the run (``adabn``), or after each epoch (``adapt``)
    changing     keys that an epoch may change, in the state dict's order
    frozen       all the others
    """

    lrs: Mapping[str, float]
    kinds: Mapping[str, str]
    batch_stats: frozenset[str]
    changing: tuple[str, ...]
    frozen: tuple[str, ...]
    estimated: frozenset[str] = frozenset()
    bn_mode: str = "auto"

    @property
    def moving(self) -> frozenset[str]:
        """Keys that a step may change: those that no prefix computed once may hold."""
        once = self.estimated - self.batch_stats
        return frozenset(key for key in self.changing if key in self.lrs or key.rpartition(".")[0] not in once)


def make_plan(
    model: nn.Module, table: LayerTable, head: frozenset[str], strategy: Strategy | Segment, bn_mode: str = "auto"
) -> FreezePlan:
    """Resolve a stretch of a strategy, or a strategy of one phase, and a BN mode against a network. Touches nothing.

    head: names of the classifier's layers. Raises :class:`~wdiv.errors.BadInput` for a term that selects no
    layer, and for parameters shared between a layer that trains and one that does not.
    """
    mode = BN_MODES[bn_mode].name
    if isinstance(strategy, Strategy):
        strategy.check(table, head, type(model).__name__)
        strategy = Segment(strategy.last, 1, 1)
    phase = strategy.phase
    parameters = dict(model.named_parameters(remove_duplicate=False))
    lrs: dict[str, float] = {}
    kinds: dict[str, str] = {}
    batch_stats = set()
    scale = lr_factors(phase, table, head)
    for layer in table:
        keys = [layer.key(role) for role in layer.roles if role not in BUFFERS]
        kinds |= dict.fromkeys(keys, kind_of(layer, head))
        lr = phase.lr(layer, head) if strategy.opens(layer.stage) else None
        if lr is not None:
            lrs |= dict.fromkeys(keys, lr * scale[layer.name])
        if layer.kind == "bn" and (mode in ("batch", "adapt") or (mode == "auto" and lr is not None)):
            batch_stats.add(layer.name)
    lrs |= _loose(phase, strategy, parameters.keys() - kinds.keys(), scale)
    _refuse_shared(parameters, lrs, phase)
    estimated = frozenset(layer.name for layer in table.of("bn") if mode in ("adapt", "adabn"))
    moves = {key for layer in table if layer.name in batch_stats | estimated for key in buffers_of(layer)}
    state = tuple(model.state_dict())
    return FreezePlan(
        lrs, kinds, frozenset(batch_stats),
        tuple(key for key in state if key in lrs or key in moves),
        tuple(key for key in state if key not in lrs and key not in moves),
        estimated, mode,
    )  # fmt: skip


def changing(plans: Iterable[FreezePlan], keys: Iterable[str]) -> tuple[str, ...]:
    """The keys that a run of several plans may change, in the order of ``keys``."""
    found = {key for plan in plans for key in plan.changing}
    return tuple(key for key in keys if key in found)


def _loose(phase: Phase, segment: Segment, keys: Collection[str], scale: Mapping[str, float]) -> dict[str, float]:
    """Rates of parameters that belong to no layer, such as a class token; they open when all stages are."""
    if phase.loose_lr is None or segment.stages is not None:
        return {}
    return {key: phase.loose_lr * _nearest(key, scale) for key in sorted(keys)}


def _nearest(key: str, scale: Mapping[str, float]) -> float:
    """The factor of the layers in the smallest module around a parameter; the smallest of them."""
    path = key.split(".")
    for depth in range(len(path) - 1, -1, -1):
        around = ".".join(path[:depth])
        found = [value for name, value in scale.items() if not around or name.startswith(f"{around}.")]
        if found:
            return min(found)
    return 1.0


def _refuse_shared(parameters: Mapping[str, nn.Parameter], lrs: Mapping[str, float], phase: Phase) -> None:
    names: dict[int, str] = {}
    for key, parameter in parameters.items():
        other = names.setdefault(id(parameter), key)
        if lrs.get(other) != lrs.get(key):
            words = "only one would train" if None in (lrs.get(other), lrs.get(key)) else "at two rates"
            raise BadInput(f"{other} and {key} are one tensor, and {words}")


def apply_freeze(model: nn.Module, plan: FreezePlan, table: LayerTable, disabled_dropout: Collection[str] = ()) -> None:
    """Freeze the network in place: gradients off, and what is frozen in eval mode for good.

    Frozen is a module none of whose parameters trains; one without parameters, such as dropout, is as the module around
    it. A BatchNorm is frozen if it normalises by its running statistics, whatever it stands in.

    disabled_dropout: names of more random modules that come before a frozen layer
    (:attr:`~wdiv.tuning.training.prefix_plan.PrefixPlan.disabled_dropout`). Modules are neither swapped nor renamed. A
    frozen one ignores ``train()`` from here on, so that ``model.train()`` cannot wake it; applying another plan
    releases it.
    """
    for key, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(key in plan.lrs)
    for module in model.modules():
        module.__dict__.pop("train", None)
    running = {model.get_submodule(name) for name in plan.batch_stats}
    frozen = {model.get_submodule(layer.name) for layer in table.of("bn")} - running
    still = {module for module in _without_training(model) if module not in running}
    for module in still.union(frozen, map(model.get_submodule, disabled_dropout)):
        module.training = False
        module.train = MethodType(_stay, module)


def _stay(module: nn.Module, mode: bool = True) -> nn.Module:
    """``train()`` of a frozen module: its own mode stays, those of the modules in it are their own affair."""
    for child in module.children():
        child.train(mode)
    return module


def _without_training(module: nn.Module, around: bool = False) -> Iterator[nn.Module]:
    """The modules none of whose parameters trains. ``around``: whether the module around is one."""
    parameters = list(module.parameters())
    still = not any(p.requires_grad for p in parameters) if parameters else around
    if still:
        yield module
    for child in module.children():
        yield from _without_training(child, still)


def parameter_groups(
    model: nn.Module, plan: FreezePlan, weight_decay: float, decay_all: bool, *, apart: bool = False
) -> list[Mapping[str, Any]]:
    """Optimizer groups by rate and decay, holding the trainable parameters and no other.

    Unless ``decay_all``, decay is for the weights of convolutions and of what is linear, attention's among them: not
    for gamma, beta and biases, and not for what belongs to no layer, as layer scales, tokens and positions.

    apart: a group for each parameter, where each has a rate that changes by itself. ``keys`` of a group are its
    parameters' names, ``base`` its rate before any schedule.
    """
    groups: dict[Any, dict[str, Any]] = {}
    for key, parameter in model.named_parameters():
        if key in plan.lrs:
            lr, decays = plan.lrs[key], decay_all or (parameter.dim() > 1 and _is_weight(model, key, plan))
            decay = weight_decay if decays else 0.0
            new = {"params": [], "keys": [], "lr": lr, "base": lr, "weight_decay": decay}
            group = groups.setdefault(key if apart else (lr, decay), new)
            group["params"].append(parameter)
            group["keys"].append(key)
    return list(groups.values())


def _is_weight(model: nn.Module, key: str, plan: FreezePlan) -> bool:
    """Of a layer, or of one of the modules of PyTorch that have the matrices of several layers in one."""
    from torch import nn

    owner = model.get_submodule(key.rpartition(".")[0])
    return key in plan.kinds or isinstance(owner, (nn.MultiheadAttention, nn.RNNBase, nn.Bilinear))
