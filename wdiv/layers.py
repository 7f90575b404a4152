"""What a network is made of, as data: one :class:`Layer` per convolution, normalisation and linear layer.

Kinds and roles are the vocabulary of every table in wdiv. A role is one tensor of a layer; its key in a
state dict is the layer's name, a dot, and the suffix that PyTorch gives the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["BUFFERS", "KINDS", "ROLES", "Layer", "LayerTable"]

ROLES: Mapping[str, Mapping[str, str]] = {
    "conv": {"weight": "weight", "bias": "bias"},
    "bn": {"gamma": "weight", "beta": "bias", "running_mean": "running_mean", "running_var": "running_var"},
    "norm": {"gamma": "weight", "beta": "bias"},
    "linear": {"weight": "weight", "bias": "bias"},
    "fc": {"weight": "weight", "bias": "bias"},
}
"""kind -> role -> the tensor's suffix in a state dict.

``norm`` is one kind for LayerNorm, GroupNorm, RMSNorm and affine InstanceNorm: a bare state dict has the same one or
two vectors for each of them, and cannot tell them apart. ``fc`` is what is linear in the classifier, and ``linear``
what is linear before it, in the blocks of a ConvNeXt or a transformer.
"""

KINDS = tuple(ROLES)
BUFFERS = frozenset({"running_mean", "running_var"})
"""Roles that are updated by running the layer, not by an optimizer."""


@dataclass(frozen=True)
class Layer:
    """One layer.

    name    module path, e.g. ``layer1.0.conv1``
    kind    ``conv`` (of one to three dimensions, transposed or not), ``bn``, ``norm``, ``linear`` or ``fc``
    roles   the tensors it has, in the order of :data:`ROLES`
    shape   of its weight: (out, in / groups, *kernel), (out, in) or (channels,); (in, out / groups, *kernel) of a
            transposed convolution
    depth   its place in the network, from 0, over all kinds together
    stage   ``stem``, ``stage1`` …, ``head``; empty where nobody knows
    block   its residual, dense, inverted or fire block within the stage, from 0; -1 outside any block
    groups  of a convolution

    transposed  of a convolution that goes from the output's grid to a finer one

    >>> layer = Layer("conv1", "conv", ("weight",), (64, 3, 7, 7))
    >>> layer.key("weight"), layer.fan_in, layer.kernel
    ('conv1.weight', 147, '7x7')
    >>> up = Layer("up", "conv", ("weight", "bias"), (64, 3, 2, 2), transposed=True)
    >>> up.outputs, up.shape_of("bias"), up.fan_in
    (3, (3,), 256)
    """

    name: str
    kind: str
    roles: tuple[str, ...]
    shape: tuple[int, ...]
    depth: int = 0
    stage: str = ""
    block: int = -1
    groups: int = 1
    transposed: bool = False

    def key(self, role: str) -> str:
        """The state-dict key of one of the layer's tensors."""
        suffix = ROLES[self.kind][role]
        return f"{self.name}.{suffix}" if self.name else suffix

    def shape_of(self, role: str) -> tuple[int, ...]:
        """The shape of one of the layer's tensors: the weight's own, or one number per output."""
        return self.shape if role == "weight" else (self.outputs,)

    @property
    def operation(self) -> str:
        """``conv``, ``bn``, ``norm`` or ``linear``: its kind, wherever in the network it stands."""
        return "linear" if self.kind == "fc" else self.kind

    @property
    def outputs(self) -> int:
        """Filters, units or channels."""
        return self.shape[1] * self.groups if self.transposed else self.shape[0]

    @property
    def fan_in(self) -> int:
        """Inputs to one output: the elements of one filter."""
        inputs = self.shape[0] // self.groups if self.transposed else math.prod(self.shape[1:2])
        return inputs * math.prod(self.shape[2:])

    def filters(self, weight: np.ndarray) -> np.ndarray:
        """The weight as (outputs, fan_in): one row for each filter. A view where that is possible.

        >>> up = Layer("up", "conv", ("weight",), (2, 3, 1, 1), transposed=True)
        >>> up.filters(np.arange(6).reshape(2, 3, 1, 1)).tolist()
        [[0, 3], [1, 4], [2, 5]]
        """
        if self.transposed:
            inputs, outputs, *kernel = self.shape
            grouped = weight.reshape(self.groups, inputs // self.groups, outputs, *kernel)
            weight = np.swapaxes(grouped, 1, 2)
        return weight.reshape(self.outputs, self.fan_in)

    @property
    def kernel(self) -> str:
        """The kernel's size, ``3x3``; empty for a layer without one."""
        return "x".join(map(str, self.shape[2:]))


@dataclass(frozen=True)
class LayerTable:
    """The layers of one network, in order.

    order  ``execution`` (found by running the network) or ``registration`` (all that a bare state dict tells)
    """

    layers: tuple[Layer, ...]
    order: str = "execution"
    _by_name: Mapping[str, Layer] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {layer.name: layer for layer in self.layers}
        if len(by_name) != len(self.layers):
            raise ValueError("two layers of one table have the same name")
        object.__setattr__(self, "_by_name", by_name)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, name: str) -> Layer:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def of(self, *kinds: str) -> tuple[Layer, ...]:
        """The layers of these kinds, in order."""
        return tuple(layer for layer in self.layers if layer.kind in kinds)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages, in the order in which they are first met."""
        return tuple(dict.fromkeys(layer.stage for layer in self.layers if layer.stage))

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; :meth:`from_json` gives an equal table back."""
        rows = [{k: v for k, v in asdict(layer).items() if v or k != "transposed"} for layer in self.layers]
        return {"order": self.order, "layers": rows}  # a field that came later is left out where it says nothing

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LayerTable:
        entries: list[dict[str, Any]] = [
            {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()} for entry in data["layers"]
        ]
        return cls(tuple(Layer(**entry) for entry in entries), data["order"])

    @staticmethod
    def coords(layers: Iterable[Layer]) -> dict[str, tuple[str, np.ndarray]]:
        """xarray coordinates along ``layer`` for some layers of the table."""
        rows = tuple(layers)
        text = {name: [getattr(layer, name) for layer in rows] for name in ("name", "stage", "kernel")}
        number = {name: [getattr(layer, name) for layer in rows] for name in ("depth", "block", "fan_in", "groups")}
        columns = {name: np.array(values, dtype=object) for name, values in text.items()}
        columns |= {name: np.array(values, dtype=np.int64) for name, values in number.items()}
        return {("layer" if name == "name" else name): ("layer", values) for name, values in columns.items()}
