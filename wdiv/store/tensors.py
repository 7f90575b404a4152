"""Reading tensors: the one door through which every weight of a store enters, so that reads can be counted.

A file is opened, the bytes asked for are read from their place, and it is closed again: nothing is mapped into
memory and no handle is kept. What is kept is where the tensors of a file lie, once for all files with one header.

Of a file of the store that has a :class:`Proof`, a tensor is hashed when it is read for the first time, and not again
as long as the file is the same. What was not asked for is not read for that.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from wdiv.errors import BadStore, Damaged
from wdiv.store.files import sha256
from wdiv.store.kept import fingerprint_of
from wdiv.store.seals import fast_digest, file_digest

__all__ = ["DTYPES", "Entry", "Known", "Proof", "check_unchanged", "index", "keys", "read", "span", "tensor_digest"]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"{sign}{bits}": np.dtype(f"<{sign.lower()}{bits // 8}") for sign in "IU" for bits in (8, 16, 32, 64)},
    **{f"F{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"C{bits}": np.dtype(f"<c{bits // 8}") for bits in (64, 128)},
    "BF16": np.dtype("<u2"),  # shifted to float32
    **{f"F8_{kind}": np.dtype(np.uint8) for kind in ("E4M3", "E5M2")},  # converted to float32 by torch
}
"""safetensors' word for a type of number -> how it lies in a file."""

_NARROW = frozenset({"BF16", "F8_E4M3", "F8_E5M2"})
_FILES, _HEADERS = 8192, 1024
_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where one tensor lies in its file.

    dtype    in safetensors' words, ``F32``
    offset   of its first byte
    strides  in elements; None where it is contiguous
    """

    dtype: str
    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...] | None = None


class Known(NamedTuple):
    """A tensor of a file that is no safetensors file of the store: where it lies, and which file was looked at.

    ctime_ns, digest  of the file, where they are known: one that was moved, or touched, is hashed before it is believed
    """

    entry: Entry
    size: int
    mtime_ns: int
    ctime_ns: int = 0
    digest: str = ""

    def check(self, path: Path, stat: os.stat_result) -> None:
        """Raise :class:`~wdiv.errors.Damaged` unless it is the file that was looked at."""
        check_unchanged(path, stat, *self[1:])


def check_unchanged(
    path: Path, stat: os.stat_result, size: int, mtime_ns: int, ctime_ns: int = 0, digest: str = ""
) -> None:
    """Raise :class:`~wdiv.errors.Damaged` unless somebody's file is what it was, by what :class:`Known` knows of it."""
    same = stat.st_size == size and stat.st_mtime_ns == mtime_ns
    if same and digest and stat.st_ctime_ns != ctime_ns:
        now = os.fspath(path), fingerprint_of(stat), stat.st_ctime_ns
        if _hashed.get(now) is None:
            _remember(_hashed, now, file_digest(path), _FILES)
        same = _hashed[now] == digest
    if not same:
        raise Damaged(path, "changed since it was imported; import it again")


class Proof(NamedTuple):
    """What a tensor of a store's file is held to: its :func:`~wdiv.store.seals.fast_digest`; or its
    :func:`tensor_digest`, as predictions are; or else, in a store of before there were any, the SHA-256 of the whole
    file."""

    digest: bytes | None = None
    sha256: str | None = None
    tensor: str | None = None


@dataclass(frozen=True, slots=True)
class _File:
    """What was found in a file. proven: the proofs that have held, a tensor's with its name."""

    fingerprint: tuple[int, ...]
    entries: Mapping[str, Entry]
    proven: set[str | tuple[str, bytes | str]] = field(default_factory=set)


_files: dict[str, _File] = {}  # path -> what was there when it was last looked at; the oldest go first
_headers: dict[tuple[bytes, int], Mapping[str, Entry]] = {}  # one for all epochs of a run: their headers are equal
_hashed: dict[tuple[str, tuple[int, ...], int], str] = {}  # files of others, and their digests
_lock = threading.Lock()


def index(path: Path) -> Mapping[str, Entry]:
    """Name -> where the tensor lies, of a safetensors file; reads its header only.

    Raises :class:`~wdiv.errors.BadStore` for what safetensors does not take for one of its files.
    """
    handle = _open(path)
    try:
        return _look(path, handle).entries
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(handle)


def keys(path: Path) -> tuple[str, ...]:
    """The names of the tensors in a safetensors file; reads its header only."""
    return tuple(index(path))


