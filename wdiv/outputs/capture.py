"""The start network runs once over the images; of what each of its layers is fed, the moments are kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput
from wdiv.outputs.moments import ChannelInputs, KernelInputs, LayerInputs
from wdiv.store.probe import layer_kind

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = ["capture"]

HELD = 1 << 26
"""Bytes of one layer's inputs that are unfolded at once, at least those of an image."""


def capture(network: nn.Module, batches: Iterable[torch.Tensor], modules: Iterable[str]) -> dict[str, LayerInputs]:
    """Module -> what it was fed, over all calls; without those that never ran. The network runs in eval mode.

    Raises :class:`~wdiv.errors.BadInput` if it cannot take the images.
    """
    import torch

    network.eval()
    found = {name: network.get_submodule(name) for name in modules}
    kinds = {name: layer_kind(module) for name, module in found.items()}
    sums: dict[str, _KernelSum | _ChannelSum] = {
        name: (_ChannelSum if kinds[name] in ("bn", "norm") else _KernelSum)(found[name])
        for name in found if kinds[name]
    }  # fmt: skip
    seen: set[str] = set()

    def watch(name: str, _module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        seen.add(name)
        sums[name].add(given[0], output)

    with ExitStack() as hooks, torch.no_grad():
        for name in sums:
            hooks.enter_context(found[name].register_forward_hook(partial(watch, name)))
        for batch in batches:
            try:
                network(batch)
            except (RuntimeError, ValueError, AssertionError) as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                shape = tuple(batch.shape[1:])
                raise BadInput(f"the network cannot take images of shape {shape}: {reason}") from None
    return {name: kept.inputs() for name, kept in sums.items() if name in seen}


class _KernelSum:
    """Vectors are kept until there are as many as they have elements; from then on their second moment."""

    def __init__(self, module: Any) -> None:
        self.module = module
        self.parts: list[torch.Tensor] = []
        self.moment: torch.Tensor | None = None

    def add(self, x: torch.Tensor, output: torch.Tensor) -> None:
        import torch

        for columns in _columns(self.module, x, output):
            if self.module.bias is not None:
                ones = columns.new_ones((len(columns), 1, columns.shape[-1]))
                columns = torch.cat([columns, ones], dim=1)
            if self.moment is not None:
                self.moment += _outer(columns)
                continue
            self.parts.append(columns)
            if sum(part.shape[-1] for part in self.parts) >= columns.shape[1]:
                self.moment, self.parts = _outer(torch.cat(self.parts, dim=-1)), []

    def inputs(self) -> KernelInputs:
        import torch

        columns = torch.cat(self.parts, dim=-1).cpu().numpy() if self.moment is None else None
        moment = None if self.moment is None else self.moment.cpu().numpy()
        transposed = bool(getattr(self.module, "transposed", False))
        return KernelInputs(columns, moment, transposed, self.module.bias is not None)


class _ChannelSum:
    """Count, mean and squares about it of each channel, joined batch by batch (Chan, Golub and LeVeque, 1979)."""

    def __init__(self, module: Any) -> None:
        import copy

        import torch

        # without hooks and without parameters of its own, in float64: what it makes of its input is x̂
        self.module, self.bare = module, copy.deepcopy(module).double().eval()
        self.bare._forward_hooks.clear()
        with torch.no_grad():
            for parameter, value in ((self.bare.weight, 1.0), (getattr(self.bare, "bias", None), 0.0)):
                if parameter is not None:
                    parameter.fill_(value)
        self.count, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: torch.Tensor, _output: torch.Tensor) -> None:
        from torch import nn

        normalised = self.bare(x.double())
        last = isinstance(self.module, (nn.LayerNorm, nn.RMSNorm))
        axis = normalised.dim() - 1 if last else int(normalised.dim() > 1)
        rows = normalised.movedim(axis, 0).reshape(normalised.shape[axis], -1)
        count, mean = rows.shape[1], rows.mean(1)
        squares = (rows - mean[:, None]).square().sum(1)
        total = self.count + count
        if not self.count:
            self.count, self.mean, self.squares = count, mean, squares
            return
        apart = mean - self.mean
        self.squares = self.squares + squares + apart.square() * (self.count * count / total)
        self.mean = self.mean + apart * (count / total)
        self.count = total

    def inputs(self) -> ChannelInputs:
        mean, variance = (value.cpu().numpy() for value in (self.mean, self.squares / self.count))
        if layer_kind(self.module) != "bn" or self.module.running_mean is None:
            return ChannelInputs(self.count, mean, variance)
        running_mean, running_var = self.bare.running_mean.cpu().numpy(), self.bare.running_var.cpu().numpy()
        return ChannelInputs(self.count, mean, variance, running_mean, running_var, self.module.eps)


def _outer(columns: torch.Tensor) -> torch.Tensor:
    """(groups, d, d) float64: Σ x xᵀ."""
    import torch

    columns = columns.double()
    if columns.is_cuda or len(columns) > 1:
        return columns @ columns.mT
    matrix = columns[0].numpy()
    return torch.from_numpy((matrix @ matrix.T)[None])  # NumPy sees that both are one matrix, and does half the work


def _columns(module: Any, x: torch.Tensor, output: torch.Tensor) -> Iterator[torch.Tensor]:
    """(groups, d, n): what each output is a product with, image by image as far as memory goes."""
    from torch import nn

    if isinstance(module, nn.Linear):
        yield x.reshape(-1, x.shape[-1]).T[None]
        return
    size = module.weight.dim() - 2
    x, output = (side if side.dim() == size + 2 else side[None] for side in (x, output))
    one = x.shape[1] * int(np.prod(module.kernel_size)) * int(np.prod(output.shape[2:])) * 8
    for part in x.split(max(1, HELD // one)):
        yield _unfolded(module, part, tuple(output.shape[2:]))


def _unfolded(module: Any, x: torch.Tensor, out: tuple[int, ...]) -> torch.Tensor:
    """(groups, in / groups · kernel, images · positions), of any number of dimensions."""
    padded, stride = _padded(module, x, out)
    kernel, dilation = module.kernel_size, module.dilation
    images, channels, *steps = padded.contiguous().stride()
    view = padded.contiguous().as_strided(
        (padded.shape[1], *kernel, len(padded), *out),
        (channels, *map(_times, steps, dilation), images, *map(_times, steps, stride)),
    )
    return view.reshape(module.groups, padded.shape[1] // module.groups * int(np.prod(kernel)), -1)


def _padded(module: Any, x: torch.Tensor, out: tuple[int, ...]) -> tuple[torch.Tensor, tuple[int, ...]]:
    """What the kernel slides over, and by which steps.

    A transposed convolution is an ordinary one, of its kernel upside down, over an input with zeros in between.
    """
    from torch.nn import functional

    if not module.transposed:
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        around = list(module._reversed_padding_repeated_twice)
        return functional.pad(x, around, mode=mode), tuple(module.stride)
    shape = [(n - 1) * step + 1 for n, step in zip(x.shape[2:], module.stride, strict=True)]
    spread = x.new_zeros((*x.shape[:2], *shape))
    spread[(..., *(slice(None, None, step) for step in module.stride))] = x
    around = []
    for length, wanted, reach, padding in zip(
        shape, out, map(_reach, module.kernel_size, module.dilation), module.padding, strict=True
    ):
        around = [reach - padding, wanted + padding - length, *around]  # the last dimension first
    return functional.pad(spread, around), (1,) * len(out)


def _reach(kernel: int, dilation: int) -> int:
    return dilation * (kernel - 1)


def _times(a: int, b: int) -> int:
    return a * b
