"""How many bits the arithmetic of a network has while it trains. Weights and optimizers stay in float32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from wdiv.errors import BadInput
from wdiv.registry import Registry

__all__ = ["PRECISIONS", "Precision", "check", "computing"]


@dataclass(frozen=True)
class Precision:
    """autocast  the type that PyTorch casts matrix products and convolutions to; None: no casting
    tf32      whether products of float32 may be taken with the 10 bits of TensorFloat-32, where there is such"""

    name: str
    long_name: str
    autocast: str | None
    tf32: bool


PRECISIONS: Registry[Precision] = Registry(
    "precision",
    [
        Precision("fp32", "float32 throughout", None, False),
        Precision("tf32", "products of float32 with TensorFloat-32's 10 bits, on a GPU that has it", None, True),
        Precision("bf16", "products and convolutions in bfloat16, sums and weights in float32", "bfloat16", False),
    ],
)


def check(name: str, device: str) -> None:
    """Raise :class:`~wdiv.errors.BadInput` for a precision that the device has not."""
    import torch

    if name == "tf32" and device != "cuda":
        raise BadInput("precision tf32: needs a CUDA device; on a CPU choose fp32 or bf16")
    if name == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported():
        raise BadInput("precision bf16: this GPU has none; choose fp32 or tf32")


@contextmanager
def computing(name: str, device: str) -> Iterator[None]:
    """Compute in a precision inside the block; what PyTorch allowed before is allowed again after it.

    >>> import torch
    >>> with computing("bf16", "cpu"):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.bfloat16
    """
    import torch

    chosen = PRECISIONS[name]
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = chosen.tf32
    try:
        dtype = None if chosen.autocast is None else getattr(torch, chosen.autocast)
        with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