def read(
    path: Path,
    key: str,
    start: int = 0,
    stop: int | None = None,
    known: Known | None = None,
    out: np.ndarray | None = None,
    proof: Proof | None = None,
) -> np.ndarray:
    """One tensor of a file, or rows ``start:stop`` of its first axis; no more than their bytes are read, but where the
    tensor has to be proven first.

    known  where the tensor lies, if that is not for the file's own header to say
    out    an array of the result's shape to fill; it is returned
    proof  what the tensor is held to, in a file whose own header says where it lies

    float16, float32, float64, integers and booleans come as they are stored; bfloat16 and float8 as float32. May be
    called from several threads. Raises :class:`~wdiv.errors.BadStore`, :class:`~wdiv.errors.Damaged` among them.
    """
    try:
        return _read(path, key, start, stop, known, out, proof)
    except BadStore as error:
        if (proof is None and known is None) or isinstance(error, Damaged):
            raise
        raise Damaged(path, str(error).removeprefix(f"{path}: ")) from None


def _read(
    path: Path, key: str, start: int, stop: int | None, known: Known | None, out: np.ndarray | None, proof: Proof | None
) -> np.ndarray:
    handle = _open(path)
    try:
        if known is None:
            file = _look(path, handle)
            entry = file.entries.get(key)
            if entry is None:
                raise BadStore(f"{path}: no tensor {key!r} in it")
        else:
            file, entry = None, known.entry
            known.check(path, os.fstat(handle))
        dtype = DTYPES.get(entry.dtype)
        if dtype is None:
            raise BadStore(f"{path}: tensor {key!r} holds numbers of type {entry.dtype}, which NumPy and PyTorch lack")
        shape, offset = entry.shape, entry.offset
        if start or stop is not None:
            first, last, _ = slice(start, stop).indices(shape[0])
            shape = (max(last - first, 0), *shape[1:])
            step = math.prod(shape[1:]) if entry.strides is None else entry.strides[0]
            offset += first * step * dtype.itemsize
        if out is not None and out.shape != shape:
            raise BadStore(f"{path}: tensor {key!r} has shape {entry.shape}, which is not its layer's")
        as_stored = entry.dtype not in _NARROW and (out is None or out.dtype == dtype)
        at_once = shape == entry.shape and as_stored  # what is read is what is to be proven
        if file is not None and proof is not None and not at_once:
            _prove(path, handle, file, key, entry, proof)
        array = _fetch(path, handle, entry, dtype, shape, offset, out)
        if file is not None and proof is not None and at_once:
            _prove(path, handle, file, key, entry, proof, array)
        return array
    except OSError as error:
        raise _unreadable(path, error) from None
    finally:
        os.close(handle)


def _prove(
    path: Path, handle: int, file: _File, key: str, entry: Entry, proof: Proof, raw: np.ndarray | None = None
) -> None:
    """Raise :class:`~wdiv.errors.Damaged` unless a tensor is what its proof says; what held is not hashed again.

    raw: the tensor as it lies in the file, where it is at hand
    """
    own = proof.digest or proof.tensor
    token = proof.sha256 or "" if own is None else (key, own)
    if token in file.proven:
        return
    if own is None:
        holds = sha256(path) == proof.sha256
    elif entry.dtype in DTYPES:
        if raw is None:
            raw = np.empty(entry.shape, DTYPES[entry.dtype])
            _fill(path, handle, raw, entry.offset)
        holds = own == (tensor_digest(raw) if proof.digest is None else fast_digest(raw))
    else:
        holds = False
    if not holds:
        raise Damaged(path, f"{key!r} is not what was written")
    file.proven.add(token)


def _open(path: Path) -> int:
    try:
        return os.open(path, _OPEN)
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> BadStore:
    return BadStore(f"{path}: cannot be read ({error.strerror or error})")


def _fetch(
    path: Path,
    handle: int,
    entry: Entry,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    offset: int,
    out: np.ndarray | None,
) -> np.ndarray:
    narrow = entry.dtype in _NARROW
    if entry.strides is None and out is not None and out.dtype == dtype and not narrow and out.flags.c_contiguous:
        _fill(path, handle, out, offset)
        return out
    if entry.strides is None:
        array = np.empty(shape, dtype)
        _fill(path, handle, array, offset)
    else:
        flat = np.empty(span(shape, entry.strides), dtype)
        _fill(path, handle, flat, offset)
        array = np.empty(shape, dtype)
        array[...] = np.lib.stride_tricks.as_strided(flat, shape, [step * dtype.itemsize for step in entry.strides])
    if narrow:
        array = _widen(path, array, entry.dtype)
    if out is None:
        return array
    out[...] = array
    return out


