"""What computes, and what it draws at random."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wdiv.errors import BadInput

if TYPE_CHECKING:
    import torch

__all__ = ["choose_device", "fork_rng"]


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu`` or ``cuda``."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise BadInput(f"device: auto, cpu or cuda, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInput("device cuda: PyTorch finds no CUDA device here; use --device cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


@contextmanager
def fork_rng(device: torch.device) -> Iterator[None]:
    """PyTorch's generators, which training seeds in every step, are afterwards as they were.

    >>> import torch
    >>> before = torch.get_rng_state()
    >>> with fork_rng(torch.device("cpu")):
    ...     _ = torch.manual_seed(5)
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    import torch

    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
        yield
