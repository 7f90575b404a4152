"""Independent pieces of work on every core: the compiled loops and the reading release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["each"]

T = TypeVar("T")


def each(work: Callable[[T], object], things: Iterable[T]) -> None:
    """Do ``work`` on every thing, in any order; the first error stops what has not begun and is raised."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, things))
