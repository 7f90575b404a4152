"""A network as a run trains it, prepared for its first step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from wdiv.layers import LayerTable
from wdiv.store.writer import fast_digests, frozen_digests, write_base
from wdiv.tuning.networks.models import head_layers, layer_table
from wdiv.tuning.prefix.feature_store import FeatureStore, feature_key
from wdiv.tuning.prefix.frozen_prefix import Cut, cut
from wdiv.tuning.strategy.freeze import FreezePlan, apply_freeze, changing, make_plan
from wdiv.tuning.strategy.l2sp import L2SP
from wdiv.tuning.strategy.segments import Segment, segments
from wdiv.tuning.training.feeds import Feed, Kept, OnDevice, Pixels
from wdiv.tuning.training.precision import computing
from wdiv.tuning.training.prefix_plan import PrefixPlan, plan_prefix
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["PreparedNetwork", "StartingWeights"]


@dataclass(frozen=True, eq=False)
class StartingWeights:
    """What a run starts from, on the CPU, where training does not reach it.

    tensors  all of the network's, by key
    given    those of the source that have a place in the network, its own head's included; of random weights, all
    new      keys of the network that the source does not give, in the network's order
    digests, fast, bases   what was found out of those given: two digests by key, and the SHA-256 of the file in a store
    """

    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)
    given: Mapping[str, torch.Tensor] = field(default_factory=dict)
    new: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict)
    fast: dict[str, str] = field(default_factory=dict)
    bases: dict[Path, str] = field(default_factory=dict)

    def write_base(self, store: Path) -> str:
        """Keep those given in a store, once. Returns the SHA-256 of their file."""
        if store not in self.bases:
            self.bases[store] = write_base(store, self.given)
        return self.bases[store]

    def given_digests(self) -> dict[str, str]:
        """Key -> :func:`~wdiv.store.seals.fast_digest` of each tensor in that file, in hexadecimal."""
        if not self.fast:
            self.fast.update({key: digest.hex() for key, digest in fast_digests(self.given).items()})
        return dict(self.fast)

    def digest(self, keys: Collection[str]) -> dict[str, str]:
        """Key -> SHA-256 of the tensor, in the network's order."""
        new = frozenset(self.new).intersection(keys)
        self.digests.update(frozen_digests(self.tensors, frozenset(keys) - new - self.digests.keys()))
        known = self.digests | frozen_digests(self.tensors, new)
        return {key: known[key] for key in self.tensors if key in keys}


@dataclass(frozen=True, eq=False)
class PreparedNetwork:
    """A network, its layers, and the segments of epochs in which a run trains it.

    head       names of the classifier's layers
    cut        :func:`~wdiv.tuning.prefix.frozen_prefix.cut`, or what remembers its answers
    """

    spec: RunSpec
    model: nn.Module
    table: LayerTable
    head: frozenset[str]
    segments: tuple[Segment, ...]
    start: StartingWeights
    cut: Callable[..., Cut] = cut

    @classmethod
    def of(
        cls, spec: RunSpec, model: nn.Module, classes: int, start: StartingWeights | None = None,
        cut: Callable[..., Cut] = cut,
    ) -> PreparedNetwork:  # fmt: skip
        """A built network, with or without numbers. Raises :class:`~wdiv.errors.BadInput` where the run's strategy
        does not fit it, or it cannot take images of the run's size."""
        table, head = layer_table(spec.network, classes, spec.inputs.size), head_layers(spec.network)
        spec.parsed.check(table, head, spec.network.label)
        found = segments(spec.parsed, table, head, spec.recipe.epochs)
        return cls(spec, model, table, head, found, start or StartingWeights(), cut)

    def plan(self, segment: Segment) -> FreezePlan:
        """What trains in a segment. Touches nothing."""
        return make_plan(self.model, self.table, self.head, segment, self.spec.bn_mode)

    @property
    def changing(self) -> tuple[str, ...]:
        """The tensors that a run may change, in the network's order."""
        return changing(map(self.plan, self.segments), self.model.state_dict())

    def freeze(self, segment: Segment) -> tuple[FreezePlan, PrefixPlan]:
        """Freeze the network as a segment trains it, in place."""
        plan = self.plan(segment)
        apply_freeze(self.model, plan, self.table)
        prefix = plan_prefix(self.model, plan, self.table, self.spec.recipe, self.spec.inputs.size, self.cut)
        apply_freeze(self.model, plan, self.table, prefix.disabled_dropout)
        return plan, prefix

    def feed(
        self, cut: Cut | None, part: OnDevice, recipe: Recipe, store: FeatureStore,
        frozen: Mapping[str, str] | None = None,
    ) -> Feed:  # fmt: skip
        """Images as the network is shown them: by what is kept of its prefix, or as pixels where there is no ``cut``.
        Computes what is not kept yet, in the recipe's precision.

        frozen  SHA-256 by key of tensors that are known to be what they were
        """
        import torch

        inputs, device = self.spec.inputs, part.labels.device
        if cut is None:
            return Pixels(self.model, inputs, part, recipe)

        def prefix(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
            with torch.no_grad(), computing(recipe.precision, device.type):
                found: tuple[torch.Tensor, ...] = cut.prefix(inputs.prepare(pixels))
                return found

        key = feature_key(cut, self.model, inputs, part.images.digest, device, recipe.precision, frozen)
        features = store.features(key, torch.from_numpy(part.images.pixels), part.rows, prefix, device)
        return Kept(cut, features, torch.from_numpy(part.rows).to(device), part.labels)

    def l2sp(self, segment: Segment) -> L2SP | None:
        """The pull to the starting weights, where the segment has one; of a network that is frozen for it."""
        strength = segment.phase.number("l2sp")
        return None if strength is None else L2SP(self.model, self.start.tensors, self.start.new, strength)
