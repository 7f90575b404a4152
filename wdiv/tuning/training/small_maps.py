"""Maps too small for bfloat16 on a CPU, where PyTorch leaves gradients unset."""

from __future__ import annotations

from itertools import count, islice
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.store.dataflow import Dataflow
from wdiv.tuning.networks.models import build_skeleton
from wdiv.tuning.training.precision import PRECISIONS
from wdiv.tuning.training.prepared import PreparedNetwork
from wdiv.tuning.training.run_spec import RunSpec

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_maps", "reaches_all"]

STEP, TRIES = 32, 12
"""Sizes that are tried to find one that will do: the next multiples of the stride that most networks have."""


def check_maps(spec: RunSpec, classes: int, device: str) -> None:
    """Raise :class:`~wdiv.errors.BadInput` where a run trains in bfloat16 on a CPU a convolution with a weight that no
    pixel of its maps meets.

    The gradient of such a weight is 0. oneDNN, which PyTorch calls, leaves it as the memory was in some of these cases,
    seen with PyTorch 2.14: 3×3 at stride 2 on maps of 1×1, 7×7 at stride 1 on 2×2. So none of them is trusted.
    """
    if device != "cpu" or PRECISIONS[spec.recipe.precision].autocast is None:
        return
    model = build_skeleton(spec.network, classes)
    network = PreparedNetwork.of(spec, model, classes)
    trained = {key for segment in network.segments for key in network.plan(segment).lrs}
    layers = [x.name for x in network.table.of("conv") if x.key("weight") in trained and not x.transposed]
    found = _too_small(model, layers, spec.inputs.size)
    if found is None:
        return
    name, map_size = found
    sizes = islice(count(spec.inputs.size // STEP + 1), TRIES)
    enough = next((n * STEP for n in sizes if _fits(model, layers, n * STEP)), None)
    larger = "" if enough is None else f"images of {enough} pixels or "
    raise BadInput(
        f"precision bf16: on a CPU maps of {map_size} pixels are too small for {name}, part of whose gradient PyTorch "
        f"leaves unset there; take {larger}precision fp32"
    )


def reaches_all(size: int, kernel: int, stride: int, padding: int, dilation: int) -> bool:
    """True if each of the kernel's places along an axis meets a pixel in some position.

    >>> reaches_all(1, kernel=3, stride=1, padding=1, dilation=1), reaches_all(2, 3, 1, 1, 1)
    (False, True)
    """
    ends = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    starts = [position * stride - padding for position in range(ends)]
    return all(any(0 <= start + place * dilation < size for start in starts) for place in range(kernel))


def _fits(model: nn.Module, layers: list[str], size: int) -> bool:
    try:
        return _too_small(model, layers, size) is None
    except (BadInput, AssertionError):  # torchvision's transformers assert their image size
        return False


def _too_small(model: nn.Module, layers: list[str], size: int) -> tuple[str, str] | None:
    """The first layer with a weight that no pixel meets, and the size of its maps."""
    flow = Dataflow(model, size)
    for name in layers:
        module: Any = model.get_submodule(name)
        axes = flow.shapes(name)[0][2:]
        padding = _padding(module)
        how = zip(axes, module.kernel_size, module.stride, padding, module.dilation, strict=bool(axes))
        if not all(reaches_all(*axis) for axis in how):
            return name, "x".join(map(str, axes))
    return None


def _padding(module: Any) -> tuple[int, ...]:
    if not isinstance(module.padding, str):
        return tuple(module.padding)
    if module.padding == "valid":
        return (0,) * len(module.kernel_size)
    return tuple(
        dilation * (kernel - 1) // 2 for kernel, dilation in zip(module.kernel_size, module.dilation, strict=True)
    )
