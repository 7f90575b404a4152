"""Checkpoints that somebody else wrote. Hostile until proven otherwise: tensors are read, code never runs."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadStore, BadWeights
from wdiv.layers import BUFFERS, ROLES, Layer, LayerTable
from wdiv.store import tensors

__all__ = [
    "SUFFIXES",
    "Checkpoint",
    "layers_from_shapes",
    "open_checkpoint",
    "peel",
    "read_state_dict",
    "rename",
    "to_numpy",
]

SUFFIXES = (".pt", ".pth", ".tar", ".safetensors", ".bin", ".ckpt")
MAX_WRAPPERS = 8
WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "ema", "net", "network", "weights")
PREFIXES = ("module.", "_orig_mod.", "model_ema.")


@dataclass(frozen=True)
class Checkpoint:
    """A set of named tensors and the layers they form.

    peeled  the wrappers and prefixes that were taken off, outermost first
    """

    name: str
    table: LayerTable
    tensors: Mapping[str, np.ndarray]
    peeled: tuple[str, ...] = ()

    def tensor(self, layer: Layer, role: str) -> np.ndarray:
        """One tensor of one layer."""
        return self.tensors[layer.key(role)]

    @property
    def outside(self) -> tuple[str, ...]:
        """Floating-point tensors that belong to no layer of a kind wdiv measures."""
        inside = {layer.key(role) for layer in self.table for role in layer.roles}
        return tuple(key for key, value in self.tensors.items() if key not in inside and value.dtype.kind == "f")


def open_checkpoint(path: str | Path, renames: Sequence[str] = ()) -> Checkpoint:
    """Read a ``.pt``/``.pth``/``.tar``/``.safetensors`` file of tensors.

    ``.pt`` files are opened with ``weights_only=True``: a pickle that would run code is refused. Wrappers
    (``state_dict``, ``model``, ``module.`` …) are peeled. Layers come in the order of registration, which is all
    that a bare state dict tells; kinds come from shapes and from the companions a BatchNorm leaves, not from names.

    renames: rules ``old=new`` for the beginning of a name, applied after peeling.

    Raises :class:`~wdiv.errors.BadWeights`.
    """
    state, peeled = read_state_dict(path)
    if renames:
        state = rename(state, renames)
    return Checkpoint(str(path), layers_from_shapes({k: v.shape for k, v in state.items()}), state, peeled)


def read_state_dict(path: str | Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors of a checkpoint file by name, and what was peeled off to get at them."""
    path = Path(path)
    if not path.exists():
        raise BadWeights(f"{path}: no such file")
    if path.is_dir() or path.suffix not in SUFFIXES:
        raise BadWeights(f"{path}: not a checkpoint file; known: {', '.join(SUFFIXES)}, or RUN_DIRECTORY@EPOCH")
    size = path.stat().st_size
    if size == 0:
        raise BadWeights(f"{path}: the file is empty")
    state, peeled = peel(_read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path))
    if not state:
        raise BadWeights(f"{path}: no tensors in it")
    for key in state:
        if ".." in key or key.startswith(("/", "\\")):
            raise BadWeights(f"{path}: refused, a tensor is named {key!r}")
    return {key: _to_numpy(value, f"{path}: tensor {key!r}", size) for key, value in state.items()}, peeled


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        return {key: tensors.read(path, key) for key in tensors.keys(path)}
    except BadStore as error:
        raise BadWeights(str(error)) from None
    except (TypeError, ValueError, KeyError, AttributeError):  # a type NumPy lacks, such as bfloat16 or float8
        import safetensors.torch

        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # a type PyTorch lacks too
            raise BadWeights(f"{path}: not a readable safetensors file ({_line(error)})") from None


def _read_torch(path: Path) -> Any:
    import pickle

    import torch

    try:
        _refuse_bomb(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storage classes and formats: nothing the reader can act on
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"(?:GLOBAL|global|class|Unsupported \w+) ([\w.]+\.[\w.]+)", str(error))
        what = f" ({found[1]})" if found else ""
        raise BadWeights(
            f"{path}: holds more than tensors{what}, and loading it could run code; "
            "save its state_dict alone, best as .safetensors"
        ) from None
    except BadWeights:
        raise
    except Exception as error:  # damaged bytes can make an unpickler raise anything
        raise BadWeights(f"{path}: not a readable PyTorch file ({_line(error)})") from None


