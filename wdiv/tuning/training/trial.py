"""A network as a run would train it, for trials that keep nothing: no file is written, no generator moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdiv.layers import LayerTable
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import build, head_layers, layer_table
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, make_plan
from wdiv.tuning.strategy.segments import Segment, segments
from wdiv.tuning.training.prefix_plan import PrefixPlan, plan_prefix

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["Trial", "seeds_kept"]


@dataclass(frozen=True, eq=False)
class Trial:
    """A network, its layers, and the stretches of epochs in which a run would train it.

    start  the weights it has now;  new: the keys of those that do not come from the run's source
    """

    spec: RunSpec
    model: nn.Module
    table: LayerTable
    segments: tuple[Segment, ...]
    start: Mapping[str, torch.Tensor]
    new: frozenset[str]

    @classmethod
    def of(cls, spec: RunSpec, classes: int, device: torch.device, *, weights: bool) -> Trial:
        """weights: the run's own; else any, and none are read. Raises what the run would raise."""
        import torch

        table, head = layer_table(spec.network, classes, spec.inputs.size), head_layers(spec.network)
        spec.parsed.check(table, head, spec.network.label)
        model, new = build(spec.network, classes, spec.seed), frozenset[str]()
        if weights and spec.start != "random":
            loaded = sources.load_into(model, spec.source.read(), spec.network, spec.source.name)
            new = frozenset(sources.not_given(model, loaded, spec.network))
        start = {key: value.clone() for key, value in model.state_dict().items()}
        model.to(device, memory_format=torch.channels_last)
        return cls(spec, model, table, segments(spec.parsed, table, head, spec.recipe.epochs), start, new)

    def held(self, segment: Segment) -> tuple[FreezePlan, PrefixPlan]:
        """Hold the network as it is held in a stretch."""
        plan = make_plan(self.model, self.table, head_layers(self.spec.network), segment, self.spec.bn_mode)
        apply_freeze(self.model, plan, self.table)
        at = plan_prefix(self.model, plan, self.table, self.spec.recipe, self.spec.inputs.size)
        apply_freeze(self.model, plan, self.table, at.disabled_dropout)
        return plan, at


@contextmanager
def seeds_kept(device: torch.device) -> Iterator[None]:
    """PyTorch's generators, which training sets in every step, are afterwards as they were.

    >>> import torch
    >>> before = torch.get_rng_state()
    >>> with seeds_kept(torch.device("cpu")):
    ...     _ = torch.manual_seed(5)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    import torch

    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        yield
