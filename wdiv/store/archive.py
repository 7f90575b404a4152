"""Where the tensors of somebody's checkpoint lie in its files, so that they can be read in place, one by one.

A ``.safetensors`` file says so in its header. PyTorch's zip files keep each storage uncompressed at a place that
``torch.load`` tells when it loads tensors without their data; its older files end with one storage after the other.
Where neither can be followed, tensors are marked :data:`~wdiv.store.imported.WHOLE`: to be read with all their file.
"""

from __future__ import annotations

import math
import pickletools
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadStore, BadWeights
from wdiv.store import tensors
from wdiv.store.foreign import (
    check_names,
    find_checkpoint,
    peel,
    prefix_of,
    read_state_dict,
    read_torch,
    refuse_bomb,
    shards,
)
from wdiv.store.imported import WHOLE, File
from wdiv.store.records import Related, place, records, relate
from wdiv.store.tensors import DTYPES, Entry, span

__all__ = ["Contents", "contents", "look"]


@dataclass(frozen=True)
class Contents:
    """A checkpoint that was looked at and not read.

    files    those it is in;  entries: name without wrappers -> (number of its file, where it lies there)
    prefix   what was peeled off every name
    """

    files: tuple[File, ...]
    entries: Mapping[str, tuple[int, Entry]]
    prefix: str = ""

    @property
    def whole(self) -> bool:
        """True if some tensor can only be read with all its file."""
        return any(entry.offset == WHOLE for _, entry in self.entries.values())


def look(path: Path) -> File:
    """A file as it is now."""
    stat = path.stat()
    return File(path.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def contents(path: str | Path) -> Contents:
    """Look into a checkpoint without reading its tensors (an old PyTorch file is read once, to find them).

    Raises :class:`~wdiv.errors.BadWeights`, for all that :func:`~wdiv.store.foreign.open_checkpoint` refuses.
    """
    path = find_checkpoint(path)
    if path.name.lower().endswith((".safetensors", ".safetensors.index.json")):
        return _of_safetensors(path)
    file = look(path)
    with path.open("rb") as handle:
        zipped = handle.read(4) == b"PK\x03\x04"
    return _of_zip(path, file) if zipped else _of_torch(path, file, *_of_legacy(path))


def _of_torch(path: Path, file: File, loaded: Any, offsets: Offsets | None) -> Contents:
    state, peeled = peel(loaded)
    check_names(path, state)
    entries = {key: _entry(path, key, value, offsets, file.size) for key, value in state.items()}
    if any(entry is None for entry in entries.values()):
        arrays, peeled = read_state_dict(path)  # which refuses what is no plain tensor
        entries = {key: entries.get(key) or Entry("", array.shape, WHOLE) for key, array in arrays.items()}
    return Contents((file,), {key: (0, entry) for key, entry in entries.items() if entry}, prefix_of(peeled))


def _of_safetensors(path: Path) -> Contents:
    where = shards(path)
    parts = list(dict.fromkeys(where.values()))
    files = tuple(look(part) for part in parts)
    try:
        indices = {part: tensors.index(part) for part in parts}
    except BadStore as error:
        raise BadWeights(str(error)) from None
    number = {part: place for place, part in enumerate(parts)}
    state, peeled = peel({key: _Found(number[part], indices[part][key]) for key, part in where.items()})
    check_names(path, state)
    unknown = next((key for key, found in state.items() if found.dtype not in DTYPES), None)
    if unknown is not None:
        raise BadWeights(f"{path}: tensor {unknown!r} holds numbers of type {state[unknown].dtype}")
    return Contents(files, {key: (found.file, found.entry) for key, found in state.items()}, prefix_of(peeled))


@dataclass(frozen=True)
class _Found:
    """What :func:`~wdiv.store.foreign.peel` takes for a tensor."""

    file: int
    entry: Entry

    @property
    def shape(self) -> tuple[int, ...]:
        return self.entry.shape

    @property
    def dtype(self) -> str:
        return self.entry.dtype


# --------------------------------------------------------------------------------------------------------------
# PyTorch's files


Offsets = Mapping[int, int]
"""Identity of a storage in memory -> where its bytes begin in the file."""


def _of_zip(path: Path, file: File) -> Contents:
    found = records(path)
    if found is None:
        return _of_torch(path, file, read_torch(path), {})  # which says what is wrong
    refuse_bomb(path)
    if found.packed:
        raise BadWeights(f"{path}: refused, its records are compressed, and PyTorch never does that")
    if not found.little:
        return _of_torch(path, file, read_torch(path), {})
    same = _pickles.get(found.digest)
    entries = place(same[0], found) if same is not None else None
    if same is not None and entries is not None:
        return Contents((file,), {key: (0, entry) for key, entry in entries.items()}, same[1])
    seen = _of_torch(path, file, *_load_fake(path))
    if not seen.whole:
        related = relate({key: entry for key, (_, entry) in seen.entries.items()}, found)
        if related is not None:
            while len(_pickles) >= 8:
                _pickles.pop(next(iter(_pickles)), None)
            _pickles[found.digest] = related, seen.prefix
    return seen


_pickles: dict[bytes, tuple[Related, str]] = {}
"""What the last few pickles told, by digest, and the prefix that was peeled off."""


def _load_fake(path: Path) -> tuple[Any, Offsets | None]:
    """The file's content with tensors that have no data; None for the places: each storage knows its own."""
    try:
        return read_torch(path, fake=True), None
    except BadWeights:
        return read_torch(path), {}  # and where that fails too, it says why


def _of_legacy(path: Path) -> tuple[Any, Offsets]:
    loaded = read_torch(path)
    return loaded, _walk(path, {_address(s): (s, width) for s, width in _storages(loaded)})


def _address(storage: Any) -> int:
    return int(storage._cdata)


def _storages(loaded: Any) -> Iterator[tuple[Any, int]]:
    """Each storage of the plain tensors within, and how many bytes one of its numbers has."""
    import torch

    seen: set[int] = set()
    left = [loaded]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, torch.Tensor):
            if item.layout == torch.strided and item.device.type == "cpu" and not item.is_quantized:
                yield item.untyped_storage(), item.element_size()
        elif isinstance(item, Mapping):
            left += item.values()
        elif isinstance(item, (list, tuple, set)):
            left += item


