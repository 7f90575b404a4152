"""Reading tensors: the one door through which every weight of a store enters, so that reads can be counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wdiv.errors import BadStore

__all__ = ["keys", "read", "shapes", "tensor_digest"]


def _open(path: Path):  # type: ignore[no-untyped-def]
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise BadStore(f"{path}: not a readable safetensors file ({error})") from None


def keys(path: Path) -> tuple[str, ...]:
    """The names of the tensors in a safetensors file; reads its header only."""
    with _open(path) as file:
        return tuple(file.keys())


def shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """Name -> shape for a safetensors file; reads its header only."""
    with _open(path) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - no mapping


def read(path: Path, key: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    """One tensor of a safetensors file, or rows ``start:stop`` of its first axis."""
    with _open(path) as file:
        whole = start == 0 and stop is None
        return file.get_tensor(key) if whole else file.get_slice(key)[start:stop]


def tensor_digest(array: np.ndarray) -> str:
    """SHA-256 of a tensor's type, shape and bytes: equal exactly for bit-identical tensors.

    >>> a = np.zeros(3, np.float32)
    >>> tensor_digest(a) == tensor_digest(a.copy()), tensor_digest(a) == tensor_digest(-a)
    (True, False)
    """
    import hashlib

    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
