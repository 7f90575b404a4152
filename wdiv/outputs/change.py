"""The change of outputs of every layer of a store, as a tree like :func:`wdiv.divergence` gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from wdiv.measure import Flag, roles_of
from wdiv.measure.columns import Cell, Column, cells_of, coords_only, kinds_of, layout, lineage
from wdiv.measure.grid import CONVENTIONS, as_dataset
from wdiv.measure.reference import Reference, epoch_of_each
from wdiv.metrics import METRICS, metric_names
from wdiv.outputs.moments import LayerInputs
from wdiv.outputs.sample import COUNT, SEED, Images
from wdiv.outputs.starts import Starts
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore, StoreLike

__all__ = ["NAME", "changes", "output_change"]

NAME = "output_change"
STATISTICS = ("running_mean", "running_var")


def output_change(
    store: StoreLike,
    images: Any = None,
    *,
    count: int = COUNT,
    model: Any = None,
    image_size: int | None = None,
    reference: str | int = "pretrained",
    reduction: str = "layer",
    epoch: int | str | None = None,
    group: str | None = None,
    device: str = "auto",
) -> xr.DataTree:
    """How far each layer's outputs have moved, in lengths of what they were: one number that means the same for every
    kind of layer.

    Each layer is fed what the network that the run *started* from feeds it on a few images, once with the layer's
    parameters of then (the reference's) and once with those of now, in eval mode: √(Σ|f_now(x) − f_then(x)|² /
    Σ|f_then(x)|²), sums over images, positions and outputs. Everything before the layer is as it was at the start, so
    that a layer's number is its own doing.

    store    its folder, or the store that was opened there
    images   None: of the training pool that the store's runs drew from, see ``study.json``. Or a data set's name, a
             folder, an :class:`~wdiv.tuning.data.images.ImageSet`, an array (n, 3, height, width) as the network wants
    count    images that are drawn, the same for all runs; 32 to 256 will do. All, where there are fewer
    model    the network of a run that somebody else trained: a name (``resnet18``) or a module, whose weights do not
             matter. image_size: of its images, in pixels (224), which are normalised as ImageNet's
    reference, reduction, group   as in :func:`wdiv.divergence` and :func:`wdiv.open`. ``stage``: sums over the layers
    epoch    a number, or ``last``, the one that counts: the others are NaN. None: all

    Returns a tree with a node for each kind of layer, ``output_change`` of dims (run, epoch, layer, role) and ``flag``,
    which says why a value is NaN. Roles: ``weight``, a kernel and its bias (conv, linear, fc); ``affine``, γ and β (bn,
    norm), the statistics of a BatchNorm being those of then: what training moved; and ``statistics``, a BatchNorm as it
    is now, its running statistics and γ and β: where these did not train, what the data moved. After a kernel that has
    doubled, statistics that have followed say about 1/2, and ``affine`` 0: that was not learned. ε is the network's.

    0 exactly where nothing has moved. NaN where the start gives out 0 on these images and parameters have moved, where
    the network does not run the layer in eval mode, and where there is no start (``flag``). A layer that the network
    calls twice is fed the inputs of both calls. No network is run for a checkpoint: what is kept of the inputs gives
    the sums, in float64.

    Raises :class:`~wdiv.errors.NoOutputs` where there are no images or no network (the metric ``output_change_proxy``
    needs neither), and what :func:`wdiv.divergence` raises.

    >>> moved = output_change("runs/quickstart")                                # doctest: +SKIP
    >>> moved["bn/output_change"].sel(role="affine").mean("layer")              # doctest: +SKIP
    """
    opened = CheckpointStore.open(store)
    tree = open_store(opened, group)
    starts = Starts(Images(images, count, model, image_size), device)
    only = None
    if epoch is not None:
        only = np.zeros(tree.to_dataset()["saved"].shape, dtype=bool)
        for run, place in enumerate(epoch_of_each(tree, epoch)):
            if place is not None:
                only[run, place] = True
    return changes(opened, tree, starts, reference, reduction=reduction, only=only)


def changes(
    store: CheckpointStore,
    tree: xr.DataTree,
    starts: Starts,
    reference: str | int = "pretrained",
    *,
    reduction: str = "layer",
    only: np.ndarray | None = None,
) -> xr.DataTree:
    """:func:`output_change` of a tree that is open. only: (run, epoch), true where to measure."""
    metric_names(NAME, reduction, images=True)
    how = Reference.of(tree, reference)
    root, kinds = coords_only(tree.to_dataset()), kinds_of(tree)
    saved = tree.to_dataset()["saved"].values.astype(bool)
    wanted = saved if only is None else saved & np.asarray(only, dtype=bool)
    runs = {run.record.id: run for run in store}
    rows = [runs[name] for name in root["run"].values.tolist()]
    asked = [i for i in range(len(rows)) if wanted[i].any()]
    cells = {kind: cells_of(tree, kind) for kind in kinds}
    places = {kind: _Places.of(tree, kind, reduction, wanted.shape, cells[kind]) for kind in kinds}
    energies = _Energies()
    for i in sorted(asked, key=lambda i: starts.key(rows[i])):  # runs that share a start, one after the other
        inputs = starts.inputs(rows[i])
        for kind in kinds:
            run = _OneRun(i, how, saved, wanted, places[kind], energies)
            for layer, found in cells[kind].items():
                for j, role in enumerate(places[kind].roles):
                    run.add(layer, j, _Part.of(kind, role, found), inputs.get(layer))
    root.attrs = {
        "Conventions": CONVENTIONS,
        "reference": str(reference),
        "reduction": reduction,
        "direction": "metric(reference, run)",
        **lineage(tree),
        **_told(starts),
    }
    nodes = {f"/{kind}": place.dataset(wanted) for kind, place in places.items()}
    return xr.DataTree.from_dict({"/": root, **nodes})


def _told(starts: Starts) -> dict[str, str]:
    """Which images were shown."""
    if not starts.shown:
        return {}
    shown = starts.shown.values()
    return {
        "images": ", ".join(dict.fromkeys(f"{len(one.pixels)} of {one.name}" for one in shown)),
        "images_seed": str(SEED),
        "images_digest": ", ".join(dict.fromkeys(one.digest for one in shown)),
    }


@dataclass(frozen=True)
class _Part:
    """What of a layer a role is of. cells: whose change is measured;  beside: what else is read of both sides."""

    cells: Mapping[str, Cell]
    beside: Mapping[str, Cell]
    then: tuple[str, ...] = ()

    @classmethod
    def of(cls, kind: str, role: str, cells: Mapping[str, Cell]) -> _Part:
        statistics = {name: cell for name, cell in cells.items() if name in STATISTICS}
        own = {name: cell for name, cell in cells.items() if name not in STATISTICS}
        if role == "affine":
            return cls(own, statistics, STATISTICS)
        return cls(cells if role != "statistics" or statistics else {}, {})

    @property
    def column(self) -> Column:
        return Column(slice(0, 1), 0, tuple(self.cells.values()))


class _Energies:
    """What the parameters of then give out: the same for all runs that start from them, and computed once."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, int], tuple[LayerInputs, np.ndarray, np.ndarray]] = {}

    def of(self, layer: str, role: int, inputs: LayerInputs, rows: np.ndarray) -> np.ndarray:
        known = self._last.get((layer, role))
        if known is None or known[0] is not inputs or not np.array_equal(known[1], rows):
            self._last[layer, role] = known = inputs, rows, inputs.energy(rows)
        return known[2]


