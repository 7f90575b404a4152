"""The layers of a live network, in the order in which it runs them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput
from wdiv.layers import BUFFERS, ROLES, Layer, LayerTable
from wdiv.store.stages import family_of, stages_by_name, stages_by_resolution

if TYPE_CHECKING:
    from torch import nn

__all__ = ["layer_kind", "probe"]


def layer_kind(module: nn.Module) -> str | None:
    """``conv``, ``bn``, ``norm``, ``fc``, or None: from the module's type, never from its name.

    A normalisation without a weight, or with one of several dimensions (a LayerNorm over whole maps), is of no kind.

    >>> from torch import nn
    >>> [layer_kind(m) for m in (nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.ReLU(), nn.LayerNorm((3, 8, 8)))]
    ['bn', 'norm', None, None]
    """
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.nn.modules.conv import _ConvNd
    from torch.nn.modules.instancenorm import _InstanceNorm

    if isinstance(module, _ConvNd):
        return "conv"
    if isinstance(module, _BatchNorm):
        return "bn"
    if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, _InstanceNorm)):
        return "norm" if module.weight is not None and module.weight.dim() == 1 else None
    return "fc" if isinstance(module, nn.Linear) else None


def probe(
    model: nn.Module, image_size: int = 224, *, name: str = "", head: frozenset[str] = frozenset(), channels: int = 3
) -> LayerTable:
    """The model's :class:`~wdiv.layers.LayerTable`, by execution order.

    The model runs once, in training mode so that auxiliary heads run too, as a copy on PyTorch's ``meta`` device:
    nothing is computed and the model is left untouched. Layers that never ran come last.

    name   a torchvision model's name; a known family gives stages and blocks, otherwise the resolution does
    head   names of the classifier's layers

    Raises :class:`~wdiv.errors.BadInput` if the network cannot take an image of this size.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    >>> [(layer.name, layer.kind, layer.shape) for layer in probe(model, 8)]
    [('0', 'conv', (4, 3, 3, 3)), ('1', 'bn', (4,)), ('3', 'fc', (2, 144))]
    """
    found = {path: module for path, module in model.named_modules() if layer_kind(module)}
    areas = _run_on_meta(model, image_size, channels)
    names = [*areas, *(path for path in found if path not in areas)]
    layers = [_describe(path, found[path]) for path in names]
    family, sizes = family_of(name), [areas.get(path, (0, 0)) for path in names]
    places = stages_by_name(family, names) if family else stages_by_resolution(names, sizes, image_size, head)
    return LayerTable(
        tuple(
            replace(layer, depth=depth, stage=stage, block=block)
            for depth, (layer, (stage, block)) in enumerate(zip(layers, places, strict=True))
        )
    )


def _describe(path: str, module: nn.Module) -> Layer:
    kind = layer_kind(module)
    assert kind is not None
    roles = tuple(role for role, suffix in ROLES[kind].items() if getattr(module, suffix, None) is not None)
    shape = (module.num_features,) if kind == "bn" else tuple(module.weight.shape)  # a BatchNorm may have no weight
    of_convolution = {name: getattr(module, name) for name in ("groups", "transposed") if kind == "conv"}
    return Layer(path, kind, roles, shape, **of_convolution)


def _run_on_meta(model: nn.Module, image_size: int, channels: int) -> Mapping[str, tuple[int, int]]:
    """Layer name -> (input area, output area), in the order of the layers' first calls."""
    import torch

    shadow = copy.deepcopy(model).to("meta").train()
    areas: dict[str, tuple[int, int]] = {}

    def area(module: nn.Module, value: Any) -> int:
        if not isinstance(value, torch.Tensor) or value.dim() != 4:
            return 0
        last = isinstance(module, torch.nn.Linear) or (
            isinstance(module, (torch.nn.LayerNorm, torch.nn.RMSNorm)) and value.shape[-1] == module.weight.shape[0]
        )  # these work along the last axis, so that a map they are given is (n, height, width, channels)
        height, width = value.shape[1:3] if last else value.shape[2:]
        return int(height * width)

    def note(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:  # None leaves the output alone
        given = next(iter((*args, *kwargs.values())), None)
        areas.setdefault(path, (area(module, given), area(module, output)))

    for path, module in shadow.named_modules():
        if layer_kind(module):
            module.register_forward_hook(partial(note, path), with_kwargs=True)
    try:
        with torch.no_grad():
            shadow(torch.empty(2, channels, image_size, image_size, device="meta"))
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"the network cannot take images of {image_size}x{image_size} pixels: {reason}") from None
    return areas


def buffers_of(layer: Layer) -> tuple[str, ...]:
    """State-dict keys of what running the layer in training mode may change."""
    if layer.kind != "bn" or not BUFFERS & set(layer.roles):
        return ()
    return (*(layer.key(role) for role in layer.roles if role in BUFFERS), f"{layer.name}.num_batches_tracked")
