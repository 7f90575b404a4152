"""Which linear layers are the classifier's, told from a list of layers alone: of a file, or of a store of before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from wdiv.layers import Layer, LayerTable
from wdiv.store.stages import OUTSIDE

__all__ = ["classified"]


def classified(table: LayerTable) -> LayerTable:
    """The table with kind ``linear`` for every layer that is called ``fc`` and is not the classifier's.

    Where stages are known, that is who stands outside the trunk. Where not, it is the last of the linear layers that
    are nested least: transformers have their own deep in their blocks. One of a series, of the same shape and of a name
    that differs in numbers alone, is none: the file has no classifier. Before it belong the linear layers that stand
    next to it in the same module and give what it takes, as the three of VGG.

    >>> layers = [Layer("a.0.mlp.0", "fc", ("weight",), (8, 4)), Layer("norm", "norm", ("gamma",), (8,))]
    >>> layers += [Layer("top.0", "fc", ("weight",), (6, 8)), Layer("top.2", "fc", ("weight",), (3, 6))]
    >>> [layer.kind for layer in classified(LayerTable(tuple(layers)))]
    ['linear', 'norm', 'fc', 'fc']
    """
    layers = table.layers
    outside = [place for place, layer in enumerate(layers) if layer.stage in OUTSIDE]
    known = outside or any(layer.stage for layer in layers)
    last = [place for place in outside if layers[place].operation == "linear"] if known else _last(layers)
    found = {layers[place].name for place in last}
    for place in last[-1:]:
        while place and _feeds(layers[place - 1], layers[place]):
            place -= 1
            found.add(layers[place].name)
    kinds = (layer.kind == "fc" and layer.name not in found for layer in layers)
    moved = (replace(layer, kind="linear") if trunk else layer for layer, trunk in zip(layers, kinds, strict=True))
    return LayerTable(tuple(moved), table.order)


def _last(layers: Sequence[Layer]) -> list[int]:
    """The place of the classifier's last layer, if there is one."""
    linear = [place for place, layer in enumerate(layers) if layer.operation == "linear"]
    least = min((layers[place].name.count(".") for place in linear), default=0)
    top = [place for place in linear if layers[place].name.count(".") == least][-1:]
    if any(_of_a_series(layers[a], layers[b]) for a in top for b in linear if a != b):
        return []
    return top


def _of_a_series(a: Layer, b: Layer) -> bool:
    names = (re.sub(r"\d+", "#", layer.name) for layer in (a, b))
    return a.shape == b.shape and next(names) == next(names)


def _feeds(before: Layer, after: Layer) -> bool:
    same = before.name.rpartition(".")[0] == after.name.rpartition(".")[0]
    return same and before.operation == after.operation == "linear" and before.outputs == after.fan_in