@dataclass(eq=False)
class _Places:
    """The values of a kind of layer, being filled: sums of squares, of differences and of then, and what moved.

    units  layer -> its places along the unit dimension
    """

    where: Any
    roles: tuple[str, ...]
    units: Mapping[str, slice]
    difference: np.ndarray
    start: np.ndarray
    moved: np.ndarray
    ran: np.ndarray
    there: np.ndarray  # (unit, role)
    flags: np.ndarray

    @classmethod
    def of(
        cls,
        tree: xr.DataTree,
        kind: str,
        reduction: str,
        shape: tuple[int, ...],
        cells: Mapping[str, Mapping[str, Cell]],
    ) -> _Places:
        roles = roles_of(NAME, kind)
        where = layout(tree, kind, reduction, roles)
        node = tree.children[kind].to_dataset()
        names = node["layer"].values.tolist()
        if reduction == "stage":
            stages = where.coords["stage"][1].tolist()
            ends = [(place, place + 1) for place in map(stages.index, node["stage"].values.tolist())]
        else:
            sizes = where.coords["row_size"][1] if reduction == "filter" else np.ones(len(names), dtype=int)
            ends = list(zip(np.cumsum(sizes) - sizes, np.cumsum(sizes), strict=True))
        units = {name: slice(int(a), int(b)) for name, (a, b) in zip(names, ends, strict=True)}
        there = np.zeros((where.size, len(roles)), dtype=bool)
        for name, found in cells.items():
            there[units[name]] |= [bool(_Part.of(kind, role, found).cells) for role in roles]
        full = (*shape, where.size, len(roles))
        return cls(
            where, roles, units, np.zeros(full), np.zeros(full), np.zeros(full, dtype=bool), np.zeros(full, dtype=bool),
            there, np.zeros(full, dtype=np.int64),
        )  # fmt: skip

    def dataset(self, wanted: np.ndarray) -> xr.Dataset:
        record, flags = METRICS[NAME], self.flags
        with np.errstate(invalid="ignore", over="ignore"):
            finite = np.isfinite(self.difference) & np.isfinite(self.start)
            values = record.function(self.difference, self.start)
        flags[~self.ran & (flags == 0)] = int(Flag.NOT_RUN)
        flags[~finite] |= int(Flag.NOT_FINITE)
        flags[finite & (self.start == 0) & self.moved & (flags == 0)] = int(Flag.ZERO_OUTPUT)
        flags[~wanted] = int(Flag.NOT_SAVED)
        flags[..., ~self.there] = int(Flag.ABSENT)
        values = np.where(flags == 0, values, np.nan)
        return as_dataset({NAME: values}, flags, ("run", "epoch", self.where.dim, "role"), self.where.coords)