def _refuse_bomb(path: Path) -> None:
    """PyTorch stores its archives uncompressed, so one that unpacks to more than its own size was made to harm."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise BadWeights(f"{path}: refused, its {path.stat().st_size} bytes would unpack to {unpacked}")


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:120] if lines else type(error).__name__


def peel(loaded: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The innermost name -> tensor mapping, without prefixes that every name shares.

    >>> state, peeled = peel({"epoch": 3, "state_dict": {"module.fc.weight": np.ones(2)}})
    >>> list(state), peeled
    (['fc.weight'], ('state_dict', 'module.'))
    """
    peeled: list[str] = []
    while isinstance(loaded, Mapping) and len(peeled) < MAX_WRAPPERS:  # a pickled dict can hold itself
        inner = next((w for w in WRAPPERS if isinstance(loaded.get(w), Mapping)), None)
        if inner is None:
            break
        loaded = loaded[inner]
        peeled.append(inner)
    if not isinstance(loaded, Mapping):
        return {}, tuple(peeled)
    state = {str(key): value for key, value in loaded.items() if hasattr(value, "shape") and hasattr(value, "dtype")}
    while state:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        peeled.append(prefix)
    return state, tuple(peeled)


def rename(state: Mapping[str, Any], rules: Sequence[str]) -> dict[str, Any]:
    """Apply rules ``old=new`` to the beginning of names; the first rule that fits a name is used.

    >>> list(rename({"body.conv1.weight": 1, "head.weight": 2}, ["body.="]))
    ['conv1.weight', 'head.weight']
    """
    pairs = []
    for rule in rules:
        old, equals, new = rule.partition("=")
        if not equals or not old:
            raise BadWeights(f"rename rule {rule!r}: write it as OLD_PREFIX=NEW_PREFIX")
        pairs.append((old, new))
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        old, new = next(((o, n) for o, n in pairs if key.startswith(o)), ("", ""))
        target = new + key.removeprefix(old)
        if target in renamed:
            raise BadWeights(f"rename rules {', '.join(rules)}: two tensors would be named {target!r}")
        renamed[target] = value
    return renamed


def layers_from_shapes(shapes: Mapping[str, Sequence[int]], order: str = "registration") -> LayerTable:
    """The layers that a bare state dict tells of.

    A four-dimensional ``weight`` is a convolution, a two-dimensional one a linear layer, and a ``weight`` of one
    dimension beside a ``running_mean`` of the same shape a BatchNorm.

    >>> table = layers_from_shapes({"a.weight": (8, 3, 3, 3), "b.weight": (8,), "b.running_mean": (8,)})
    >>> [(layer.name, layer.kind, layer.roles) for layer in table]
    [('a', 'conv', ('weight',)), ('b', 'bn', ('gamma', 'running_mean'))]
    """
    owners = dict.fromkeys(key.rpartition(".")[0] for key in shapes)
    layers: list[Layer] = []
    for owner in owners:
        suffixes = {
            suffix: tuple(shapes[key])
            for suffix in ("weight", "bias", *BUFFERS)
            if (key := f"{owner}.{suffix}" if owner else suffix) in shapes
        }
        kind = _kind_from_shapes(suffixes)
        if kind is None:
            continue
        shape = suffixes["running_mean"] if kind == "bn" else suffixes["weight"]
        roles = tuple(r for r, suffix in ROLES[kind].items() if suffix in suffixes)
        layers.append(Layer(owner, kind, roles, shape, depth=len(layers)))
    return LayerTable(tuple(layers), order)


def _kind_from_shapes(suffixes: Mapping[str, tuple[int, ...]]) -> str | None:
    outputs = suffixes.get("weight", suffixes.get("running_mean", ()))[:1]
    companions = (shape for suffix, shape in suffixes.items() if suffix != "weight")
    if not outputs or any(shape != outputs for shape in companions):
        return None
    if "running_mean" in suffixes:
        return "bn" if len(suffixes.get("weight", outputs)) == 1 else None
    return {4: "conv", 2: "fc"}.get(len(suffixes["weight"]))


def _to_numpy(value: Any, what: str, file_size: int) -> np.ndarray:
    """The tensor as an array. A view of few numbers can claim any shape: one larger than its file is refused."""
    if isinstance(value, np.ndarray):
        return value
    if value.numel() * value.element_size() > file_size:
        raise BadWeights(f"{what}: refused, it claims shape {tuple(value.shape)} and the file has {file_size} bytes")
    try:
        return to_numpy(value)
    except (TypeError, RuntimeError) as error:  # sparse, quantized, without data
        raise BadWeights(f"{what}: cannot be read ({_line(error)})") from None


def to_numpy(value: Any) -> np.ndarray:
    """An array or a tensor as an array, in its own type: counters stay integers and float64 keeps its digits."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    value = value.detach().cpu().resolve_conj().resolve_neg()
    array: np.ndarray
    try:
        array = value.numpy()
    except TypeError:  # a type NumPy lacks, such as bfloat16 or float8
        array = value.float().numpy()
    return array
