"""A notebook run from top to bottom, in a kernel of the interpreter that runs the tests."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import nbformat

__all__ = ["executed"]

SECONDS = 300
"""For a cell, so that a kernel that hangs ends a test and not the patience of who waits for it."""


def executed(path: Path) -> Any:
    """The notebook with its outputs. Raises nbclient's ``CellExecutionError`` with the traceback of the cell."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"jupyter_core|jupyter_client|nbclient")
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager
        from nbclient import NotebookClient

        specs = KernelSpecManager(kernel_dirs=[])  # none that somebody installed: ipykernel's own, of this interpreter
        kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=specs)
        notebook = nbformat.read(path, as_version=4)
        where = {"metadata": {"path": str(path.parent)}}  # as Jupyter starts it
        client = NotebookClient(notebook, km=kernel, timeout=SECONDS, startup_timeout=SECONDS, resources=where)
        return client.execute(cleanup_kc=True)  # a kernel that is given is not ended otherwise
