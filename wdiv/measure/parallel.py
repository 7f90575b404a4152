"""Independent pieces of work on every core: the compiled loops and the reading release the interpreter's lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["each"]

T = TypeVar("T")


def each(work: Callable[[T], object], things: Iterable[T]) -> None:
    """Do ``work`` on every thing, in any order; the first error stops what has not begun and is raised."""
    with ThreadPoolExecutor(
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ) as pool:
        running = [pool.submit(work, thing) for thing in things]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        for one in running:
            if not one.cancelled():
                one.result()
