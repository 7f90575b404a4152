"""The same measurements on a tree in dask chunks: one task for each run and chunk of epochs, nothing read before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from wdiv.measure.columns import Column, Rows
from wdiv.measure.flags import Flag
from wdiv.measure.plan import MeasurePlan, Pass
from wdiv.measure.rows import Tensors, compare

__all__ = ["in_chunks"]


def in_chunks(columns: Sequence[Column], plan: MeasurePlan, shape: tuple[int, ...]) -> tuple[dict[str, Any], Any]:
    """Metric -> dask array (run, epoch, unit, role), and the flags, chunked over runs and epochs as the tensors are."""
    import dask.array as da

    roles: dict[int, list[Any]] = {}
    for column in columns:  # in the order of their places
        runs = [_one_run(column, plan, run) for run in range(len(plan.saved))]
        roles.setdefault(column.role, []).append(da.stack(runs, axis=1))
    everything = da.stack([da.concatenate(roles[role], axis=-1) for role in sorted(roles)], axis=-1)
    assert everything.shape[1:] == shape
    values = {name: everything[i] for i, name in enumerate(plan.stored)}
    return values, everything[-1].astype(np.int64)


def _one_run(column: Column, plan: MeasurePlan, run: int) -> Any:
    """(metric and flag, epoch, unit)"""
    import dask.array as da

    total = plan.saved.shape[1]
    sizes = column.cells[0].values.chunksizes.get("epoch", (total,)) if column.cells else (total,)
    starts = np.cumsum([0, *sizes])
    return da.concatenate([_chunk(column, plan, run, list(range(a, b))) for a, b in pairwise(starts)], axis=1)


def _chunk(column: Column, plan: MeasurePlan, run: int, epochs: list[int]) -> Any:
    import dask
    import dask.array as da

    shape = (len(plan.stored) + 1, len(epochs), column.width)
    blank = np.full(shape, np.nan)
    blank[-1] = np.where(plan.wanted[run, epochs], 0, int(Flag.NOT_SAVED))[:, None]
    if not column.cells:
        blank[-1] = int(Flag.ABSENT)
        return da.from_array(blank)
    work, first = [], 0
    for one in plan.passes:
        able, lacking = one.against.able(column, plan.saved, run)
        here = [epoch for epoch in able if epoch in epochs and plan.wanted[run, epoch]]
        without = [i for i, e in enumerate(epochs) if plan.wanted[run, e] and e not in able]
        blank[-1, without] = blank[-1, without].astype(np.int64) | int(lacking)
        if here:
            now = here[:1] if one.against.still(column, run) else here
            a = [one.against.select(cell, plan.saved, run, now).data for cell in column.cells]
            b = [cell.values.isel(run=run, epoch=now).data for cell in column.cells]
            at = [epochs.index(epoch) for epoch in here]
            work.append((one, slice(first, first + len(one.metrics)), at, a, b))
        first += len(one.metrics)
    # not the column itself: dask would look into it, and read every epoch of every run for each task
    task = dask.delayed(_measured, pure=False)(blank, column.rows, column.matrix, work)
    return da.from_delayed(task, shape, np.float64)


def _measured(
    blank: np.ndarray,
    rows: Rows,
    matrix: tuple[int, int] | None,
    work: Sequence[tuple[Pass, slice, list[int], Any, Any]],
) -> np.ndarray:
    out = blank.copy()
    for one, where, at, a, b in work:
        left, right = (Tensors(rows.join(side), matrix) for side in (a, b))
        found = compare(left, right, one.metrics)
        for k, name in zip(range(where.start, where.stop), one.metrics, strict=True):
            out[k, at] = found.values[name]
        out[-1, at] = out[-1, at].astype(np.int64) | found.flags
    return out