def _walk(path: Path, storages: Mapping[int, tuple[Any, int]]) -> Offsets:
    """Where each storage lies in an old file: after five pickles, (int64 count, data) of one after the other.

    A storage is known by its count and its bytes; of equal ones any will do. Empty if the file cannot be followed.
    """
    import torch

    waiting: dict[int, list[tuple[int, np.ndarray]]] = {}
    for address, (storage, width) in storages.items():
        data = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        waiting.setdefault(data.size // width, []).append((address, data))
    found: dict[int, int] = {}
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            for _ in range(5):
                for _ in pickletools.genops(file):  # names the operations of a pickle and executes none
                    pass
        except Exception:  # no pickle there
            return {}
        place = file.tell()
        while place < size:
            file.seek(place)
            head = file.read(8)
            if len(head) < 8:
                return {}
            (count,) = struct.unpack("<q", head)
            place += 8
            for candidate, (address, data) in enumerate(waiting.get(count, ())):
                file.seek(place)
                if file.read(data.size) == data.tobytes():
                    found[address] = place
                    place += data.size
                    del waiting[count][candidate]
                    break
            else:
                return {}
    return {} if any(waiting.values()) else found


def _entry(path: Path, key: str, value: Any, offsets: Offsets | None, size: int) -> Entry | None:
    """Where a tensor lies; None where that is not known, or it is no plain tensor."""
    word = _word(value)
    if word is None or value.is_nested or str(value.layout) != "torch.strided" or value.is_conj() or value.is_neg():
        return None
    width = DTYPES[word].itemsize
    shape, strides = tuple(value.shape), tuple(value.stride())
    if math.prod(shape) * width > size:
        raise BadWeights(f"{path}: tensor {key!r}: refused, it claims shape {shape} and the file has {size} bytes")
    storage = value.untyped_storage()
    begin = getattr(storage, "_checkpoint_offset", None) if offsets is None else offsets.get(_address(storage))
    if begin is None:
        return None
    offset = int(begin) + int(value.storage_offset()) * width
    if offset < 0 or min(strides, default=0) < 0 or offset + span(shape, strides) * width > size:
        raise BadWeights(f"{path}: tensor {key!r}: refused, it lies outside the file's {size} bytes")
    return Entry(word, shape, offset, None if value.is_contiguous() else strides)


def _word(value: Any) -> str | None:
    """A tensor's type of numbers in safetensors' words."""
    import torch

    words = {
        torch.bool: "BOOL", torch.bfloat16: "BF16", torch.complex64: "C64", torch.complex128: "C128",
        torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.uint8: "U8",
        **{getattr(torch, f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
        **{getattr(torch, f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    }  # fmt: skip
    return words.get(getattr(value, "dtype", None))
