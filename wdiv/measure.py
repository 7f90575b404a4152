"""The one place where metrics meet labels: a tree of weights in, a tree of divergence out.

Every metric is metric(A, B) with A the reference: ``divergence(tree, reference=R)`` is metric(R, run), and
``diff(a, b)`` is metric(a, b). LAW: this module imports :mod:`wdiv.metrics` and :mod:`wdiv.layers` of wdiv.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import xarray as xr

from wdiv import numerics
from wdiv.errors import BadInput
from wdiv.layers import KINDS, ROLES, Layer, LayerTable
from wdiv.metrics import METRICS
from wdiv.registry import did_you_mean

__all__ = ["DEFAULT_METRICS", "Flag", "Weights", "compare", "diff", "divergence", "pairwise", "why"]

DEFAULT_METRICS = ("gaussian_kl", "relative_l2", "cosine_distance")
CHUNK = 1 << 24
"""Elements of one tensor over several epochs that are held at once (64 MiB of float32)."""


class Flag(enum.IntFlag):
    """Why a value is NaN. Bits of the variable ``flag``, 0 where there is nothing to say."""

    NOT_SAVED = 1
    ABSENT = 2
    NO_START = 4
    NO_PARTNER = 8
    OTHER_SHAPE = 16
    ZERO_SPREAD = 32
    ZERO_NORM = 64
    NOT_FINITE = 128
    FIRST_EPOCH = 256


REASONS: Mapping[Flag, str] = {
    Flag.NOT_SAVED: "this epoch is not saved",
    Flag.ABSENT: "the layer has no such tensor",
    Flag.NO_START: "it started at random, not from pretrained weights",
    Flag.NO_PARTNER: "nothing in the other network corresponds to it",
    Flag.OTHER_SHAPE: "the two have different shapes",
    Flag.ZERO_SPREAD: "all values of one are equal, so a Gaussian fit has no spread",
    Flag.ZERO_NORM: "one of them is all zeros",
    Flag.NOT_FINITE: "it holds inf or NaN",
    Flag.FIRST_EPOCH: "no epoch before it is saved",
}
INCOMPARABLE = Flag.NOT_SAVED | Flag.ABSENT | Flag.NO_START | Flag.NO_PARTNER | Flag.OTHER_SHAPE | Flag.FIRST_EPOCH


def why(flag: int) -> str:
    """A flag in words.

    >>> why(16)
    'the two have different shapes'
    >>> why(0)
    ''
    """
    return "; ".join(REASONS[bit] for bit in Flag(int(flag)))


@dataclass
class Comparison:
    """Values of each metric and flags, all of shape (rows,)."""

    values: dict[str, np.ndarray]
    flags: np.ndarray


def compare(a: np.ndarray, b: np.ndarray, metrics: Sequence[str] = DEFAULT_METRICS) -> Comparison:
    """metric(A, B) for each row of ``b`` against ``a``.

    a: (n,) or (rows, n); b: (rows, n). Each array is read once for all Gaussian metrics and once for all paired
    ones. Rows that hold inf or NaN give NaN and :attr:`Flag.NOT_FINITE`.

    >>> result = compare(np.array([1.0, 2.0]), np.array([[1.0, 2.0], [2.0, 4.0]]), ["relative_l2"])
    >>> result.values["relative_l2"].tolist(), result.flags.tolist()
    ([0.0, 1.0], [0, 0])
    """
    records = [METRICS[name] for name in metrics]
    rows = len(b)
    flags = np.zeros(rows, dtype=np.int64)
    fit_a, fit_b = numerics.moments(a), numerics.moments(b)
    finite = np.broadcast_to(np.isfinite(fit_a.std), rows) & np.isfinite(fit_b.std)
    flags[~finite] |= Flag.NOT_FINITE
    values = {}
    sums = numerics.pair_sums(a, b) if any(record.takes == "pairs" for record in records) else None
    for record in records:
        found = record.function(fit_a, fit_b) if record.takes == "moments" else record.function(sums)
        values[record.name] = np.where(finite, np.broadcast_to(found, rows), np.nan)
        undefined = finite & np.isnan(values[record.name])
        flags[undefined] |= Flag.ZERO_SPREAD if record.takes == "moments" else Flag.ZERO_NORM
    return Comparison(values, flags)


def divergence(
    tree: xr.DataTree,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    reference: str | int = "pretrained",
) -> xr.DataTree:
    """How far each layer has moved: metric(reference, run) for every (run, epoch, layer, role).

    reference  ``pretrained``, the source's weights; an epoch number, the run's own state after it (0: before the
               first step); ``previous``, the epoch saved before; or the id of a run, its weights at the same epoch

    Returns a tree with nodes ``/conv``, ``/bn`` and ``/fc``: one variable per metric with dims (run, epoch, layer,
    role), and ``flag``, which says why a value is NaN. A head that started at random is not comparable with
    pretrained weights: NaN, never zero and never an error. A frozen tensor is measured once, not once an epoch.

    Raises :class:`~wdiv.errors.UnknownName` for an unknown metric and :class:`~wdiv.errors.BadInput` for an
    unknown reference.
    """
    names = metric_names(metrics)
    how = _Reference.of(tree, reference)
    nodes = {
        f"/{kind}": _measure_kind(tree, kind, names, ("run", "epoch"), lambda cell: _along_epochs(cell, how, names))
        for kind in _kinds(tree)
    }
    root = _coords_only(tree.to_dataset())
    root.attrs = {"reference": str(reference), "direction": "metric(reference, run)", **_lineage(tree)}
    return xr.DataTree.from_dict({"/": root, **nodes})


def pairwise(
    tree: xr.DataTree, metrics: str | Sequence[str] = DEFAULT_METRICS, epoch: int | str = "last"
) -> xr.DataTree:
    """How far runs lie from one another: metric(run, run_b) for every pair, after one epoch.

    epoch  a number, or ``last``: each run's own last saved one

    Returns a tree with nodes ``/conv``, ``/bn`` and ``/fc`` of dims (run, run_b, layer, role). Between seeds of one
    strategy this is the noise floor; between data sizes, the paper's panels "140-280".
    """
    names = metric_names(metrics)
    places = _one_epoch(tree, epoch)
    nodes = {
        f"/{kind}": _measure_kind(tree, kind, names, ("run", "run_b"), lambda cell: _across_runs(cell, places, names))
        for kind in _kinds(tree)
    }
    root = _coords_only(tree.to_dataset().drop_dims("epoch"))
    root = root.assign_coords(run_b=("run_b", root["run"].values))
    root.attrs = {"epoch": str(epoch), "direction": "metric(run, run_b)", **_lineage(tree)}
    return xr.DataTree.from_dict({"/": root, **nodes})


class Weights(Protocol):
    """Anything with named layers and their tensors, such as :class:`wdiv.store.foreign.Checkpoint`."""

    @property
    def name(self) -> str: ...

    @property
    def table(self) -> LayerTable: ...

    def tensor(self, layer: Layer, role: str) -> np.ndarray: ...


def diff(
    a: Weights, b: Weights, pairs: Mapping[str, str], metrics: str | Sequence[str] = DEFAULT_METRICS
) -> xr.DataTree:
    """metric(A, B) for every layer of two sets of weights; ``pairs`` maps names of A to names of B.

    Returns a tree with nodes ``/conv``, ``/bn`` and ``/fc`` of dims (layer, role), the layers of A in their order,
    then those of B that have no partner. ``partner`` is the name in B, ``side`` where the layer is found.
    """
    names = metric_names(metrics)
    taken = set(pairs.values())
    rows: dict[str, list[tuple[Layer | None, Layer | None]]] = {kind: [] for kind in KINDS}
    for layer in a.table:
        partner = pairs.get(layer.name)
        rows[layer.kind].append((layer, b.table[partner] if partner is not None else None))
    for layer in b.table:
        if layer.name not in taken:
            rows[layer.kind].append((None, layer))
    nodes = {f"/{kind}": _diff_kind(a, b, kind, found, names) for kind, found in rows.items() if found}
    root = xr.Dataset(attrs={"a": a.name, "b": b.name, "direction": "metric(a, b)", "layer_order": a.table.order})
    return xr.DataTree.from_dict({"/": root, **nodes})


def _diff_kind(
    a: Weights, b: Weights, kind: str, rows: Sequence[tuple[Layer | None, Layer | None]], names: Sequence[str]
) -> xr.Dataset:
    either = [layer or partner for layer, partner in rows]
    layers = [layer for layer in either if layer is not None]
    roles = [role for role in ROLES[kind] if any(x is not None and role in x.roles for row in rows for x in row)]
    block = _Block.empty(names, (len(rows), len(roles)))
    for i, (layer, partner) in enumerate(rows):
        for j, role in enumerate(roles):
            flag = _why_not(layer, partner, role)
            if flag:
                block.flags[i, j] = flag
            else:
                assert layer is not None
                assert partner is not None
                ours, theirs = (np.asarray(w.tensor(x, role)).reshape(1, -1) for w, x in ((a, layer), (b, partner)))
                block.put((i, j), compare(ours, theirs, names))
    dataset = block.dataset(("layer", "role"), {**LayerTable.coords(layers), "role": _objects(roles)})
    sides = ["both" if x and y else "a" if x else "b" for x, y in rows]
    partners = [partner.name if partner else "" for _, partner in rows]
    return dataset.assign_coords(partner=("layer", _objects(partners)), side=("layer", _objects(sides)))


def _why_not(layer: Layer | None, partner: Layer | None, role: str) -> Flag:
    have = [x is not None and role in x.roles for x in (layer, partner)]
    if not all(have):
        return Flag.NO_PARTNER if any(have) else Flag.ABSENT
    assert layer is not None
    assert partner is not None
    return Flag.OTHER_SHAPE if layer.shape_of(role) != partner.shape_of(role) else Flag(0)


def metric_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """Registered names, each once; raises :class:`~wdiv.errors.UnknownName`."""
    asked = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if not asked:
        raise BadInput("give at least one metric")
    return tuple(dict.fromkeys(METRICS[name].name for name in asked))


# --------------------------------------------------------------------------------------------------------------
# From a tree to the tensors of one layer and role


Rows = Callable[[Sequence[int]], np.ndarray]
"""Positions of epochs -> (epochs, n), or one row that stands for them all."""


@dataclass(frozen=True)
class _Cell:
    """One role of one layer over the whole tree: values (run, epoch, …) and what it started from (run, …)."""

    values: xr.DataArray
    start: xr.DataArray
    frozen: np.ndarray
    saved: np.ndarray

    def row(self, run: int, epoch: int) -> np.ndarray:
        return self.rows(run, [epoch])[0]

    def rows(self, run: int, epochs: Sequence[int]) -> np.ndarray:
        """(len(epochs), n); a frozen tensor is read once."""
        if self.frozen[run]:
            one = self.values.isel(run=run, epoch=int(epochs[0])).values.reshape(1, -1)
            return np.broadcast_to(one, (len(epochs), one.shape[1]))
        return self.values.isel(run=run, epoch=list(epochs)).values.reshape(len(epochs), -1)


def _kinds(tree: xr.DataTree) -> list[str]:
    kinds = [kind for kind in KINDS if kind in tree.children]
    if not kinds or not {"run", "epoch", "saved"} <= set(tree.variables):
        raise BadInput('not a tree of weights; open one with xr.open_datatree(DIR, engine="wdiv")')
    if not {"run", "epoch"} <= set(tree.dims):
        raise BadInput("a tree of one run or epoch must keep both dimensions; select with lists, tree.isel(run=[0])")
    return kinds


def _cells(tree: xr.DataTree, kind: str) -> Iterator[tuple[int, int, _Cell | None]]:
    """(layer, role) positions of a node, with the tensors there; None where the layer has no such role."""
    node, saved = tree.children[kind].to_dataset(), tree.to_dataset()["saved"].values
    frozen, start_of = node["frozen"].values, tree.children["pretrained"].children
    if kind == "bn":
        sizes = node["row_size"].values
        ends, start = np.cumsum(sizes), start_of["bn"].to_dataset()
    for i, name in enumerate(node["layer"].values):
        if kind == "bn":
            channels = {"channel": slice(int(ends[i] - sizes[i]), int(ends[i]))}
            now, before = node.isel(channels), start.isel(channels)
        else:
            now = tree.children["weights"].children[name].to_dataset()
            before = start_of["weights"].children[name].to_dataset()
        for j, role in enumerate(node["role"].values):
            yield i, j, _Cell(now[role], before[role], frozen[:, i, j], saved) if role in now else None


@dataclass
class _Block:
    """Metric values and flags, filled cell by cell."""

    values: dict[str, np.ndarray]
    flags: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def empty(cls, names: Sequence[str], shape: tuple[int, ...]) -> _Block:
        return cls({name: np.full(shape, np.nan) for name in names}, np.zeros(shape, dtype=np.int64))

    def put(self, place: tuple[int | slice | list[int], ...], found: Comparison) -> None:
        single = all(isinstance(p, int) for p in place)
        for name, values in found.values.items():
            self.values[name][place] = values[0] if single else values
        self.flags[place] = found.flags[0] if single else found.flags

    def dataset(self, dims: tuple[str, ...], coords: Mapping[str, object]) -> xr.Dataset:
        variables = {name: (dims, values, METRICS[name].attrs) for name, values in self.values.items()}
        flag_attrs = {
            "long_name": "why a value is NaN",
            "flag_masks": [int(bit) for bit in Flag],
            "flag_meanings": " ".join(str(bit.name).lower() for bit in Flag),
        }
        return xr.Dataset({**variables, "flag": (dims, self.flags, flag_attrs)}, coords=coords)


def _measure_kind(
    tree: xr.DataTree,
    kind: str,
    names: Sequence[str],
    dims: tuple[str, str],
    measure: Callable[[_Cell], _Block],
) -> xr.Dataset:
    """Fill (…dims, layer, role) one layer and role at a time."""
    node = tree[kind].to_dataset()
    runs = tree.sizes["run"]
    shape = (runs, tree.sizes["epoch"] if dims[1] == "epoch" else runs, node.sizes["layer"], node.sizes["role"])
    block = _Block.empty(names, shape)
    for i, j, cell in _cells(tree, kind):
        if cell is None:
            block.flags[:, :, i, j] = Flag.ABSENT
            continue
        found = measure(cell)
        for name in names:
            block.values[name][:, :, i, j] = found.values[name]
        block.flags[:, :, i, j] = found.flags
    along = {str(name): c for name, c in node.coords.items() if c.dims in (("layer",), ("role",))}
    return block.dataset((*dims, "layer", "role"), along)


# --------------------------------------------------------------------------------------------------------------
# References


@dataclass(frozen=True)
class _Reference:
    """What each (run, epoch) is set against."""

    kind: str
    at: int = -1

    @classmethod
    def of(cls, tree: xr.DataTree, reference: str | int) -> _Reference:
        _kinds(tree)
        root = tree.to_dataset()
        epochs, runs = root["epoch"].values.tolist(), root["run"].values.tolist()
        if reference in ("pretrained", "previous"):
            return cls(str(reference))
        if isinstance(reference, str) and reference in runs:
            return cls("run", runs.index(reference))
        if isinstance(reference, int) or str(reference).isdecimal():
            if int(reference) not in epochs:
                raise BadInput(f"reference epoch {reference} is not saved; saved: {epochs[0]} to {epochs[-1]}")
            return cls("epoch", epochs.index(int(reference)))
        known = ["pretrained", "previous", *runs]
        raise BadInput(f"reference {reference!r}: an epoch number, or {did_you_mean(reference, known)}")

    def against(self, cell: _Cell, run: int, epochs: list[int]) -> tuple[list[int], Rows, Flag]:
        """For one run: the epochs that have a reference, the reference's rows for some of them, and what the
        other epochs lack."""
        if self.kind == "pretrained":
            start = cell.start.isel(run=run).values.reshape(1, -1)
            fits = start.shape[1] == int(np.prod(cell.values.shape[2:])) and not np.isnan(start).all()
            return (epochs if fits else []), lambda part: start, Flag.NO_START
        if self.kind == "previous":
            before = dict(zip(epochs[1:], epochs[:-1], strict=True))
            return epochs[1:], lambda part: cell.rows(run, [before[epoch] for epoch in part]), Flag.FIRST_EPOCH
        if self.kind == "epoch":
            return (epochs if self.at in epochs else []), lambda part: cell.rows(run, [self.at]), Flag.NOT_SAVED
        both = [epoch for epoch in epochs if cell.saved[self.at, epoch]]
        return both, lambda part: cell.rows(self.at, part), Flag.NOT_SAVED


def _along_epochs(cell: _Cell, how: _Reference, names: Sequence[str]) -> _Block:
    """(run, epoch) for one layer and role."""
    block = _Block.empty(names, cell.saved.shape)
    block.flags[~cell.saved] = Flag.NOT_SAVED
    for run, saved in enumerate(cell.saved):
        epochs = np.flatnonzero(saved).tolist()
        able, reference, lacking = how.against(cell, run, epochs)
        block.flags[run, sorted(set(epochs) - set(able))] = lacking
        still = bool(cell.frozen[run]) and (how.kind != "run" or bool(cell.frozen[how.at]))
        _fill(block, cell, run, able, reference, names, still=still)
    return block


def _fill(
    block: _Block,
    cell: _Cell,
    run: int,
    epochs: Sequence[int],
    reference: Rows,
    names: Sequence[str],
    *,
    still: bool,
) -> None:
    """Measure some epochs of a run in parts that fit the memory; the first stands for all where nothing moves."""
    step = len(epochs) if still else CHUNK // max(1, int(np.prod(cell.values.shape[2:])))
    step = max(1, step)
    for start in range(0, len(epochs), step):
        part = list(epochs[start : start + step])
        read = part[:1] if still else part
        found = compare(reference(read), cell.rows(run, read), names)
        for name in names:
            block.values[name][run, part] = found.values[name]
        block.flags[run, part] = found.flags


def _one_epoch(tree: xr.DataTree, epoch: int | str) -> list[int | None]:
    """Each run's position of an epoch; None where it has not saved it."""
    _kinds(tree)
    root = tree.to_dataset()
    epochs, saved = root["epoch"].values.tolist(), root["saved"].values
    if epoch == "last":
        return [int(np.flatnonzero(row)[-1]) if row.any() else None for row in saved]
    if not str(epoch).isdecimal() or int(epoch) not in epochs:
        raise BadInput(f"epoch {epoch!r}: 'last', or one of those saved, {epochs[0]} to {epochs[-1]}")
    at = epochs.index(int(epoch))
    return [at if row[at] else None for row in saved]


def _across_runs(cell: _Cell, places: Sequence[int | None], names: Sequence[str]) -> _Block:
    """(run, run_b) for one layer and role."""
    block = _Block.empty(names, (len(places), len(places)))
    have = [run for run, place in enumerate(places) if place is not None]
    missing = [run for run, place in enumerate(places) if place is None]
    block.flags[missing, :] = block.flags[:, missing] = Flag.NOT_SAVED
    rows = {run: cell.row(run, place) for run, place in enumerate(places) if place is not None}
    for run in have:
        found = compare(rows[run][None], np.stack([rows[b] for b in have]), names)
        for name in names:
            block.values[name][run, have] = found.values[name]
        block.flags[run, have] = found.flags
    return block


def _coords_only(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.drop_vars(list(dataset.data_vars))


def _lineage(tree: xr.DataTree) -> dict[str, str]:
    return {name: str(tree.attrs[name]) for name in ("architecture", "layer_order", "title") if name in tree.attrs}


def _objects(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=object)
