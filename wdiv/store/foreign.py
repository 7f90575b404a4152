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
from wdiv.store.classifier import classified
from wdiv.store.files import read_json

__all__ = [
    "SUFFIXES",
    "Checkpoint",
    "check_names",
    "find_checkpoint",
    "layers_from_shapes",
    "open_checkpoint",
    "peel",
    "prefix_of",
    "read_state_dict",
    "read_torch",
    "refuse_bomb",
    "rename",
    "shards",
    "to_numpy",
]

SUFFIXES = (".pt", ".pth", ".tar", ".safetensors", ".safetensors.index.json", ".bin", ".ckpt")
"""Endings of files that may be checkpoints, in capitals or not."""

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
    """Read a ``.pt``/``.pth``/``.tar``/``.safetensors`` file of tensors, or a sharded one.

    ``.pt`` files are opened with ``weights_only=True``: a pickle that would run code is refused. Wrappers
    (``state_dict``, ``model``, ``module.`` …) are peeled. Layers come in the order of registration, which is all
    that a bare state dict tells; kinds come from shapes and from the companions a BatchNorm leaves, not from names.
    Sharded weights are named by their ``.safetensors.index.json``, or by a folder that holds one, or that holds a
    single ``.safetensors`` file.

    renames: rules ``old=new`` for the beginning of a name, see :func:`rename`.

    Raises :class:`~wdiv.errors.BadWeights`.
    """
    state, peeled = read_state_dict(path)
    if renames:
        state = rename(state, renames, prefix_of(peeled))
    return Checkpoint(str(path), layers_from_shapes({k: v.shape for k, v in state.items()}), state, peeled)


