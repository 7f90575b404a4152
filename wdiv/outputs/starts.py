"""What the layers of each run are fed by the network that it starts from: captured once a start, and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput, BadWeights, NoOutputs, UnknownName
from wdiv.outputs.capture import capture
from wdiv.outputs.moments import LayerInputs
from wdiv.outputs.sample import Images, Sample, sample_of, told_of
from wdiv.store.foreign import layers_from_shapes
from wdiv.store.match import match_layers
from wdiv.store.reader import Run
from wdiv.tuning.networks.models import ModelSpec, build
from wdiv.tuning.training.device import choose_device

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Starts"]

HELD = 1 << 30
"""Bytes of captured inputs that a process keeps; at least those of the last start."""
INSTEAD = "output_change_proxy needs no network"

_kept: dict[str, tuple[Any, Mapping[str, LayerInputs]]] = {}
"""Key -> the module that was given, so that no other takes its place in memory, and what was captured."""
_samples: dict[str, Sample] = {}


class Starts:
    """The starts of a store's runs, on some images.

    shown: the samples that were looked at so far, by what they were drawn for
    """

    def __init__(self, images: Images, device: str = "auto") -> None:
        self.images, self.device = images, device
        self.shown: dict[str, Sample] = {}

    def identity(self, run: Run) -> str:
        """What the inputs of a run's layers depend on besides its starting weights, as a short digest. Of a store's own
        images it is had without opening one."""
        told = told_of(run, self.images) if self.images.data is None else self.sample(run).digest
        return hashlib.sha256(repr((told, self._named)).encode()).hexdigest()[:16]

    def inputs(self, run: Run) -> Mapping[str, LayerInputs]:
        """Layer of the run -> what it is fed at the run's start. Raises :class:`~wdiv.errors.NoOutputs`."""
        key = self.key(run)
        if key not in _kept:
            try:
                _kept[key] = self.images.model, self._captured(run)
            except (BadInput, BadWeights) as error:
                if not self.images.own:
                    raise
                raise NoOutputs(f"{error}; output_change_proxy needs neither images nor a network") from None
        _kept[key] = _kept.pop(key)  # the last is the last to go
        while len(_kept) > 1 and sum(one.nbytes for _, found in _kept.values() for one in found.values()) > HELD:
            del _kept[next(iter(_kept))]
        return _kept[key][1]

    def _captured(self, run: Run) -> dict[str, LayerInputs]:
        sample, where = self.sample(run), choose_device(self.device)
        network, modules = _network(run, self.images.model)
        found = capture(network.to(where), sample.batches(where), modules.values())
        return {layer: found[module] for layer, module in modules.items() if module in found}

    def key(self, run: Run) -> str:
        """Runs with one key are fed the same. What differs in the last layer alone, as new heads do, is fed to none."""
        record, digest = run.record, hashlib.sha256()
        last = max(record.table, key=lambda layer: layer.depth)
        fed_to_none = {last.key(role) for role in last.roles if record.table.order == "execution"}
        for key in record.new if run.imported is None else record.keys:
            tensor = None if key in fed_to_none else _at_start(run, key)
            if tensor is not None:
                digest.update(key.encode() + np.ascontiguousarray(tensor).tobytes())
        told = (record.base, record.model, dict(record.model_args), record.bn_eps, self.identity(run), self._named)
        digest.update(repr(told).encode())
        return digest.hexdigest()

    @property
    def _named(self) -> str:
        model = self.images.model
        return model if isinstance(model, str) else "" if model is None else f"module {id(model)}"

    def sample(self, run: Run) -> Sample:
        """The images that a run's start is shown."""
        told = told_of(run, self.images)
        if told not in self.shown:
            own = self.images.data is None  # the digest of all images is part of what is told: they cannot be others
            found = _samples[told] if own and told in _samples else sample_of(run, self.images)
            self.shown[told] = found
            if own:
                _samples[told] = found
        return self.shown[told]


def _at_start(run: Run, key: str) -> np.ndarray | None:
    """A tensor as the run began with it: the source's, or that of its first epoch."""
    found, first = run.read(key, None), run.history()[0]["epoch"]
    return run.read(key, first) if found is None and first in run.epochs() else found


def _network(run: Run, model: Any) -> tuple[nn.Module, dict[str, str]]:
    """The network with the run's starting weights, and layer of the run -> module.

    Raises :class:`~wdiv.errors.NoOutputs` where it cannot be built, :class:`~wdiv.errors.BadInput` for a network that
    is not the run's.
    """
    import copy

    record = run.record
    state = {key: found for key in record.keys if (found := _at_start(run, key)) is not None}
    if model is None or isinstance(model, str):
        spec = ModelSpec(record.model, record.model_args, record.bn_eps) if model is None else ModelSpec.parse(model)
        try:
            network = build(spec, record.classes or 1000)
        except (BadInput, UnknownName) as error:
            if model is not None:
                raise
            what = f"network {spec.label!r} cannot be built here ({str(error).partition(';')[0]})"
            raise NoOutputs(f"{run.path}: its {what}; name another with --model (model=); {INSTEAD}") from None
    else:
        network = copy.deepcopy(model)
    return network, _load(network, state, run)


def _load(network: nn.Module, state: Mapping[str, np.ndarray], run: Run) -> dict[str, str]:
    """Put a run's tensors into a network whose names may be others. Returns layer of the run -> module."""
    import torch

    own = network.state_dict()
    theirs = run.record.table
    ours = layers_from_shapes({key: value.shape for key, value in own.items()})
    pairs = {layer.name: layer.name for layer in theirs if f"{layer.name}.weight" in own or layer.name in ours}
    if len(pairs) < len(theirs):
        pairs = match_layers(ours, theirs).pairs
    source = {key: key for key in own if key in state}
    for module, name in pairs.items():
        for suffix in ("weight", "bias", "running_mean", "running_var"):
            if f"{module}.{suffix}" in own and f"{name}.{suffix}" in state:
                source[f"{module}.{suffix}"] = f"{name}.{suffix}"
    given = {key: torch.from_numpy(np.array(state[name])) for key, name in source.items()}
    unfit = [
        key for key, value in own.items()
        if value.is_floating_point() and (key not in given or given[key].shape != value.shape)
    ]  # fmt: skip
    if unfit:
        raise BadInput(
            f"{run.path}: the network given is not its own: {len(unfit)} of its tensors have no partner of the same "
            f"shape in the run, first {unfit[0]}; give another with --model (model=), or take output_change_proxy, "
            "which needs no network"
        )
    network.load_state_dict(given, strict=False)
    return {name: module for module, name in pairs.items()}
