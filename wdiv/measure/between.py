"""Between two sets of weights: every layer that both have, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import xarray as xr

from wdiv.layers import KINDS, ROLES, Layer, LayerTable
from wdiv.measure.flags import Flag
from wdiv.measure.grid import CONVENTIONS, ValueGrid, as_dataset
from wdiv.measure.parallel import each
from wdiv.measure.roles import PARAMETERS, by_roles, together
from wdiv.measure.rows import DEFAULT_METRICS, Tensors, compare
from wdiv.metrics import FAMILIES, METRICS, metric_names

__all__ = ["Weights", "diff"]

Row = tuple[Layer | None, Layer | None]


class Weights(Protocol):
    """Anything with named layers and their tensors, such as :class:`wdiv.store.foreign.Checkpoint`."""

    @property
    def name(self) -> str:
        """What an error calls it."""

    @property
    def table(self) -> LayerTable:
        """Its layers."""

    def tensor(self, layer: Layer, role: str) -> np.ndarray:
        """One tensor of one layer."""


def diff(
    a: Weights, b: Weights, pairs: Mapping[str, str], metrics: str | Sequence[str] = DEFAULT_METRICS
) -> xr.DataTree:
    """metric(A, B) for every layer of two sets of weights; ``pairs`` maps names of A to names of B.

    Returns a tree with a node for each kind of layer, of dims (layer, role): the layers of A in their order, then
    those of B that have no partner. ``partner`` is the name in B, ``side`` where the layer is found.
    """
    names = metric_names(metrics, follows_epochs=False)
    taken = set(pairs.values())
    rows: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for layer in a.table:
        partner = pairs.get(layer.name)
        rows[layer.kind].append((layer, b.table[partner] if partner is not None else None))
    for layer in b.table:
        if layer.name not in taken:
            rows[layer.kind].append((None, layer))
    about = {"direction": "metric(a, b)", "reduction": "layer", "layer_order": a.table.order}
    root = xr.Dataset(attrs={"Conventions": CONVENTIONS, "a": a.name, "b": b.name, **about})
    parts = [
        {f"/{kind}": _kind(a, b, kind, found, one) for kind, found in rows.items() if found} for one in by_roles(names)
    ]
    return together([xr.DataTree.from_dict({"/": root, **nodes}) for nodes in parts], names)


def _kind(a: Weights, b: Weights, kind: str, rows: Sequence[Row], names: Sequence[str]) -> xr.Dataset:
    """names: of metrics that have their values at the same roles."""
    layers = [layer for pair in rows for layer in [pair[0] or pair[1]] if layer is not None]
    tensors: Mapping[str, tuple[str, ...]] = {role: (role,) for role in ROLES[kind]}
    if FAMILIES[METRICS[names[0]].family].per == "layer":
        tensors = PARAMETERS[kind]
    there = {role for row in rows for layer in row if layer is not None for role in layer.roles}
    roles = [role for role, parts in tensors.items() if there & set(parts)]
    grid = ValueGrid.empty(names, (len(rows), len(roles)))

    def measure(place: tuple[int, int]) -> None:
        (layer, partner), role = rows[place[0]], roles[place[1]]
        have = [one for one in tensors[role] if any(x is not None and one in x.roles for x in (layer, partner))]
        flags = [_why_not(layer, partner, one) for one in have]
        grid.flags[place] = flag = max(flags, default=Flag.ABSENT)
        if not flag and layer is not None and partner is not None:
            groups = max(layer.groups, partner.groups)  # shapes alone do not tell them
            sides = (_tensors(a, layer, have, groups), _tensors(b, partner, have, groups))
            if any(np.iscomplexobj(side.values) for side in sides):
                grid.flags[place] = Flag.COMPLEX
            else:
                grid.put((place[0], [place[1]]), compare(*sides, names))

    each(measure, np.ndindex(len(rows), len(roles)))
    along = {
        "partner": [partner.name if partner else "" for _, partner in rows],
        "side": ["both" if x and y else "a" if x else "b" for x, y in rows],
    }
    coords: dict[str, Any] = {**LayerTable.coords(layers), "role": np.array(roles, dtype=object)}
    coords |= {name: ("layer", np.array(values, dtype=object)) for name, values in along.items()}
    return as_dataset(grid.values, grid.flags, ("layer", "role"), coords)


def _tensors(weights: Weights, layer: Layer, roles: Sequence[str], groups: int) -> Tensors:
    """A tensor of a layer, or several as one."""
    if len(roles) > 1:
        return Tensors(np.concatenate([np.asarray(weights.tensor(layer, role)) for role in roles])[None])
    (role,) = roles
    values, matrix = np.asarray(weights.tensor(layer, role)), role == "weight" and len(layer.shape) > 1
    layer = replace(layer, groups=groups)
    flat = (layer.filters(values) if matrix else values).reshape(1, -1)
    return Tensors(flat, (layer.outputs, groups) if matrix else None)


def _why_not(layer: Layer | None, partner: Layer | None, role: str) -> Flag:
    have = [x is not None and role in x.roles for x in (layer, partner)]
    if not all(have) or layer is None or partner is None:
        return Flag.NO_PARTNER if any(have) else Flag.ABSENT
    return Flag.OTHER_SHAPE if layer.shape_of(role) != partner.shape_of(role) else Flag(0)
