"""The freeze contract: what a strategy does not name is bit-identical afterwards, buffers included.

Three things break that in ordinary code, and are ruled out here: an optimizer that holds a frozen parameter moves
it by momentum or decay; ``model.train()`` sets frozen BatchNorm layers back to updating their statistics; and a
parameter shared by two layers is frozen in one and trained in the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.layers import BUFFERS, LayerTable
from wdiv.store.probe import buffers_of
from wdiv.tuning.strategies import BN_MODES, Strategy

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Plan", "hold", "make_plan", "parameter_groups"]


@dataclass(frozen=True)
class Plan:
    """What trains, at what rate, and what may move at all.

    rates        parameter key -> learning rate, of the trainable ones
    kinds        parameter key -> kind of its layer, as the strategy counts it
    batch_stats  BatchNorm layers that normalise by batch statistics while training
    changing     keys that an epoch may change, in the state dict's order
    frozen       all the others
    """

    rates: Mapping[str, float]
    kinds: Mapping[str, str]
    batch_stats: frozenset[str]
    changing: tuple[str, ...]
    frozen: tuple[str, ...]
    adapt: bool = False

    def rate_by_kind(self) -> dict[str, float]:
        """Kind -> learning rate."""
        return {self.kinds[key]: rate for key, rate in self.rates.items() if key in self.kinds}


def make_plan(
    model: nn.Module, table: LayerTable, head: frozenset[str], strategy: Strategy, bn_mode: str = "auto"
) -> Plan:
    """Resolve a strategy and a BN mode against a network. Touches nothing.

    head: names of the classifier's layers. Raises :class:`~wdiv.errors.BadInput` for a term that selects no
    layer, and for parameters shared between a layer that trains and one that does not.
    """
    mode = BN_MODES[bn_mode].name
    rates: dict[str, float] = {}
    kinds: dict[str, str] = {}
    batch_stats = set()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    if strategy.scratch:
        rates = dict.fromkeys(parameters, strategy.scratch_rate)
    else:
        strategy.check(table, head, type(model).__name__)
    for layer in table:
        keys = [layer.key(role) for role in layer.roles if role not in BUFFERS]
        kinds |= dict.fromkeys(keys, "fc" if layer.name in head else layer.kind)
        rate = strategy.scratch_rate if strategy.scratch else strategy.rate(layer, head)
        if rate is not None:
            rates |= dict.fromkeys(keys, rate)
        if layer.kind == "bn" and (mode in ("batch", "adapt") or (mode == "auto" and rate is not None)):
            batch_stats.add(layer.name)
    _refuse_shared(parameters, rates, strategy)
    moving = {key for layer in table if layer.name in batch_stats for key in buffers_of(layer)}
    state = tuple(model.state_dict())
    changing = tuple(key for key in state if key in rates or key in moving)
    frozen = tuple(key for key in state if key not in rates and key not in moving)
    return Plan(rates, kinds, frozenset(batch_stats), changing, frozen, adapt=mode == "adapt")


def _refuse_shared(parameters: Mapping[str, nn.Parameter], rates: Mapping[str, float], strategy: Strategy) -> None:
    names: dict[int, str] = {}
    for key, parameter in parameters.items():
        other = names.setdefault(id(parameter), key)
        if rates.get(other) != rates.get(key):
            raise BadInput(f"strategy {strategy.name!r}: {other} and {key} are one tensor, and only one would train")


def hold(model: nn.Module, plan: Plan, table: LayerTable) -> None:
    """Freeze the network in place: gradients off, and frozen BatchNorm layers in eval mode for good.

    Modules are neither swapped nor renamed. A frozen BatchNorm ignores ``train()`` from here on, so that
    ``model.train()`` cannot wake it.
    """
    for key, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(key in plan.rates)
    for layer in table.of("bn"):
        module = model.get_submodule(layer.name)
        module.__dict__.pop("train", None)
        if layer.name not in plan.batch_stats:
            module.eval()
            module.train = lambda mode=True, held=module: held


def parameter_groups(model: nn.Module, plan: Plan, weight_decay: float, decay_all: bool) -> list[Mapping[str, Any]]:
    """Optimizer groups by rate and decay, holding the trainable parameters and no other."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for key, parameter in model.named_parameters():
        if key in plan.rates:
            decays = decay_all or parameter.dim() > 1
            groups.setdefault((plan.rates[key], weight_decay if decays else 0.0), []).append(parameter)
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]
