"""Reading a run that somebody else trained. Its epochs stay where they are; ``foreign.json`` says what lies where.

``foreign.json`` of a run's folder::

    layouts  [{key: [file number, name in the file, dtype, shape, strides or null]}]   what epochs have in common
    offsets  [[offset of each tensor of a layout, in its order]]         -1 where only the whole file can be read
    epochs   [{"epoch", "layout", "offsets", "files": [[absolute path, size, mtime_ns, ctime_ns, digest]]}]
    base     the same of the starting weights, or null
    folder, pattern, matched, notes                                      how they were found, in words

Nothing here writes, and only what cannot be read in place (see :mod:`wdiv.store.archive`) needs PyTorch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from wdiv.errors import BadStore, Damaged
from wdiv.store import seals, tensors
from wdiv.store.seals import read_sealed
from wdiv.store.tensors import Entry, Known, Proof

__all__ = ["FORMAT", "NAME", "WHOLE", "File", "Imported", "TensorLocation", "ImportedEpoch", "read", "read_tensor_at"]

NAME = "foreign.json"
FORMAT = 2
WHOLE = -1
"""The offset of a tensor whose place in its file is not known."""

DOUBLE = "F64"
"""What safetensors, and so ``foreign.json``, calls float64."""
COMPLEX = ("C64", "C128")
"""And complex numbers."""

HELD = 1 << 29
"""Bytes of files that can only be read whole which are held at once (512 MiB); at least one file is."""


class TensorLocation(NamedTuple):
    """Where one tensor lies, and its name there. known: None for a file of the store, whose own header tells; what that
    is held to is ``proof``."""

    path: Path
    key: str
    known: Known | None = None
    proof: Proof | None = None


class File(NamedTuple):
    """Somebody's file as it was when it was imported. digest: of its content; empty if it was imported before wdiv
    took one."""

    path: Path
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    digest: str = ""


class Row(NamedTuple):
    """A tensor of a layout: its number in it, its file's number, its name there, type, shape and strides."""

    place: int
    file: int
    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None


@dataclass(frozen=True)
class ImportedEpoch:
    """One epoch, or the starting weights: the files it is in, and where each tensor lies."""

    files: tuple[File, ...]
    layout: Mapping[str, Row]
    offsets: tuple[int, ...]

    def location(self, key: str) -> TensorLocation | None:
        """None where it has no such tensor."""
        found = self.layout.get(key)
        if found is None:
            return None
        place, number, name, dtype, shape, strides = found
        path, size, mtime, ctime, digest = self.files[number]
        entry = Entry(dtype, shape, self.offsets[place], strides)
        return TensorLocation(path, name, Known(entry, size, mtime, ctime, digest))

    @property
    def fingerprint(self) -> str:
        """Digest of what its files hold, and of what was taken from where in them."""
        if all(file.digest for file in self.files):
            return seals.digest(repr(([file.digest for file in self.files], dict(self.layout), self.offsets)).encode())
        return f"{sum(file.size for file in self.files)}-{max(file.mtime_ns for file in self.files)}"


@dataclass(frozen=True)
class Imported:
    """What ``foreign.json`` says."""

    epochs: Mapping[int, ImportedEpoch]
    base: ImportedEpoch | None
    data: Mapping[str, Any]

    @cached_property
    def doubles(self) -> frozenset[str]:
        """Tensors that some epoch, or the base, keeps in float64."""
        return self._kept_as(DOUBLE)

    @cached_property
    def complexes(self) -> frozenset[str]:
        """Tensors that some epoch, or the base, keeps as complex numbers."""
        return self._kept_as(*COMPLEX)

    def _kept_as(self, *types: str) -> frozenset[str]:
        states = [*self.epochs.values(), *([self.base] if self.base else [])]
        layouts = {id(state.layout): state.layout for state in states}.values()
        return frozenset(key for layout in layouts for key, row in layout.items() if row.dtype in types)

    def check(self) -> None:
        """Raise :class:`~wdiv.errors.Damaged` for a file that is another one now. What is not there says nothing else
        than it did."""
        for state in (*self.epochs.values(), *([self.base] if self.base else [])):
            for file in state.files:
                if file.path.is_file():
                    tensors.check_unchanged(file.path, file.path.stat(), *file[1:])

    @cached_property
    def paths(self) -> frozenset[Path]:
        """The files that it is in."""
        states = [*self.epochs.values(), *([self.base] if self.base else [])]
        return frozenset(file.path for state in states for file in state.files)

    def history(self) -> list[dict[str, Any]]:
        """A row for each epoch, as a run of wdiv has one, of which nothing but the files is known."""
        nothing = dict.fromkeys(("train_loss", "train_accuracy", "test_accuracy", "seconds"))
        return [{"epoch": n, **nothing, "lr": {}, "identity": state.fingerprint} for n, state in self.epochs.items()]


def read(file: Path) -> Imported:
    """What the file says. Raises :class:`~wdiv.errors.BadStore`."""
    data = read_sealed(file, FORMAT)
    try:
        layouts = [
            {
                key: Row(place, number, name, dtype, tuple(shape), None if strides is None else tuple(strides))
                for place, (key, (number, name, dtype, shape, strides)) in enumerate(layout.items())
            }
            for layout in data["layouts"]
        ]
        offsets = [tuple(row) for row in data["offsets"]]

        def state(row: Mapping[str, Any]) -> ImportedEpoch:
            files = tuple(File(Path(path), *told) for path, *told in row["files"])
            return ImportedEpoch(files, layouts[row["layout"]], offsets[row["offsets"]])

        epochs = {int(row["epoch"]): state(row) for row in data["epochs"]}
        base = state(data["base"]) if data["base"] is not None else None
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Damaged(file, repr(error)) from None
    return Imported(dict(sorted(epochs.items())), base, data)


def read_tensor_at(
    location: TensorLocation, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """The tensor at a spot, or rows ``start:stop`` of it; see :func:`wdiv.store.tensors.read`."""
    path, key, known, proof = location
    if known is None or known.entry.offset != WHOLE:
        return tensors.read(path, key, start, stop, known, out, proof)
    array = _WHOLE_FILES.read(location)[start:stop] if start or stop is not None else _WHOLE_FILES.read(location)
    if out is None:
        return array
    if out.shape != array.shape:
        raise BadStore(f"{path}: tensor {key!r} has shape {known.entry.shape}, which is not its layer's")
    out[...] = array
    return out


class _WholeFiles:
    """Files of which no tensor can be read by itself, the last used held in memory up to :data:`HELD` bytes."""

    def __init__(self) -> None:
        self._held: dict[tuple[Path, int, int], Mapping[str, np.ndarray]] = {}
        self._lock = threading.Lock()

    def read(self, location: TensorLocation) -> np.ndarray:
        from wdiv.store.foreign import read_state_dict

        assert location.known is not None
        file = (location.path, location.known.size, location.known.mtime_ns)
        with self._lock:
            try:
                location.known.check(location.path, location.path.stat())
            except FileNotFoundError:
                raise Damaged(location.path, "no such file") from None
            state = self._held.pop(file, None)
            if state is None:
                state, _ = read_state_dict(location.path)
            self._held[file] = state
            while len(self._held) > 1 and sum(s for _, s, _ in self._held) > HELD:
                del self._held[next(iter(self._held))]
        try:
            return state[location.key]
        except KeyError:
            raise BadStore(f"{location.path}: no tensor {location.key!r} in it") from None


_WHOLE_FILES = _WholeFiles()
