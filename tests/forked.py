"""Processes forked from one that has imported PyTorch, once for all tests: importing takes longer than what they do.

Not from the tests' own, in which PyTorch has had threads: such a fork may hang.
"""

from __future__ import annotations

import multiprocessing
from typing import Any


def forking(method: str = "") -> Any:
    """In place of ``get_context``: the context of such processes; where there is none, as on Windows, of new ones."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wdiv.numerics.kernels", "tests.tuning.tiny", "tests.studies.held"])
    return context