def read_state_dict(path: str | Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The tensors of a checkpoint file by name, and what was peeled off to get at them."""
    path = find_checkpoint(path)
    size = path.stat().st_size
    name = path.name.lower()
    if name.endswith((".safetensors", ".safetensors.index.json")):
        where = shards(path)
        state, peeled = peel(_read_safetensors(where))
        size = sum(file.stat().st_size for file in set(where.values()))
    else:
        state, peeled = peel(read_torch(path))
    check_names(path, state)
    return {key: _to_numpy(value, f"{path}: tensor {key!r}", size) for key, value in state.items()}, peeled


def find_checkpoint(path: str | Path) -> Path:
    """The file that a path names: itself, or the one checkpoint of safetensors in a folder."""
    path = Path(path)
    known = f"not a checkpoint file; known: {', '.join(SUFFIXES)}, or RUN_DIRECTORY@EPOCH"
    if not path.exists():
        raise BadWeights(f"{path}: no such file")
    if path.is_dir():
        found = sorted(path.glob("*.safetensors.index.json")) or sorted(path.glob("*.safetensors"))
        if len(found) != 1:
            several = f"a folder of {len(found)} checkpoints; give one of them" if found else known
            raise BadWeights(f"{path}: {several}")
        path = found[0]
    if not path.name.lower().endswith(SUFFIXES):
        raise BadWeights(f"{path}: {known}")
    if path.stat().st_size == 0:
        raise BadWeights(f"{path}: the file is empty")
    return path


def shards(path: Path) -> dict[str, Path]:
    """Name of each tensor -> the safetensors file that holds it, of one file or of an index beside its shards.

    Raises :class:`~wdiv.errors.BadWeights` for an index that leads out of its folder, or to what is not there.
    """
    try:
        if not path.name.lower().endswith(".json"):
            return dict.fromkeys(tensors.keys(path), path)
        weights = read_json(path)
        weights = weights.get("weight_map") if isinstance(weights, dict) else None
        if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights.values()):
            raise BadWeights(f"{path}: not an index of safetensors files; it has no 'weight_map' of names")
        held: dict[str, tuple[str, ...]] = {}
        for name in dict.fromkeys(weights.values()):
            plain = name.lower().endswith(".safetensors") and name not in (".", "..") and not set(name) & set("/\\\0")
            if not plain or Path(name).is_absolute() or Path(name).drive:
                raise BadWeights(f"{path}: refused, a shard is named {name!r}, which is no plain name of a file")
            if not (path.parent / name).is_file():
                raise BadWeights(f"{path}: its shard {name} is missing")
            held[name] = tensors.keys(path.parent / name)
    except BadStore as error:
        raise BadWeights(str(error)) from None
    missing = next((key for key, name in weights.items() if key not in held[name]), None)
    if missing is not None:
        raise BadWeights(f"{path}: no tensor {missing!r} in its shard {weights[missing]}")
    return {key: path.parent / name for key, name in weights.items()}


def check_names(path: Path, state: Mapping[str, Any]) -> None:
    """Raise :class:`~wdiv.errors.BadWeights` where there are no tensors, or one whose name is a path out of here."""
    if not state:
        raise BadWeights(f"{path}: no tensors in it")
    for key in state:
        if ".." in key or key.startswith(("/", "\\")):
            raise BadWeights(f"{path}: refused, a tensor is named {key!r}")


def _read_safetensors(where: Mapping[str, Path]) -> dict[str, Any]:
    try:
        return {key: tensors.read(file, key) for key, file in where.items()}
    except BadStore as error:
        raise BadWeights(str(error)) from None


def read_torch(path: Path, *, fake: bool = False) -> Any:
    """What a PyTorch file holds, tensors only; ``fake`` for tensors without their data."""
    import pickle
    from contextlib import nullcontext

    import torch

    try:
        refuse_bomb(path)
        if fake:
            from torch._subclasses.fake_tensor import FakeTensorMode
        with warnings.catch_warnings(), FakeTensorMode() if fake else nullcontext():
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


def refuse_bomb(path: Path) -> None:
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
    state = {str(key): value for key, value in loaded.items() if _is_tensor(value)}
    while state:
        prefix = next((p for p in PREFIXES if all(key.startswith(p) for key in state)), None)
        if prefix is None:
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
        peeled.append(prefix)
    return state, tuple(peeled)


def _is_tensor(value: Any) -> bool:
    """By its type: a nested tensor has no shape, and raises when it is asked for one."""
    return hasattr(type(value), "shape") and hasattr(type(value), "dtype")


def prefix_of(peeled: Sequence[str]) -> str:
    """The beginning that every name had in the file and has no longer.

    >>> prefix_of(("state_dict", "module.", "_orig_mod."))
    'module._orig_mod.'
    """
    return "".join(word for word in peeled if word in PREFIXES)


def rename(state: Mapping[str, Any], rules: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Apply rules ``old=new`` to the beginning of names; the first rule that fits a name is used.

    prefix: what was peeled off every name. A rule is tried on the name as it stands in the file, then without that.

    >>> list(rename({"body.conv1.weight": 1, "head.weight": 2}, ["body.="]))
    ['conv1.weight', 'head.weight']
    >>> [list(rename({"conv1.weight": 1}, [rule], "module.")) for rule in ("module.=body.", "conv1=stem", "x=y")]
    [['body.conv1.weight'], ['stem.weight'], ['conv1.weight']]
    """
    pairs = []
    for rule in rules:
        old, equals, new = rule.partition("=")
        if not equals or not old:
            raise BadWeights(f"rename rule {rule!r}: write it as OLD_PREFIX=NEW_PREFIX")
        pairs.append((old, new))
    renamed: dict[str, Any] = {}
    for key, value in state.items():
        fits = (n + name.removeprefix(o) for o, n in pairs for name in (prefix + key, key) if name.startswith(o))
        target = next(fits, key)
        if target in renamed:
            raise BadWeights(f"rename rules {', '.join(rules)}: two tensors would be named {target!r}")
        renamed[target] = value
    return renamed


def layers_from_shapes(shapes: Mapping[str, Sequence[int]], order: str = "registration") -> LayerTable:
    """The layers that a bare state dict tells of.

    A ``weight`` of three to five dimensions is a convolution, a two-dimensional one a linear layer (``fc`` where
    :func:`~wdiv.store.classifier.classified` takes it for the classifier's), and one of one dimension a BatchNorm
    beside a ``running_mean`` of the same shape, else a ``norm`` (a PReLU of several channels looks the same; a single
    number alone is no layer). A convolution whose bias has as many numbers as the weight's second axis, and not as its
    first, is transposed; without a bias, or with as many inputs as outputs, nobody can tell. One whose outputs see a
    single input each, behind a layer of several outputs, is depthwise; other groups do not show.

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
        transposed = _is_transposed(suffixes)
        kind = "conv" if transposed else _kind_from_shapes(suffixes)
        if kind is None:
            continue
        shape = suffixes["running_mean"] if kind == "bn" else suffixes["weight"]
        roles = tuple(r for r, suffix in ROLES[kind].items() if suffix in suffixes)
        depthwise = kind == "conv" and not transposed and shape[1] == 1 and bool(layers) and layers[-1].outputs > 1
        groups = shape[0] if depthwise else 1
        layers.append(Layer(owner, kind, roles, shape, depth=len(layers), groups=groups, transposed=transposed))
    return classified(LayerTable(tuple(layers), order))


def _kind_from_shapes(suffixes: Mapping[str, tuple[int, ...]]) -> str | None:
    outputs = suffixes.get("weight", suffixes.get("running_mean", ()))[:1]
    companions = (shape for suffix, shape in suffixes.items() if suffix != "weight")
    if not outputs or any(shape != outputs for shape in companions):
        return None
    if "running_mean" in suffixes:
        return "bn" if len(suffixes.get("weight", outputs)) == 1 else None
    if suffixes.get("weight") == (1,) and "bias" not in suffixes:
        return None
    return {1: "norm", 2: "fc", 3: "conv", 4: "conv", 5: "conv"}.get(len(suffixes.get("weight", ())))


def _is_transposed(suffixes: Mapping[str, tuple[int, ...]]) -> bool:
    weight, bias = suffixes.get("weight", ()), suffixes.get("bias")
    return suffixes.keys() == {"weight", "bias"} and len(weight) in (3, 4, 5) and bias == weight[1:2] != weight[:1]


def _to_numpy(value: Any, what: str, file_size: int) -> np.ndarray:
    """The tensor as an array. A view of few numbers can claim any shape: one larger than its file is refused."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if value.is_nested:
            raise TypeError("a nested tensor has no shape")
        if value.numel() * value.element_size() > file_size:
            raise BadWeights(
                f"{what}: refused, it claims shape {tuple(value.shape)} and the file has {file_size} bytes"
            )
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
