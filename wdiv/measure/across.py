"""Across runs: how far they lie from one another after one epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from wdiv.measure.columns import Column, columns, coords_only, kinds_of, layout, lineage
from wdiv.measure.flags import Flag
from wdiv.measure.grid import CONVENTIONS, ValueGrid, as_dataset
from wdiv.measure.parallel import each
from wdiv.measure.reference import epoch_of_each
from wdiv.measure.roles import PARAMETERS, by_roles, together
from wdiv.measure.rows import DEFAULT_METRICS, Tensors, compare
from wdiv.metrics import FAMILIES, METRICS, metric_names

__all__ = ["pairwise"]


def pairwise(
    tree: xr.DataTree,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    epoch: int | str = "last",
    *,
    reduction: str = "layer",
    only: np.ndarray | None = None,
) -> xr.DataTree:
    """How far runs lie from one another: metric(run, run_b) for every pair, after one epoch.

    epoch      a number, or ``last``: each run's own last saved one
    metrics, reduction   as in :func:`divergence`; metrics of a trajectory compare no two runs and are refused
    only       (run, run_b), true where to measure; the rest is NaN and says that it is not saved

    Returns a tree with a node for each kind of layer, of dims (run, run_b, layer, role). Between seeds of one
    strategy this is the noise floor; between data sizes, the paper's panels "140-280". Values are in memory, whether
    the tree is chunked or not.
    """
    names = metric_names(metrics, reduction, follows_epochs=False)
    return together([_pairwise(tree, one, epoch, reduction, only) for one in by_roles(names)], names)


def _pairwise(
    tree: xr.DataTree, names: Sequence[str], epoch: int | str, reduction: str, only: np.ndarray | None
) -> xr.DataTree:
    """Of metrics that have their values at the same roles."""
    per = FAMILIES[METRICS[names[0]].family].per
    places = epoch_of_each(tree, epoch)
    wanted = np.ones((len(places), len(places)), dtype=bool) if only is None else np.asarray(only, dtype=bool)
    root = coords_only(tree.to_dataset().drop_dims("epoch"))
    root = root.assign_coords(run_b=("run_b", root["run"].values))
    root.attrs = {
        "Conventions": CONVENTIONS,
        "epoch": str(epoch),
        "reduction": reduction,
        "direction": "metric(run, run_b)",
        **lineage(tree),
    }
    nodes = {}
    for kind in kinds_of(tree):
        where = layout(tree, kind, reduction, tuple(PARAMETERS[kind]) if per == "layer" else ())
        shape = (len(places), len(places), where.size, len(where.coords["role"]))
        grid = ValueGrid.empty(names, shape)
        found = columns(tree, kind, reduction, per)
        each(lambda column, grid=grid: _fill(grid, column, places, wanted, names), found)  # type: ignore[misc]
        nodes[f"/{kind}"] = as_dataset(grid.values, grid.flags, ("run", "run_b", where.dim, "role"), where.coords)
    return xr.DataTree.from_dict({"/": root, **nodes})


def _fill(
    grid: ValueGrid, column: Column, places: Sequence[int | None], wanted: np.ndarray, names: Sequence[str]
) -> None:
    flags = grid.flags[:, :, column.units, column.role]
    if not column.cells:
        flags[...] = Flag.ABSENT
        return
    missing = [run for run, place in enumerate(places) if place is None]
    flags[column.complex] = flags[:, column.complex] = Flag.COMPLEX
    flags[missing] = flags[:, missing] = flags[~wanted] = Flag.NOT_SAVED
    asked = np.logical_or(wanted.any(0), wanted.any(1)) & ~column.complex
    tensors = {
        run: Tensors(
            column.rows.join([cell.values.isel(run=run, epoch=[place]).values for cell in column.cells]), column.matrix
        )
        for run, place in enumerate(places)
        if place is not None and asked[run]
    }
    for run, a in tensors.items():
        for other, b in ((other, b) for other, b in tensors.items() if wanted[run, other]):
            grid.put((run, other, column.units, column.role), compare(a, b, names))
