"""Divergence from sums that somebody has taken already: the same metrics, and no tensor is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import xarray as xr

from wdiv.errors import BadInput
from wdiv.measure.columns import columns, coords_only, kinds_of, layout, lineage
from wdiv.measure.flags import Flag
from wdiv.measure.grid import CONVENTIONS, ValueGrid, as_dataset
from wdiv.measure.reference import Reference
from wdiv.measure.rows import DEFAULT_METRICS, Comparison, Reduced
from wdiv.metrics import METRICS, metric_names
from wdiv.numerics import PairSums

__all__ = ["FAMILIES", "Sums", "check", "divergence_of_sums"]

FAMILIES = ("gaussian", "paired")
"""The families whose metrics are made of nothing but sums."""


class Sums(Protocol):
    """Of one run: its epochs, and for each (layer, role) the sums of the start with each of them, shape (epochs,)."""

    @property
    def epochs(self) -> tuple[int, ...]:
        """Those that there are sums of."""

    @property
    def sums(self) -> Mapping[tuple[str, str], PairSums]:
        """(layer, role) -> its sums."""


def divergence_of_sums(
    tree: xr.DataTree,
    sums: Mapping[str, Sums],
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    reference: str | int = "pretrained",
) -> xr.DataTree:
    """``divergence(tree, metrics, reference)`` from the sums of each run: the same numbers, labels and flags.

    sums       run -> its sums; a run or epoch without them is NaN, and its flag says that it is not saved. Epochs whose
               weights are not kept are as good as others
    reference  ``pretrained``, or 0, the state before the first step: sums know no other

    Raises :class:`~wdiv.errors.BadInput` for another reference, and for a metric that needs the weights themselves.
    """
    names = check(metrics)
    if str(reference) not in ("pretrained", "0"):
        raise BadInput(f"reference {reference!r}: sums are taken against the start; give 'pretrained' or 0")
    how = Reference.of(tree, reference)
    whole = tree.to_dataset()
    nodes = {f"/{kind}": _measure_kind(tree, kind, sums, names, how) for kind in kinds_of(tree)}
    root = coords_only(whole)
    root.attrs = {
        "Conventions": CONVENTIONS,
        "reference": str(reference),
        "reduction": "layer",
        "direction": "metric(reference, run)",
        **lineage(tree),
    }
    return xr.DataTree.from_dict({"/": root, **nodes})


def _measure_kind(
    tree: xr.DataTree, kind: str, sums: Mapping[str, Sums], names: Sequence[str], how: Reference
) -> xr.Dataset:
    whole, where = tree.to_dataset(), layout(tree, kind, "layer")
    saved, epochs = whole["saved"].values.astype(bool), whole["epoch"].values.tolist()
    if "thinned" in whole:
        saved |= whole["thinned"].values
    layers, roles = (where.coords[name].values.tolist() for name in ("layer", "role"))
    grid = ValueGrid.empty(names, (*saved.shape, where.size, len(roles)))
    grid.flags[:] = Flag.NOT_SAVED
    for column in columns(tree, kind, "layer"):
        unit, role = column.units.start, column.role
        if not column.cells:
            grid.flags[:, :, unit, role] = Flag.ABSENT
            continue
        for run, name in enumerate(whole["run"].values.tolist()):
            ours = sums.get(name)
            found = None if ours is None else ours.sums.get((layers[unit], roles[role]))
            if ours is None or found is None:
                continue
            known = [epoch in epochs and saved[run, epochs.index(epoch)] for epoch in ours.epochs]
            at = [epochs.index(epoch) for epoch, here in zip(ours.epochs, known, strict=True) if here]
            able, lacking = how.able(column, saved, run)
            if able:
                compared = Reduced((len(known),), found.n, found.a, found.b, found, {}).compared(names)
                values = {metric: value[known] for metric, value in compared.values.items()}
                grid.put((run, at, unit, role), Comparison(values, compared.flags[known]))
            else:
                grid.flags[run, at, unit, role] = lacking
    return as_dataset(grid.values, grid.flags, ("run", "epoch", "layer", "role"), where.coords)


def check(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """The metrics' names; :class:`~wdiv.errors.BadInput` for one that sums do not give."""
    names = metric_names(metrics)
    for name in names:
        if METRICS[name].family not in FAMILIES:
            raise BadInput(
                f"metric {name!r} needs the weights themselves; sums give metrics of the families "
                f"{' and '.join(FAMILIES)}"
            )
    return names
