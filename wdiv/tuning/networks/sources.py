"""Where starting weights come from.

``random``                    nowhere
``pretrained``                torchvision's newest for the network, downloaded once with its hash checked
``IMAGENET1K_V1``             or those by their name
``weights.pth``               a file (.pt .pth .tar .safetensors)
``card.toml``                 a source card: a file and what it does not say about itself
``runs/x/runs/ID[@EPOCH]``    a wdiv run: epoch number, ``last`` (default) or ``best``
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np

from wdiv.errors import BadInput, BadWeights
from wdiv.registry import did_you_mean
from wdiv.store.files import read_toml, sha256
from wdiv.store.foreign import read_state_dict
from wdiv.store.reader import find_run
from wdiv.tuning.data.inputs import IMAGENET, InputSpec
from wdiv.tuning.networks.models import ModelSpec, build, class_keys, new_keys, other_keys

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["Source", "check_fits", "load_into", "names_model", "not_given", "resolve", "whole"]

PRETRAINED = "pretrained"
"""The weights that torchvision takes for a network's best."""
AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Beginnings of names that a network may leave out: torchvision builds these heads on request."""


@dataclass(frozen=True, eq=False)
class Source:
    """Starting weights that have been found, not yet read.

    model    the network they are for, where the source says so
    input    the images they were trained on
    file     what to read;  ``run`` instead for an epoch of a wdiv run, ``download`` for torchvision's weights
    digest   the file's SHA-256, where a source card gives it
    label    the architecture's name in tables, where a source card gives it
    """

    name: str
    input: InputSpec
    model: ModelSpec | None = None
    file: Path | None = None
    digest: str | None = None
    run: tuple[Any, int] | None = None
    download: Any = None
    label: str | None = None

    @property
    def random(self) -> bool:
        return self.name == "random"

    @property
    def here(self) -> bool:
        """True if there are weights to read, and nothing to download first."""
        return self.run is not None or (self.file is not None and self.file.exists())

    @cached_property
    def content(self) -> str:
        """SHA-256 of the weights, by name; ``random`` for none. Raises what :meth:`read` raises."""
        if self.random:
            return "random"
        digest = hashlib.sha256()
        for name, tensor in sorted(self.read().items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def fetch(self) -> None:
        """Download the file if it is not here; without a network, :class:`~wdiv.errors.BadWeights` says what to do."""
        if self.download is not None and self.file is not None and not self.file.exists():
            _download(self.download, self.file)

    def read(self) -> dict[str, torch.Tensor]:
        """The tensors by name, wrappers peeled. Raises :class:`~wdiv.errors.BadWeights`."""
        import torch

        if self.run is not None:
            run, epoch = self.run
            state: Mapping[str, np.ndarray] = run.state_dict(epoch)
        else:
            self.fetch()
            assert self.file is not None
            if self.digest is not None and (found := sha256(self.file)) != self.digest:
                raise BadWeights(f"{self.file}: its SHA-256 is {found}, not {self.digest} as {self.name} says")
            state, _ = read_state_dict(self.file)
        return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def resolve(text: str, model: ModelSpec | None = None) -> Source:
    """Find a source. ``model`` is the network asked for; it may be None where the source names its own.

    Raises :class:`~wdiv.errors.BadWeights` and :class:`~wdiv.errors.BadInput`; where torchvision cannot download,
    the message says which file to put where.
    """
    if text == "random":
        return Source("random", IMAGENET)
    path = Path(text)
    if path.suffix == ".toml":
        return _read_card(path)
    found = find_run(text)
    if found is not None:
        run, epoch = found
        record = run.record
        if not record.input:
            raise BadInput(
                f"weights {text!r}: an imported run does not say what its network reads; give its epoch's file"
            )
        spec = ModelSpec(record.model, record.model_args, record.bn_eps)
        return Source(f"{run.path.name}@{epoch}", InputSpec(**record.input), spec, run=(run, epoch))
    if path.exists() or path.suffix in (".pt", ".pth", ".tar", ".safetensors") or len(path.parts) > 1:
        if not path.exists():
            raise BadWeights(f"{path}: no such file")
        return Source(path.name, IMAGENET, file=path)
    if model is None:
        raise BadInput(f"weights {text!r}: name the model they are for")
    return _torchvision(text, model)


def names_model(text: str) -> bool:
    """True for weights that say which network they are for: a source card, a wdiv run."""
    return Path(text).suffix == ".toml" or find_run(text) is not None


@dataclass(frozen=True)
class _Card:
    """The fields of a source card."""

    file: str
    model: str
    sha256: str | None = None
    model_args: Mapping[str, Any] = field(default_factory=dict)
    bn_eps: float | None = None
    trained_on: str = ""
    classes: int = 0
    input: Mapping[str, Any] = field(default_factory=dict)


_TOML = {str: "string", dict: "table", float: "number with a decimal point"}


def _read_card(path: Path) -> Source:
    data = read_toml(path, "source card", BadWeights)
    fields = _Card.__dataclass_fields__
    for key in data:
        if key not in fields:
            raise BadWeights(f"{path}: unknown key {key!r}; {did_you_mean(key, fields)}")
    for key in ("file", "model", "input"):
        if key not in data:
            raise BadWeights(f"{path}: a source card needs {key!r}")
    kinds = {"file": str, "model": str, "sha256": str, "model_args": dict, "bn_eps": float, "input": dict}
    for key, kind in kinds.items():
        if key in data and not isinstance(data[key], kind):
            raise BadWeights(f"{path}: {key} is to be a {_TOML[kind]}, not {data[key]!r}")
    card = _Card(**data)
    file = path.parent / card.file
    if not file.is_file():
        raise BadWeights(f"{path}: its file {card.file!r} is not beside it")
    spec = ModelSpec(card.model, card.model_args, card.bn_eps)
    inputs = InputSpec.from_mapping(card.input, path)
    return Source(path.stem, inputs, spec, file, card.sha256, label=path.stem)


def _torchvision(text: str, spec: ModelSpec) -> Source:
    from torchvision import models

    try:
        known = models.get_model_weights(spec.name)
    except ValueError:
        from wdiv.tuning.networks.models import layer_table

        layer_table(spec, 2, 299)  # raises the error that names the models
        raise
    if text == PRETRAINED:
        text = known.DEFAULT.name
    if text not in known.__members__:
        near = did_you_mean(text, [PRETRAINED, *known.__members__, "random"])
        raise BadInput(f"unknown weights {text!r} for {spec.name}, and no such file; {near}")
    weights = known[text]
    return Source(text, _input_of(weights, spec), spec, _cached(weights), download=weights)


def _cached(weights: Any) -> Path:
    """Where torchvision keeps a weights file; ``TORCH_HOME`` moves it."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rpartition("/")[2]


