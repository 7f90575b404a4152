"""Arrays over run x epoch that read a tensor only when its values are asked for."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from xarray.backends.common import BackendArray
from xarray.core import indexing

from wdiv import numerics
from wdiv.errors import BadStore
from wdiv.layers import Layer
from wdiv.store import predictions
from wdiv.store.imported import TensorLocation, read_tensor_at
from wdiv.store.kept import fingerprint
from wdiv.store.reader import Run

__all__ = ["Axis", "FilterMoment", "LayerMoment", "PretrainedTensor", "RunLogits", "RunTensor"]


@dataclass(frozen=True)
class Axis:
    """The run x epoch plane of a tree: its runs, its epochs, and which epochs each run has saved."""

    runs: tuple[Run, ...]
    epochs: tuple[int, ...]
    saved: tuple[frozenset[int], ...]


class _Part(NamedTuple):
    """What a request wants of one layer. The same for every run and epoch, so it is worked out once.

    layer   its number
    target  where the values go on the first of the axes asked for
    rows    which of the layer's rows they are
    """

    layer: int
    target: slice | np.ndarray
    rows: slice | np.ndarray


class _Lazy(BackendArray):
    """Base: outer indexing over leading axes, and ``_cell`` for what lies at one of their points."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    leading: int  # how many leading axes have one cell per point
    bounds: np.ndarray  # where each layer ends on the first axis after them

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._outer)

    def _outer(self, key: tuple[Any, ...]) -> np.ndarray:
        """``key`` holds integers, slices and one-dimensional arrays of integers, one per axis."""
        points = [
            np.atleast_1d(np.arange(n)[k]).tolist() for n, k in zip(self.shape, key[: self.leading], strict=False)
        ]
        inner = [_axis(k, n) for k, n in zip(key[self.leading :], self.shape[self.leading :], strict=True)]
        sizes = [k.stop - k.start if isinstance(k, slice) else len(k) for k in inner]
        out = np.empty([*map(len, points), *sizes], self.dtype)
        if out.size:
            parts = _parts(self.bounds, inner[0])
            flat = out.reshape(-1, *sizes)
            for cell, place in zip(flat, itertools.product(*points), strict=True):
                self._cell(place, parts, inner[1:], cell)
        squeeze = tuple(i for i, k in enumerate(key) if isinstance(k, (int, np.integer)))
        return out.squeeze(axis=squeeze) if squeeze else out

    def _cell(
        self, place: tuple[int, ...], parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        """Fill ``out``, all of it."""
        raise AssertionError("each kind of lazy array says what a cell holds")


def _axis(key: Any, size: int) -> slice | np.ndarray:
    """A key of one axis as ``slice(start, stop)`` wherever its elements follow one another, else as integers."""
    if isinstance(key, slice):
        start, stop, step = key.indices(size)
        if step == 1:
            return slice(start, max(start, stop))
    chosen = np.atleast_1d(np.arange(size)[key])
    if chosen.size and chosen[-1] - chosen[0] == chosen.size - 1 and (np.diff(chosen) == 1).all():
        return slice(int(chosen[0]), int(chosen[-1]) + 1)
    return chosen


def _parts(ends: np.ndarray, rows: slice | np.ndarray) -> list[_Part]:
    """The layers that some rows of a ragged axis touch, and which rows of each those are."""
    if isinstance(rows, slice):
        first, last = np.searchsorted(ends, (rows.start, rows.stop - 1), "right").tolist()
        found = []
        for layer in range(first, last + 1):
            begin = int(ends[layer - 1]) if layer else 0
            low, high = max(rows.start, begin), min(rows.stop, int(ends[layer]))
            if low < high:
                target = slice(low - rows.start, high - rows.start)
                found.append(_Part(layer, target, slice(low - begin, high - begin)))
        return found
    owners = np.searchsorted(ends, rows, "right")
    found = []
    for layer in np.unique(owners).tolist():
        wanted = np.flatnonzero(owners == layer)
        begin = int(ends[layer - 1]) if layer else 0
        local = _axis(rows[wanted] - begin, int(ends[layer]) - begin)
        found.append(_Part(layer, _axis(wanted, len(rows)), local))
    return found


def _ends(layers: Sequence[Layer]) -> np.ndarray:
    """Where each layer's outputs end on the ragged axis."""
    return np.cumsum([layer.outputs for layer in layers])


class _Tensors(_Lazy):
    """One role of several layers along a ragged axis, or of one layer in its own shape."""

    def __init__(
        self, axis: Axis, leading: tuple[int, ...], layers: Sequence[Layer], role: str, *, ragged: bool
    ) -> None:
        self.axis, self.leading = axis, len(leading)
        self.keys = [layer.key(role) if role in layer.roles else None for layer in layers]
        self.bounds = _ends(layers) if ragged else np.array(layers[0].shape_of(role)[:1])
        self.shape = (*leading, *((int(self.bounds[-1]),) if ragged else layers[0].shape_of(role)))
        double = any(run.is_double(key) for run in axis.runs for key in self.keys if key)
        self.dtype = np.dtype(np.float64 if double else np.float32)

    def _fill(
        self, run: Run, epoch: int | None, parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        """Read the rows asked for of every layer that they touch, and nothing else."""
        inner = self.shape[self.leading + 1 :]
        complete = all(k == slice(0, n) if isinstance(k, slice) else False for k, n in zip(rest, inner, strict=True))
        for layer, target, rows in parts:
            key = self.keys[layer]
            if key is None or run.is_complex(key):
                out[target] = np.nan
                continue
            start, stop = (rows.start, rows.stop) if isinstance(rows, slice) else (int(rows.min()), int(rows.max()) + 1)
            end = int(self.bounds[layer])
            last = None if start == 0 and stop == end - (int(self.bounds[layer - 1]) if layer else 0) else stop
            if complete and isinstance(rows, slice) and isinstance(target, slice):
                if run.read(key, epoch, start, last, out[target]) is None:
                    out[target] = np.nan
                continue
            values = run.read(key, epoch, start, last)
            if values is None:
                out[target] = np.nan
            elif values.shape[1:] != inner:
                raise BadStore(f"{run.path}: epoch {epoch}: {key} has shape {values.shape}, which is not its layer's")
            else:
                if not isinstance(rows, slice):
                    values = np.take(values, rows - start, 0)
                out[target] = _take(values, rest)


def _take(values: np.ndarray, rest: list[slice | np.ndarray]) -> np.ndarray:
    """Outer indexing of the axes after the first."""
    for axis, chosen in enumerate(rest, start=1):
        values = values[(slice(None),) * axis + (chosen,)]
    return values


class RunTensor(_Tensors):
    """(run, epoch, …): a role as it was after each epoch."""

    def __init__(self, axis: Axis, layers: Sequence[Layer], role: str, *, ragged: bool = False) -> None:
        super().__init__(axis, (len(axis.runs), len(axis.epochs)), layers, role, ragged=ragged)

    def _cell(
        self, place: tuple[int, ...], parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        i, j = place
        epoch = self.axis.epochs[j]
        if epoch in self.axis.saved[i]:
            self._fill(self.axis.runs[i], epoch, parts, rest, out)
        else:
            out[...] = np.nan


class PretrainedTensor(_Tensors):
    """(run, …): a role as the source gave it; NaN for what started at random."""

    def __init__(self, axis: Axis, layers: Sequence[Layer], role: str, *, ragged: bool = False) -> None:
        super().__init__(axis, (len(axis.runs),), layers, role, ragged=ragged)

    def _cell(
        self, place: tuple[int, ...], parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        self._fill(self.axis.runs[place[0]], None, parts, rest, out)


class LayerMoment(_Lazy):
    """(run, epoch, layer): mean or standard deviation of a layer's weights."""

    per_filter = False

    def __init__(self, axis: Axis, layers: Sequence[Layer], moment: str) -> None:
        self.axis, self.layers, self.moment, self.leading = axis, tuple(layers), moment, 2
        self.bounds = _ends(layers) if self.per_filter else np.arange(1, len(self.layers) + 1)
        self.shape = (len(axis.runs), len(axis.epochs), int(self.bounds[-1]))
        self.dtype = np.dtype(np.float64)

    def _cell(
        self, place: tuple[int, ...], parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        i, j = place
        run, epoch = self.axis.runs[i], self.axis.epochs[j]
        saved = epoch in self.axis.saved[i]
        for number, target, rows in parts:
            layer = self.layers[number]
            key = layer.key("weight")
            location = run.find(key, epoch) if saved and not run.is_complex(key) else None
            if location is None:
                out[target] = np.nan
                continue
            both = _moments(location, layer if self.per_filter else None, *fingerprint(location.path))
            out[target] = getattr(both, self.moment)[rows]


class FilterMoment(LayerMoment):
    """(run, epoch, filter): mean or standard deviation of each filter's weights."""

    per_filter = True


class RunLogits(_Lazy):
    """(run, epoch, image, class): what each epoch's network gives images; NaN where that is not kept."""

    def __init__(self, axis: Axis, places: Sequence[Mapping[str, np.ndarray]], images: int, classes: int) -> None:
        """places: of each run, part -> where on the image axis its images are."""
        self.axis, self.places, self.leading = axis, places, 2
        self.bounds = np.array([images])
        self.shape = (len(axis.runs), len(axis.epochs), images, classes)
        self.dtype = np.dtype(np.float32)

    def _cell(
        self, place: tuple[int, ...], parts: list[_Part], rest: list[slice | np.ndarray], out: np.ndarray
    ) -> None:
        i, j = place
        whole = np.full(self.shape[2:], np.nan, self.dtype)
        for part, images in self.places[i].items():
            found = predictions.of_run(self.axis.runs[i], self.axis.epochs[j], part)
            if found is not None:
                whole[images] = found.logits
        for _, target, rows in parts:
            out[target] = _take(whole[rows], rest)


@lru_cache(maxsize=4096)
def _moments(location: TensorLocation, filters_of: Layer | None, *fingerprint: int) -> numerics.Moments:
    """Cached, because a frozen layer is one file for every epoch. A store made anew in its place is another file."""
    values = read_tensor_at(location)
    return numerics.moments(values.reshape(1, -1) if filters_of is None else filters_of.filters(values))
