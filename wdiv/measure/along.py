"""Along the epochs of each run: divergence from a reference, and the path a run has taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from wdiv.measure.columns import Column, columns, coords_only, kinds_of, layout, lineage
from wdiv.measure.flags import Flag
from wdiv.measure.grid import CONVENTIONS, ValueGrid, as_dataset
from wdiv.measure.parallel import each
from wdiv.measure.plan import PATH, MeasurePlan, Pass
from wdiv.measure.reference import Reference
from wdiv.measure.roles import PARAMETERS, by_roles, together
from wdiv.measure.rows import DEFAULT_METRICS, Reduced, Tensors
from wdiv.metrics import FAMILIES, METRICS, metric_names

__all__ = ["CHUNK", "divergence", "with_derived"]

CHUNK = 1 << 21
"""Elements of one tensor over several epochs that are held at once (8 MiB of float32, which caches hold)."""


def divergence(
    tree: xr.DataTree,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    reference: str | int = "pretrained",
    *,
    reduction: str = "layer",
    only: np.ndarray | None = None,
) -> xr.DataTree:
    """How far each layer has moved: metric(reference, run) for every (run, epoch, layer, role).

    metrics    names of metrics, or of families of them (``gaussian``, ``paired``, ``empirical``, ``spectral``,
               ``trajectory``, ``proxies``); those of a trajectory follow each run's own epochs, whatever the
               reference. ``output_change`` needs images: :func:`wdiv.output_change`
    reference  ``pretrained``, the source's weights; an epoch number, the run's own state after it (0: before the
               first step); ``previous``, the epoch saved before, none where that is thinned; or the id of a run, its
               weights at the same epoch
    reduction  ``layer``: one value a tensor. ``filter``: one for each of its outputs; the dimension is ``filter`` in
               ``/conv``, ``channel`` in ``/bn`` and ``/norm``, ``unit`` in ``/linear`` and ``/fc``, contiguous ragged.
               ``stage``: one for all of a stage's tensors of a role, as if they were one tensor
    only       (run, epoch), true where to measure; the rest is NaN and says that it is not saved. Of a trajectory the
               two distances that its metrics follow from are given (:func:`with_derived` makes them)

    Returns a tree with a node for each kind of layer: one variable per metric with dims (run, epoch, layer, role),
    and ``flag``, which says why a value is NaN; ``output_change_proxy`` has its values at a kernel's ``weight`` and at
    ``affine``, γ and β together. A head that started at random is not comparable with pretrained weights: NaN, never
    zero and never an error. A frozen tensor is measured once, not once an epoch.

    A tree in dask chunks (``xr.open_datatree(DIR, engine="wdiv", chunks={})``) gives a result in dask chunks:
    nothing is read before it is computed, and the numbers are the same.

    Raises :class:`~wdiv.errors.UnknownName` for an unknown metric and :class:`~wdiv.errors.BadInput` for an
    unknown reference, or a metric that has no such reduction.
    """
    names = metric_names(metrics, reduction)
    Reference.of(tree, reference)
    return together([_divergence(tree, one, reference, reduction, only) for one in by_roles(names)], names)


def _divergence(
    tree: xr.DataTree, names: Sequence[str], reference: str | int, reduction: str, only: np.ndarray | None
) -> xr.DataTree:
    """Of metrics that have their values at the same roles."""
    how = Reference.of(tree, reference)
    root = coords_only(tree.to_dataset())
    saved = tree.to_dataset()["saved"].values.astype(bool)
    plan = MeasurePlan.of(names, how, saved, saved if only is None else saved & np.asarray(only, dtype=bool))
    per = FAMILIES[METRICS[names[0]].family].per
    nodes = {f"/{kind}": _measure_kind(tree, kind, plan, reduction, per) for kind in kinds_of(tree)}
    root.attrs = {
        "Conventions": CONVENTIONS,
        "reference": str(reference),
        "reduction": reduction,
        "direction": "metric(reference, run)",
        **lineage(tree),
    }
    found = xr.DataTree.from_dict({"/": root, **nodes})
    return found if only is not None else with_derived(found, names)


def with_derived(div: xr.DataTree, names: Sequence[str]) -> xr.DataTree:
    """The result with exactly these metrics, those of a path made from its two distances."""
    if not any(METRICS[name].family == "trajectory" for name in names):
        return div
    nodes = {f"/{kind}": _derived(node.to_dataset(), names) for kind, node in div.children.items()}
    return xr.DataTree.from_dict({"/": div.to_dataset(), **nodes})


def _derived(data: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    steps, moved = (data[name] for name in PATH)

    def along_epochs(name: str) -> xr.DataArray:
        values = xr.apply_ufunc(
            METRICS[name].function, steps, moved, input_core_dims=[["epoch"], ["epoch"]],
            output_core_dims=[["epoch"]], dask="parallelized", output_dtypes=[np.float64],
            dask_gufunc_kwargs={"allow_rechunk": True},
        )  # fmt: skip
        return values.transpose(*steps.dims)

    paths = {name: along_epochs(name) for name in names if METRICS[name].family == "trajectory"}
    values = {name: (paths[name] if name in paths else data[name]).data for name in names}
    flags, length = data["flag"], along_epochs("path_length")
    for path in paths.values():
        silent = path.isnull() & steps.notnull()
        lost = silent & length.isnull()
        flags = flags | lost * int(Flag.NOT_FINITE) | (silent & ~lost) * int(Flag.NOT_MOVED)
    return as_dataset(values, flags.data, tuple(map(str, steps.dims)), data.coords)


def _measure_kind(tree: xr.DataTree, kind: str, plan: MeasurePlan, reduction: str, per: str) -> xr.Dataset:
    where = layout(tree, kind, reduction, tuple(PARAMETERS[kind]) if per == "layer" else ())
    shape = (*plan.saved.shape, where.size, len(where.coords["role"]))
    found = list(columns(tree, kind, reduction, per))
    if any(cell.values.chunks for column in found for cell in column.cells):
        from wdiv.measure.chunked import in_chunks

        values, flags = in_chunks(found, plan, shape)
    else:
        grid = ValueGrid.empty(plan.stored, shape)
        found.sort(key=lambda column: -column.size)  # the large ones first, so that no core is left with one at the end
        each(lambda column: _fill(grid, column, plan), found)
        values, flags = grid.values, grid.flags
    return as_dataset(values, flags, ("run", "epoch", where.dim, "role"), where.coords)


def _fill(grid: ValueGrid, column: Column, plan: MeasurePlan) -> None:
    """Measure a column, one run after the other, in parts of epochs that fit the memory."""
    if not column.cells:
        grid.flags[:, :, column.units, column.role] = Flag.ABSENT
        return
    for run, saved in enumerate(plan.saved):
        grid.flags[run, ~plan.wanted[run], column.units, column.role] = Flag.NOT_SAVED
        epochs = np.flatnonzero(saved & plan.wanted[run]).tolist()
        for one in plan.passes:
            able, lacking = one.against.able(column, plan.saved, run)
            without = sorted(set(epochs) - set(able))
            grid.flags[run, without, column.units, column.role] |= int(lacking)
            here = [epoch for epoch in able if plan.wanted[run, epoch]]
            if here:
                _measure(grid, column, one, _Reader(column, plan.saved, run, one.against), here)


def _measure(grid: ValueGrid, column: Column, one: Pass, reader: _Reader, epochs: list[int]) -> None:
    """One pass over some epochs of a run: values are read and let go part by part, what remains is evaluated once."""
    step = len(epochs) if reader.still else max(1, CHUNK // max(1, column.size))
    parts = [epochs[i : i + step] for i in range(0, len(epochs), step)]
    found = Reduced.join([Reduced.of(*reader.read(part), one.metrics) for part in parts]).compared(one.metrics)
    where = (reader.run, epochs, column.units, column.role)
    for name, stored in zip(one.metrics, one.stored, strict=True):
        grid.values[stored][where] = found.values[name]
    grid.flags[where] |= found.flags


class _Reader:
    """Both sides of a comparison for some epochs of a run; a side that is the same for all of them is read once."""

    def __init__(self, column: Column, saved: np.ndarray, run: int, against: Reference) -> None:
        self.column, self.saved, self.run, self.against = column, saved, run, against
        self.still = against.still(column, run)
        self.fixed: Tensors | None = None

    def read(self, part: list[int]) -> tuple[Tensors, Tensors]:
        now = part[:1] if self.still else part
        if self.fixed is None or not self.against.fixed:
            self.fixed = self._tensors(
                [self.against.select(cell, self.saved, self.run, now) for cell in self.column.cells]
            )
        own = now[:1] if self.column.frozen[self.run] else now
        ours = self._tensors([cell.values.isel(run=self.run, epoch=own) for cell in self.column.cells])
        if len(own) < len(now):  # it stands still beside a reference that moves
            ours = Tensors(np.repeat(ours.values, len(now), axis=0), ours.matrix)
        return self.fixed, ours

    def _tensors(self, selected: Sequence[xr.Variable]) -> Tensors:
        return Tensors(self.column.rows.join([one.values for one in selected]), self.column.matrix)
