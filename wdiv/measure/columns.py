"""From a tree to the tensors that one value of a result is computed from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from wdiv.errors import BadInput
from wdiv.layers import KINDS
from wdiv.measure.roles import PARAMETERS

__all__ = [
    "UNITS", "Cell", "Column", "Layout", "Rows", "cells_of", "columns", "coords_only", "kinds_of", "layout", "lineage",
]  # fmt: skip

UNITS = {"conv": "filter", "bn": "channel", "norm": "channel", "linear": "unit", "fc": "unit"}
"""Kind -> what one output of a layer is called."""


@dataclass(frozen=True)
class Cell:
    """One role of one layer: values (run, epoch, …) and what it started from (run, …). Not yet read; without labels,
    whose selection would cost more than reading a small tensor.

    started  which runs took it from pretrained weights;  frozen: in which no epoch may change it
    complex  in which it is kept as complex numbers;  groups: of a convolution
    """

    values: xr.Variable
    start: xr.Variable
    started: np.ndarray
    frozen: np.ndarray
    complex: np.ndarray
    groups: int = 1

    @property
    def size(self) -> int:
        return int(np.prod(self.values.shape[2:]))

    @property
    def matrix(self) -> tuple[int, int] | None:
        """Rows of the matrix that a weight is, and into how many groups they fall; None for a vector."""
        if "in" not in self.values.dims:
            return None
        return int(self.values.shape[3] * self.groups if self.grouped else self.values.shape[2]), self.groups

    @property
    def grouped(self) -> int:
        """The groups of a transposed convolution, whose weight is (in, out / groups, …); 0 for all others."""
        return self.groups if self.values.dims[2] == "in" else 0


@dataclass(frozen=True)
class Rows:
    """How values as they are stored become rows; knows no values, so that a task of dask can carry it.

    grouped  of each cell (:attr:`Cell.grouped`);  by_output: one row for each output, or one for all
    """

    grouped: tuple[int, ...]
    by_output: bool

    def join(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """The cells' values (epochs, …) as rows (epochs, units, n); several cells make one row."""
        flat = [self._flat(part, groups) for part, groups in zip(parts, self.grouped, strict=True)]
        return flat[0] if len(flat) == 1 else np.concatenate(flat, axis=-1)

    def _flat(self, values: np.ndarray, groups: int) -> np.ndarray:
        epochs = len(values)
        if groups:
            _, inputs, outputs, *kernel = values.shape
            values = values.reshape(epochs, groups, inputs // groups, outputs, *kernel).swapaxes(2, 3)
            values = values.reshape(epochs, groups * outputs, -1)
        units = values.shape[1] if self.by_output else 1
        return values.reshape(epochs, units, values[:1].size // units if units else 0)


@dataclass(frozen=True)
class Column:
    """What is measured as one: the cells of a layer (one) or of a stage (several), and its place in the result.

    units  places along the unit dimension (a slice of one, but for filters);  role: its position
    cells  none where the layer has no such tensor
    """

    units: slice
    role: int
    cells: tuple[Cell, ...]
    by_output: bool = False

    @property
    def width(self) -> int:
        return int(self.units.stop - self.units.start)

    @property
    def size(self) -> int:
        return sum(cell.size for cell in self.cells)

    @property
    def matrix(self) -> tuple[int, int] | None:
        return self.cells[0].matrix if len(self.cells) == 1 and not self.by_output else None

    @property
    def frozen(self) -> np.ndarray:
        return np.logical_and.reduce([cell.frozen for cell in self.cells])

    @property
    def started(self) -> np.ndarray:
        return np.logical_and.reduce([cell.started for cell in self.cells])

    @property
    def complex(self) -> np.ndarray:
        return np.logical_or.reduce([cell.complex for cell in self.cells])

    @property
    def rows(self) -> Rows:
        """How its cells' values become rows."""
        return Rows(tuple(cell.grouped for cell in self.cells), self.by_output)


@dataclass(frozen=True)
class Layout:
    """The unit dimension of a result: its name, its length, and the coordinates along it and along ``role``."""

    dim: str
    size: int
    coords: dict[str, Any]


def kinds_of(tree: xr.DataTree) -> list[str]:
    """The kinds of layer that a tree of weights has; :class:`~wdiv.errors.BadInput` if it is none."""
    if not isinstance(tree, xr.DataTree):
        raise BadInput(f"not a tree of weights but a {type(tree).__name__}; wdiv.open(DIR) gives one")
    kinds = [kind for kind in KINDS if kind in tree.children]
    if not kinds or not {"run", "epoch", "saved"} <= set(tree.variables):
        raise BadInput('not a tree of weights; open one with xr.open_datatree(DIR, engine="wdiv")')
    if not {"run", "epoch"} <= set(tree.dims):
        raise BadInput("a tree of one run or epoch must keep both dimensions; select with lists, tree.isel(run=[0])")
    return kinds


def layout(tree: xr.DataTree, kind: str, reduction: str, roles: Sequence[str] = ()) -> Layout:
    """What one value of a result stands for. roles: in place of the tensors'."""
    node = tree.children[kind].to_dataset()
    role = {"role": np.array(roles, dtype=object) if roles else node["role"]}
    along = {str(name): c.compute() for name, c in node.coords.items() if c.dims == ("layer",)}
    if reduction == "layer":
        return Layout("layer", node.sizes["layer"], along | role)
    if reduction == "filter":
        dim, sizes = UNITS[kind], np.array(_sizes(tree, kind))
        rows = np.repeat(np.arange(len(sizes)), sizes)
        index = {
            "row_size": ("layer", sizes, {"sample_dimension": dim, "long_name": f"{dim}s of each layer"}),
            "layer_index": (dim, rows, {"instance_dimension": "layer"}),
        }
        return Layout(dim, len(rows), along | role | index)
    layers = Counter(node["stage"].values.tolist())  # in the order in which stages are first met
    names = np.array(list(layers), dtype=object)
    return Layout("stage", len(layers), {"stage": ("stage", names), "layers": ("stage", [*layers.values()])} | role)


def columns(tree: xr.DataTree, kind: str, reduction: str, per: str = "tensor") -> Iterator[Column]:
    """Everything of a kind that is measured, in the order of the result.

    per: ``layer`` for one role that is all of :data:`~wdiv.measure.roles.PARAMETERS`.
    """
    cells: list[list[tuple[Cell, ...]]] = [[(cell,) if cell else () for cell in row] for row in _cells(tree, kind)]
    if per == "layer":
        names = tree.children[kind].to_dataset()["role"].values.tolist()
        cells = [
            [
                tuple(cell for name, found in zip(names, row, strict=True) if name in tensors for cell in found)
                for tensors in PARAMETERS[kind].values()
            ]
            for row in cells
        ]
    roles = range(len(cells[0])) if cells else range(0)
    if reduction == "stage":
        stages = tree.children[kind].to_dataset()["stage"].values.tolist()
        for place, stage in enumerate(dict.fromkeys(stages)):
            for j in roles:
                ours = [row[j] for row, s in zip(cells, stages, strict=True) if s == stage]
                yield Column(slice(place, place + 1), j, tuple(cell for found in ours for cell in found))
        return
    sizes = _sizes(tree, kind) if reduction == "filter" else [1] * len(cells)
    ends = np.cumsum(sizes).tolist()
    for row, size, end in zip(cells, sizes, ends, strict=True):
        for j, found in enumerate(row):
            yield Column(slice(end - size, end), j, found, by_output=reduction == "filter")


def cells_of(tree: xr.DataTree, kind: str) -> dict[str, dict[str, Cell]]:
    """Layer -> role -> the tensor there."""
    node = tree.children[kind].to_dataset()
    roles = node["role"].values.tolist()
    return {
        name: {role: cell for role, cell in zip(roles, row, strict=True) if cell is not None}
        for name, row in zip(node["layer"].values.tolist(), _cells(tree, kind), strict=True)
    }


def _cells(tree: xr.DataTree, kind: str) -> list[list[Cell | None]]:
    """(layer, role): the tensors there; None where the layer has no such role."""
    node = tree.children[kind].to_dataset()
    frozen, start_of = node["frozen"].values, tree.children["pretrained"].children
    started, present, groups = node["started"].values, node["present"].values, node["groups"].values.tolist()
    of_complex = node["complex"].values if "complex" in node else np.zeros_like(frozen)
    ragged = UNITS[kind] == "channel"
    ends = np.cumsum(node["row_size"].values).tolist() if ragged else []
    found: list[list[Cell | None]] = []
    for i, name in enumerate(node["layer"].values):
        if ragged:
            now, before = tree.children[kind].variables, start_of[kind].variables
            channels = {"channel": slice(ends[i - 1] if i else 0, ends[i])}
        else:
            now = tree.children["weights"].children[name].variables
            before = start_of["weights"].children[name].variables
            channels = {}
        found.append([
            Cell(
                now[role].isel(channels), before[role].isel(channels), started[:, i, j], frozen[:, i, j],
                of_complex[:, i, j], groups[i],
            )
            if present[i, j] else None
            for j, role in enumerate(node["role"].values)
        ])  # fmt: skip
    return found


def _sizes(tree: xr.DataTree, kind: str) -> list[int]:
    node = tree.children[kind].to_dataset()
    if "row_size" in node:
        return [int(size) for size in node["row_size"].values]
    weights = tree.children["weights"].children
    return [weights[name].to_dataset().sizes["out"] for name in node["layer"].values]


def coords_only(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset without its variables; labels are in memory, also those of a chunked tree."""
    return dataset.drop_vars(list(dataset.data_vars)).compute()


def lineage(tree: xr.DataTree) -> dict[str, str]:
    """What a result says of the tree it was measured from."""
    return {name: str(tree.attrs[name]) for name in ("architecture", "layer_order", "title") if name in tree.attrs}