def span(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """How many elements lie between a strided tensor's first and its last, both counted.

    >>> span((2, 3), (1, 2)), span((2, 2), (10, 1)), span((0, 3), (3, 1))
    (6, 12, 0)
    """
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))


def _preadv(handle: int, buffers: list[Any], offset: int) -> int:
    """``os.preadv`` where the system has none. The handle is the caller's own: nobody else moves in it."""
    os.lseek(handle, offset, os.SEEK_SET)
    found = os.read(handle, len(buffers[0]))
    memoryview(buffers[0])[: len(found)] = found
    return len(found)


_pread: Callable[[int, list[Any], int], int] = getattr(os, "preadv", _preadv)


def _fill(path: Path, handle: int, array: np.ndarray, offset: int) -> None:
    """Read a contiguous array's bytes; a call may give fewer than asked for, and none at the end of the file."""
    rest = array.reshape(-1).view(np.uint8)
    while rest.size:
        found = _pread(handle, [rest], offset)
        if not found:
            raise BadStore(f"{path}: truncated, {rest.size} bytes are missing at its end")
        rest, offset = rest[found:], offset + found


def _widen(path: Path, array: np.ndarray, dtype: str) -> np.ndarray:
    """To float32, which holds every bfloat16 and float8."""
    if dtype == "BF16":
        bits = array.astype(np.uint32)
        bits <<= np.uint32(16)  # of one number, NumPy 1 would make a plain 16 the result's type
        return bits.view(np.float32)
    try:
        import torch

        kind = torch.float8_e4m3fn if dtype == "F8_E4M3" else torch.float8_e5m2
    except ImportError:
        raise BadStore(f"{path}: holds numbers of type {dtype}, which are read with PyTorch only") from None
    wide: np.ndarray = torch.from_numpy(array).view(kind).float().numpy()
    return wide


def _look(path: Path, handle: int) -> _File:
    stat = os.fstat(handle)
    known = _files.get(os.fspath(path))
    if known is not None and known.fingerprint == fingerprint_of(stat):
        return known
    header = _header(handle, stat.st_size)
    digest = hashlib.sha256(header).digest(), stat.st_size
    entries = _headers.get(digest)
    if entries is None:
        entries = _parse(path, header, stat.st_size)
    found = _File(fingerprint_of(stat), entries)
    with _lock:
        _remember(_headers, digest, entries, _HEADERS)
        _remember(_files, os.fspath(path), found, _FILES)
    return found


def _remember(kept: dict[Any, Any], key: Any, value: Any, limit: int) -> None:
    kept.pop(key, None)
    while len(kept) >= limit:
        del kept[next(iter(kept))]
    kept[key] = value


def _header(handle: int, size: int) -> bytes:
    """The bytes of a header; empty where a file is too short for what it says of itself."""
    length = bytearray(8)
    if _pread(handle, [length], 0) != 8:
        return b""
    (told,) = struct.unpack("<Q", length)
    if told > size - 8:
        return b""
    header = bytearray(told)
    return bytes(header) if not told or _pread(handle, [header], 8) == told else b""


def _parse(path: Path, header: bytes, size: int) -> Mapping[str, Entry]:
    """What safetensors takes for one of its files is one; where the tensors lie stands in the header it accepted."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as accepted:
            names = tuple(accepted.keys())
        told = json.loads(header)
        start = 8 + len(header)
        entries = {}
        for name in names:
            begin, end = told[name]["data_offsets"]
            entries[name] = Entry(told[name]["dtype"], tuple(told[name]["shape"]), start + begin)
            if start + end > size:
                raise ValueError(f"{name!r} ends after the file")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadStore(f"{path}: not a readable safetensors file ({error})") from None
    return MappingProxyType(entries)


def tensor_digest(array: np.ndarray) -> str:
    """SHA-256 of a tensor's type, shape and bytes: equal exactly for bit-identical tensors.

    >>> a = np.zeros(3, np.float32)
    >>> tensor_digest(a) == tensor_digest(a.copy()), tensor_digest(a) == tensor_digest(-a)
    (True, False)
    """
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
