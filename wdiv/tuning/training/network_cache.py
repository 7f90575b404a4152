"""What runs from one source have in common, done once: a network is built, loaded, traced and digested."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from wdiv.store.writer import base_digest
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import build
from wdiv.tuning.prefix.frozen_prefix import cut
from wdiv.tuning.training.prepared import PreparedNetwork, StartingWeights
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["NetworkCache"]


class NetworkCache:
    """Prepares networks, one at a time: the one prepared before may be this one, and is no longer its owner's.

    Of a source, a model, a number of classes and a device there is one network, which every run finds as if it had
    just been built. With the source's weights it is let go when any of the four changes.
    """

    def __init__(self) -> None:
        self._shared: _Shared | None = None

    def prepare(self, spec: RunSpec, classes: int, device: torch.device, *, weights: bool = True) -> PreparedNetwork:
        """A run's network on a device, with the weights that the run starts from.

        weights  False: with others of the same shapes; none are read

        Raises what :meth:`PreparedNetwork.of` does, and :class:`~wdiv.errors.BadWeights`.
        """
        return self._of(spec, classes, device).prepared(spec, random=not weights or spec.start == "random")

    def base(self, spec: RunSpec, classes: int, device: torch.device) -> str | None:
        """SHA-256 of the weights that a run starts from, as a file in a store; None of random ones.

        Raises :class:`~wdiv.errors.BadWeights`.
        """
        return None if spec.start == "random" else self._of(spec, classes, device).base

    def _of(self, spec: RunSpec, classes: int, device: torch.device) -> _Shared:
        if self._shared is None or not self._shared.serves(spec, classes, device):
            self._shared = None  # before there is another
            self._shared = _Shared(spec, classes, device)
        return self._shared


class _Shared:
    """A network, the weights of its source, and what was found out about both."""

    def __init__(self, spec: RunSpec, classes: int, device: torch.device) -> None:
        self._of = spec.source, spec.network, classes, device
        self._model: nn.Module | None = None
        self._given: dict[str, torch.Tensor] = {}
        self._new: tuple[str, ...] = ()
        self._drawn: dict[int, Mapping[str, torch.Tensor]] = {}  # seed -> the tensors that the source does not give
        self._known: dict[int | None, tuple[dict[str, str], dict[str, str], dict[Path, str]]] = defaultdict(
            lambda: ({}, {}, {})
        )
        self._cut = cache(cut)

    def serves(self, spec: RunSpec, classes: int, device: torch.device) -> bool:
        return self._of == (spec.source, spec.network, classes, device)

    def prepared(self, spec: RunSpec, *, random: bool) -> PreparedNetwork:
        start = self._random(spec.seed) if random else self._loaded(spec.seed)
        assert self._model is not None
        self._model.load_state_dict(start.tensors)
        self._model.zero_grad()
        return PreparedNetwork.of(spec, self._model, self._of[2], start, self._cut)

    def _random(self, seed: int) -> StartingWeights:
        tensors = self._draw(seed)
        return StartingWeights(tensors, tensors, (), *self._known[seed])

    @cached_property
    def base(self) -> str:
        """Of the source's weights."""
        self._load(0)
        return base_digest(self._given)

    def _load(self, seed: int) -> Mapping[str, torch.Tensor]:
        """Read the source, once. Returns the tensors that it does not give, as a seed draws them."""
        if seed not in self._drawn:
            tensors = self._draw(seed)
            if not self._given:
                source, network, *_ = self._of
                self._given = sources.load_into(self._model, source.read(), network, source.name)
                self._new = sources.not_given(self._model, self._given, network)
            self._drawn[seed] = {key: tensors[key] for key in self._new}
        return self._drawn[seed]

    def _loaded(self, seed: int) -> StartingWeights:
        drawn = self._load(seed)
        assert self._model is not None
        tensors = {key: drawn[key] if key in drawn else self._given[key] for key in self._model.state_dict()}
        return StartingWeights(tensors, self._given, self._new, *self._known[None])

    def _draw(self, seed: int) -> Mapping[str, torch.Tensor]:
        """The tensors of a network that is initialised anew; the first of them becomes the network."""
        import torch

        _, network, classes, device = self._of
        built = build(network, classes, seed)
        if self._model is None:
            self._model = copy.deepcopy(built).to(device, memory_format=torch.channels_last)
        tensors: Mapping[str, torch.Tensor] = built.state_dict()
        return tensors
