"""What was read of a file, kept for as long as no other file takes its place."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from wdiv.errors import BadStore

__all__ = ["KeptFile", "fingerprint", "fingerprint_of"]

T = TypeVar("T")


def fingerprint(path: Path) -> tuple[int, ...]:
    """What tells a file from another that takes its place; :class:`~wdiv.errors.BadStore` where there is none."""
    try:
        return fingerprint_of(path.stat())
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file") from None


def fingerprint_of(stat: os.stat_result) -> tuple[int, ...]:
    """:func:`fingerprint` of a file whose status is at hand."""
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


class KeptFile(Generic[T]):
    """What ``read`` makes of a file, read again only where another file has taken its place."""

    def __init__(self, path: Path, read: Callable[[Path], T]) -> None:
        self._path, self._read = path, read
        self._kept: tuple[tuple[int, ...], T] | None = None

    def get(self) -> T | None:
        """What the file says now; None where there is none."""
        try:
            now = fingerprint_of(self._path.stat())  # before it is read: what is newer is seen the next time
        except FileNotFoundError:
            return None
        if self._kept is None or self._kept[0] != now:
            self._kept = now, self._read(self._path)
        return self._kept[1]
