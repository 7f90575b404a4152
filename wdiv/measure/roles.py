"""Which roles a metric has values at, and results of metrics that have them at others, in one tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from wdiv.layers import ROLES
from wdiv.measure.flags import Flag
from wdiv.metrics import FAMILIES, METRICS

__all__ = ["AFFINE", "PARAMETERS", "STATISTICS", "by_roles", "roles_of", "together"]

AFFINE = "affine"
STATISTICS = "statistics"
PARAMETERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    kind: {"weight": ("weight",)} if "weight" in roles else {AFFINE: ("gamma", "beta")} for kind, roles in ROLES.items()
}
"""kind -> role of a metric that has one value for all of a layer's own parameters -> the tensors that it is of. The
bias of a kernel is of its ``output_change``, and not of the proxy: ‖ΔW‖ / ‖W‖ is of W."""


def roles_of(metric: str, kind: str) -> tuple[str, ...]:
    """The roles of a kind of layer at which a metric has values.

    >>> roles_of("relative_l2", "norm"), roles_of("output_change_proxy", "bn"), roles_of("output_change", "bn")
    (('gamma', 'beta'), ('affine',), ('affine', 'statistics'))
    """
    family = FAMILIES[METRICS[metric].family]
    if family.per == "tensor":
        return tuple(ROLES[kind])
    return (*PARAMETERS[kind], *((STATISTICS,) if family.images and kind == "bn" else ()))


def by_roles(metrics: Sequence[str]) -> list[tuple[str, ...]]:
    """The metrics in groups: those of tensors, those of layers that weights give, and those that need images.

    >>> by_roles(["output_change", "l2", "output_change_proxy", "max_abs"])
    [('l2', 'max_abs'), ('output_change_proxy',), ('output_change',)]
    """
    groups: dict[tuple[bool, bool], list[str]] = {}
    for name in metrics:
        family = FAMILIES[METRICS[name].family]
        groups.setdefault((family.images, family.per == "layer"), []).append(name)
    return [tuple(groups[key]) for key in sorted(groups)]


def together(parts: Sequence[xr.DataTree], metrics: Sequence[str] = ()) -> xr.DataTree:
    """Results of one tree of weights, metric beside metric; of those that have no value at a role, NaN there.

    metrics: the order of the variables. ``flag`` says why the first of them that has a reason has no value.
    """
    if len(parts) == 1:
        return parts[0]
    root = parts[0].to_dataset()
    for part in parts[1:]:
        root = root.assign_attrs({**part.attrs, **root.attrs})
    nodes = {
        f"/{kind}": _beside(kind, [part.children[kind].to_dataset() for part in parts]) for kind in parts[0].children
    }
    ordered = {
        path: data[[*(name for name in metrics if name in data), *(n for n in data if n not in metrics)]]
        for path, data in nodes.items()
    }
    return xr.DataTree.from_dict({"/": root, **ordered})


def _beside(kind: str, parts: Sequence[xr.Dataset]) -> xr.Dataset:
    order = [*ROLES[kind], AFFINE, STATISTICS]
    have = {role for part in parts for role in part["role"].values.tolist()}
    roles = np.array([role for role in order if role in have], dtype=object)
    wide = [part.reindex(role=roles, fill_value={"flag": 0}) for part in parts]
    flags = wide[0]["flag"]
    for part in wide[1:]:
        flags = flags | part["flag"]
    elsewhere = np.logical_or.reduce([~np.isin(roles.astype(str), part["role"].values.astype(str)) for part in parts])
    lacking = xr.DataArray(elsewhere * int(Flag.OTHER_ROLE), dims="role", coords={"role": roles})
    flags = xr.where(flags == 0, lacking, flags).transpose(*wide[0]["flag"].dims)
    found = wide[0].assign({name: part[name] for part in wide[1:] for name in part.data_vars if name != "flag"})
    return found.assign(flag=(flags.dims, flags.data, wide[0]["flag"].attrs))
