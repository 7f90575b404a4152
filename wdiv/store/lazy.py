"""Arrays over run x epoch that read a tensor only when its values are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from xarray.backends.common import BackendArray
from xarray.core import indexing

from wdiv import numerics
from wdiv.layers import Layer
from wdiv.store import tensors
from wdiv.store.reader import Run

__all__ = ["Axis", "FilterMoment", "LayerMoment", "PretrainedTensor", "RunTensor"]


@dataclass(frozen=True)
class Axis:
    """The run x epoch plane of a tree: its runs, its epochs, and which epochs each run has saved."""

    runs: tuple[Run, ...]
    epochs: tuple[int, ...]
    saved: tuple[frozenset[int], ...]


class _Lazy(BackendArray):
    """Base: outer indexing over leading axes, and ``_cell`` for what lies at one of their points."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    leading: int  # how many leading axes have one cell per point

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> np.ndarray:
        """``key`` holds integers, slices and one-dimensional arrays of integers, one per axis."""
        points = [np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape, key[: self.leading], strict=False)]
        rest = tuple(key[self.leading :])
        inner = tuple(np.atleast_1d(np.arange(n)[k]) for n, k in zip(self.shape[self.leading :], rest, strict=True))
        out = np.full([len(p) for p in (*points, *inner)], np.nan, self.dtype)
        for place in np.ndindex(*out.shape[: self.leading]):
            self._cell(tuple(int(p[i]) for p, i in zip(points, place, strict=True)), inner, out[place])
        squeeze = tuple(i for i, k in enumerate(key) if isinstance(k, (int, np.integer)))
        return out.squeeze(axis=squeeze)

    def _cell(self, place: tuple[int, ...], inner: tuple[np.ndarray, ...], out: np.ndarray) -> None:
        raise AssertionError("each kind of lazy array says what a cell holds")


def _take(values: np.ndarray, inner: tuple[np.ndarray, ...]) -> np.ndarray:
    """Outer indexing, by slices wherever they do: a whole kernel is then not copied element by element."""
    for axis, indices in enumerate(inner):
        if len(indices) == values.shape[axis] and (np.diff(indices) == 1).all():
            continue
        values = np.take(values, indices, axis)
    return values


def _rows(layers: Sequence[Layer], role: str) -> list[tuple[int, int]]:
    """Where each layer's outputs begin and end on the ragged axis."""
    ends = np.cumsum([layer.shape[0] for layer in layers]).tolist()
    return list(zip([0, *ends], ends, strict=False))


class _Tensors(_Lazy):
    """One role of several layers along a ragged axis, or of one layer in its own shape."""

    def __init__(self, leading: tuple[int, ...], layers: Sequence[Layer], role: str, *, ragged: bool) -> None:
        self.layers, self.role, self.ragged, self.leading = tuple(layers), role, ragged, len(leading)
        self.bounds = _rows(layers, role)
        self.shape = (*leading, *((self.bounds[-1][1],) if ragged else layers[0].shape_of(role)))
        self.dtype = np.dtype(np.float32)

    def _fill(self, inner: tuple[np.ndarray, ...], out: np.ndarray, find: Callable[[str], Path | None]) -> None:
        """Read the rows asked for of every layer that they touch, and nothing else."""
        rows = inner[0]
        for layer, (begin, end) in zip(self.layers, self.bounds, strict=True):
            wanted = np.flatnonzero((rows >= begin) & (rows < end))
            if not wanted.size or self.role not in layer.roles:
                continue
            key = layer.key(self.role)
            path = find(key)
            if path is None:
                continue
            local = rows[wanted] - begin
            first, last = int(local.min()), int(local.max()) + 1
            every = first == 0 and last == end - begin
            values = tensors.read(path, key) if every else tensors.read(path, key, first, last)
            if values.shape[1:] == self.shape[self.leading + 1 :]:
                target = slice(None) if len(wanted) == len(out) else wanted
                out[target] = _take(values, (local - first, *inner[1:]))


class RunTensor(_Tensors):
    """(run, epoch, …): a role as it was after each epoch."""

    def __init__(self, axis: Axis, layers: Sequence[Layer], role: str, *, ragged: bool = False) -> None:
        super().__init__((len(axis.runs), len(axis.epochs)), layers, role, ragged=ragged)
        self.axis = axis

    def _cell(self, place: tuple[int, ...], inner: tuple[np.ndarray, ...], out: np.ndarray) -> None:
        run, epoch = self.axis.runs[place[0]], self.axis.epochs[place[1]]
        if epoch in self.axis.saved[place[0]]:
            self._fill(inner, out, lambda key: run.locate(key, epoch))


class PretrainedTensor(_Tensors):
    """(run, …): a role as the source gave it; NaN for what started at random."""

    def __init__(self, axis: Axis, layers: Sequence[Layer], role: str, *, ragged: bool = False) -> None:
        super().__init__((len(axis.runs),), layers, role, ragged=ragged)
        self.axis = axis

    def _cell(self, place: tuple[int, ...], inner: tuple[np.ndarray, ...], out: np.ndarray) -> None:
        run = self.axis.runs[place[0]]
        self._fill(inner, out, lambda key: run.base if run.has_pretrained(key) else None)


class LayerMoment(_Lazy):
    """(run, epoch, layer): mean or standard deviation of a layer's weights."""

    per_filter = False

    def __init__(self, axis: Axis, layers: Sequence[Layer], moment: str) -> None:
        self.axis, self.layers, self.moment, self.leading = axis, tuple(layers), moment, 2
        self.bounds = _rows(layers, "weight")
        last = self.bounds[-1][1] if self.per_filter else len(self.layers)
        self.shape = (len(axis.runs), len(axis.epochs), last)
        self.dtype = np.dtype(np.float64)

    def _cell(self, place: tuple[int, ...], inner: tuple[np.ndarray, ...], out: np.ndarray) -> None:
        run, epoch = self.axis.runs[place[0]], self.axis.epochs[place[1]]
        if epoch not in self.axis.saved[place[0]]:
            return
        for i, (layer, (begin, end)) in enumerate(zip(self.layers, self.bounds, strict=True)):
            low, high = (begin, end) if self.per_filter else (i, i + 1)
            wanted = np.flatnonzero((inner[0] >= low) & (inner[0] < high))
            if wanted.size:
                key = layer.key("weight")
                path = run.locate(key, epoch)
                both = _moments(path, key, self.per_filter, *tensors.identity(path))
                out[wanted] = getattr(both, self.moment)[inner[0][wanted] - low]


class FilterMoment(LayerMoment):
    """(run, epoch, filter): mean or standard deviation of each filter's weights."""

    per_filter = True


@lru_cache(maxsize=4096)
def _moments(path: Path, key: str, per_filter: bool, *identity: int) -> numerics.Moments:
    """Cached, because a frozen layer is one file for every epoch. A store made anew in its place is another file."""
    values = tensors.read(path, key)
    rows = len(values) if per_filter else 1
    return numerics.moments(values.reshape(rows, math.prod(values.shape) // max(rows, 1)))
