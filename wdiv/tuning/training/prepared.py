"""A network as a run trains it, prepared for its first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wdiv.layers import LayerTable
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import build, head_layers, layer_table
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, make_plan
from wdiv.tuning.strategy.l2sp import L2SP
from wdiv.tuning.strategy.segments import Segment, segments
from wdiv.tuning.training.prefix_plan import PrefixPlan, plan_prefix
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["PreparedNetwork", "prepare"]


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """A network, its layers, and the segments of epochs in which a run trains it.

    head      names of the classifier's layers
    start     the starting weights by key, on the CPU, where training does not reach them
    new       the keys of those that do not come from the run's source, in the network's order
    given     the tensors of the source that have a place in the network, those of its own head included; of a run
              that starts from random weights, all of them
    """

    spec: RunSpec
    model: nn.Module
    table: LayerTable
    head: frozenset[str]
    segments: tuple[Segment, ...]
    start: Mapping[str, torch.Tensor] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    given: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls, spec: RunSpec, model: nn.Module, classes: int, start: Mapping[str, torch.Tensor] | None = None,
        new: tuple[str, ...] = (), given: Mapping[str, torch.Tensor] | None = None,
    ) -> PreparedNetwork:  # fmt: skip
        """A built network, with or without numbers. Raises :class:`~wdiv.errors.BadInput` where the run's strategy
        does not fit it, or it cannot take images of the run's size."""
        table, head = layer_table(spec.network, classes, spec.inputs.size), head_layers(spec.network)
        spec.parsed.check(table, head, spec.network.label)
        found = segments(spec.parsed, table, head, spec.recipe.epochs)
        return cls(spec, model, table, head, found, start or {}, new, given or {})

    def plan(self, segment: Segment) -> FreezePlan:
        """What trains in a segment. Touches nothing."""
        return make_plan(self.model, self.table, self.head, segment, self.spec.bn_mode)

    def freeze(self, segment: Segment) -> tuple[FreezePlan, PrefixPlan]:
        """Freeze the network as a segment trains it, in place."""
        plan = self.plan(segment)
        apply_freeze(self.model, plan, self.table)
        prefix = plan_prefix(self.model, plan, self.table, self.spec.recipe, self.spec.inputs.size)
        apply_freeze(self.model, plan, self.table, prefix.disabled_dropout)
        return plan, prefix

    def l2sp(self, segment: Segment) -> L2SP | None:
        """The pull to the starting weights, where the segment has one; of a network that is frozen for it."""
        strength = segment.phase.number("l2sp")
        return None if strength is None else L2SP(self.model, self.start, self.new, strength)


def prepare(spec: RunSpec, classes: int, device: torch.device, *, weights: bool = True) -> PreparedNetwork:
    """Build a run's network on a device, with the weights that the run starts from.

    weights  False: with others of the same shapes; none are read

    Raises what :meth:`PreparedNetwork.of` does, and :class:`~wdiv.errors.BadWeights`.
    """
    import torch

    model, new, given = build(spec.network, classes, spec.seed), tuple[str, ...](), None
    if weights and spec.start != "random":
        given = sources.load_into(model, spec.source.read(), spec.network, spec.source.name)
        new = sources.not_given(model, given, spec.network)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    model.to(device, memory_format=torch.channels_last)
    return PreparedNetwork.of(spec, model, classes, start, new, start if given is None else given)
