"""Reading tensors: the one door through which every weight of a store enters, so that reads can be counted."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadStore

__all__ = ["identity", "keys", "read", "tensor_digest"]


def identity(path: Path) -> tuple[int, ...]:
    """What tells a file from another that takes its place; for whoever keeps what was read."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file") from None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _open(path: Path) -> Any:
    return _handle(path, *identity(path))


@lru_cache(maxsize=256)  # parsing a header costs more than reading a BatchNorm vector
def _handle(path: Path, *identity: int) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise BadStore(f"{path}: not a readable safetensors file ({error})") from None


def keys(path: Path) -> tuple[str, ...]:
    """The names of the tensors in a safetensors file; reads its header only."""
    return tuple(_open(path).keys())


def read(path: Path, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    """One tensor of a safetensors file, or rows ``start:stop`` of its first axis."""
    from safetensors import SafetensorError

    file = _open(path)
    whole = start == 0 and stop is None
    try:
        array: np.ndarray = file.get_tensor(key) if whole else file.get_slice(key)[start:stop]
    except SafetensorError as error:
        raise BadStore(f"{path}: {error}") from None
    return array


def tensor_digest(array: np.ndarray) -> str:
    """SHA-256 of a tensor's type, shape and bytes: equal exactly for bit-identical tensors.

    >>> a = np.zeros(3, np.float32)
    >>> tensor_digest(a) == tensor_digest(a.copy()), tensor_digest(a) == tensor_digest(-a)
    (True, False)
    """
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