def _download(weights: Any, file: Path) -> None:
    """Fetch a file whose name ends in the beginning of its SHA-256, which is checked."""
    import torch

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        prefix = file.stem.rpartition("-")[2]
        torch.hub.download_url_to_file(weights.url, str(file), hash_prefix=prefix)
    except (URLError, OSError, RuntimeError) as error:
        reason = getattr(error, "reason", error)
        raise BadWeights(
            f"cannot download {weights} ({reason}); fetch {weights.url} elsewhere and put it at {file}, "
            "or give --weights a file, a source card or a run"
        ) from None


def _input_of(weights: Any, spec: ModelSpec) -> InputSpec:
    """The input that torchvision trained on. Its Inception and GoogLeNet renormalise inside; ours get that input."""
    if spec.name in ("inception_v3", "googlenet"):
        return InputSpec(299 if spec.name == "inception_v3" else 224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    preset = weights.transforms()
    return InputSpec(preset.crop_size[0], mean=tuple(preset.mean), std=tuple(preset.std))


def load_into(
    model: nn.Module, state: Mapping[str, torch.Tensor], spec: ModelSpec, name: str
) -> dict[str, torch.Tensor]:
    """Load everything but the head, in place. Returns the tensors of ``state`` that have a place in the model,
    those of the source's own head included.

    Raises :class:`~wdiv.errors.BadWeights`, naming the first tensors that do not fit, for weights of another
    architecture.
    """
    check_fits(model, state, spec, name)
    own, new = model.state_dict(), new_keys(spec)
    # converted, because the store's copy of a frozen tensor must be the one in use, bit for bit
    loaded = {key: value.to(own[key].dtype) for key, value in state.items() if key in own}
    model.load_state_dict({k: loaded.get(k, own[k]) for k in own if k not in new}, strict=False)
    return loaded


def whole(source: Source, spec: ModelSpec) -> tuple[nn.Module, bool]:
    """The source's network with its weights, its own classifier included; False where the source has none.

    Raises :class:`~wdiv.errors.BadWeights` where they do not fit.
    """
    if source.random:
        return build(spec, 1000), True
    state, new = source.read(), new_keys(spec)
    own = {key for key in new if not key.startswith(AUXILIARY)}
    complete = own <= state.keys()
    network = build(spec, len(state[min(own & class_keys(spec))]) if complete else 2)
    if not complete:
        state = {key: value for key, value in state.items() if key not in new}
    loaded = load_into(network, state, spec, source.name)
    try:
        network.load_state_dict(loaded, strict=False)
    except RuntimeError as error:
        raise BadWeights(f"{source.name}: its classifier does not fit: {str(error).splitlines()[-1].strip()}") from None
    return network, complete


def not_given(model: nn.Module, loaded: Mapping[str, torch.Tensor], spec: ModelSpec) -> tuple[str, ...]:
    """The model's tensors that loading has left as they were: its head's, and those that the source lacks."""
    new = new_keys(spec)
    return tuple(key for key in model.state_dict() if key not in loaded or key in new)


def check_fits(model: nn.Module, state: Mapping[str, torch.Tensor], spec: ModelSpec, name: str) -> None:
    """Raise :class:`~wdiv.errors.BadWeights` unless the tensors are those of the network, its head aside."""
    own, new, other = model.state_dict(), new_keys(spec), other_keys(spec)
    body = {key: value for key, value in own.items() if key not in new}
    missing = [k for k in body if k not in state and not k.endswith("num_batches_tracked") and not _auxiliary(k)]
    foreign = [k for k in state if k not in own and not _auxiliary(k) and k not in other]
    shapes = [k for k, v in body.items() if k in state and state[k].shape != v.shape]
    complexes = [k for k, v in state.items() if k in own and v.is_complex()]
    problems = [
        f"{len(keys)} tensors {what} ({keys[0]}{detail(keys[0])})"
        for keys, what, detail in (
            (missing, "missing", lambda key: ""),
            (shapes, "of another shape", lambda key: f" is {tuple(state[key].shape)}, not {tuple(body[key].shape)}"),
            (foreign, "that it does not have", lambda key: ""),
            (complexes, "of complex numbers, which it cannot hold", lambda key: ""),
        )
        if keys
    ]
    if problems:
        raise BadWeights(f"{name}: not weights for {spec.label}: {'; '.join(problems)}")


def _auxiliary(key: str) -> bool:
    return key.startswith(AUXILIARY)