@dataclass(frozen=True, eq=False)
class _OneRun:
    """A run's values of one kind of layer."""

    run: int
    how: Reference
    saved: np.ndarray
    wanted: np.ndarray
    places: _Places
    energies: _Energies

    def add(self, layer: str, role: int, part: _Part, inputs: LayerInputs | None) -> None:
        """Put a layer's sums where they belong; of a stage, to those of its other layers."""
        places, units, run = self.places, self.places.units[layer], self.run
        if not part.cells:
            return
        able, lacking = self.how.able(part.column, self.saved, run)
        asked = np.flatnonzero(self.wanted[run])
        places.flags[run, np.setdiff1d(asked, able), units, role] |= int(lacking)
        here = [epoch for epoch in able if self.wanted[run, epoch]]
        if inputs is None or not here:
            return
        still = self.how.still(part.column, run)
        then: Mapping[str, np.ndarray] = {}
        for n, epoch in enumerate(here):
            where = run, epoch, units, role
            if not n or not (still or self.how.fixed):
                then = self._then(part, epoch)
            old = inputs.rows(then)
            new = (
                old
                if still
                else inputs.rows(self._now(part, epoch) | {name: then[name] for name in part.then if name in then})
            )
            self._put(where, layer, role, inputs, old, new)

    def _put(
        self, where: tuple[Any, ...], layer: str, role: int, inputs: LayerInputs, old: np.ndarray, new: np.ndarray
    ) -> None:
        places, units = self.places, self.places.units[layer]
        with np.errstate(invalid="ignore", over="ignore"):
            moved = (old != new).any(-1)
            start = self.energies.of(layer, role, inputs, old)
            difference = inputs.energy(new - old) if moved.any() else np.zeros_like(start)
        by_unit = self.places.where.dim not in ("layer", "stage")
        if by_unit and len(start) != units.stop - units.start:  # a bare state dict does not say which way it goes
            places.flags[where] |= int(Flag.OTHER_SHAPE)
            return
        places.ran[where] = True
        places.difference[where] += difference if by_unit else difference.sum()
        places.start[where] += start if by_unit else start.sum()
        places.moved[where] |= moved if by_unit else moved.any()

    def _then(self, part: _Part, epoch: int) -> dict[str, np.ndarray]:
        both = {**part.cells, **part.beside}
        return {name: self.how.select(cell, self.saved, self.run, [epoch]).values[0] for name, cell in both.items()}

    def _now(self, part: _Part, epoch: int) -> dict[str, np.ndarray]:
        return {name: cell.values.isel(run=self.run, epoch=[epoch]).values[0] for name, cell in part.cells.items()}
