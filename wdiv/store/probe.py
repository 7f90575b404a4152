"""The layers of a live network, in the order in which it runs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from wdiv.layers import BUFFERS, ROLES, Layer, LayerTable
from wdiv.store.dataflow import Dataflow
from wdiv.store.stages import family_of, stages_by_name, stages_by_resolution

if TYPE_CHECKING:
    from torch import nn

__all__ = ["layer_kind", "probe"]


def layer_kind(module: nn.Module) -> str | None:
    """``conv``, ``bn``, ``norm``, ``linear``, or None: from the module's type, never from its name.

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
    return "linear" if isinstance(module, nn.Linear) else None


def probe(
    model: nn.Module, image_size: int = 224, *, name: str = "", head: frozenset[str] = frozenset(), channels: int = 3
) -> LayerTable:
    """The model's :class:`~wdiv.layers.LayerTable`, by execution order.

    The model runs once, in training mode so that auxiliary heads run too, as a copy on PyTorch's ``meta`` device:
    nothing is computed and the model is left untouched. Layers that never ran come last.

    name   a torchvision model's name; a known family gives stages and blocks, otherwise the resolution gives stages and
           the data's ways blocks
    head   names of the classifier's layers that are known to be; linear ones between the features and the logits are
           found to be its own in any case, and are ``fc`` where all others are ``linear``

    Raises :class:`~wdiv.errors.BadInput` if the network cannot take an image of this size.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 2))
    >>> [(layer.name, layer.kind, layer.shape) for layer in probe(model, 8)]
    [('0', 'conv', (4, 3, 3, 3)), ('1', 'bn', (4,)), ('3', 'fc', (2, 144))]
    """
    found = {path: module for path, module in model.named_modules() if layer_kind(module)}
    flow = Dataflow(model, image_size, channels)
    names = flow.order(found)
    head = head | flow.classifier([path for path, module in found.items() if layer_kind(module) == "linear"])
    family, sizes = family_of(name), [tuple(_area(found[path], shape) for shape in flow.shapes(path)) for path in names]
    if family is not None:
        places = stages_by_name(family, names)
    else:
        places = stages_by_resolution(names, sizes, image_size, head, flow.blocks(found), flow.auxiliary(found))
    return LayerTable(
        tuple(
            replace(_describe(path, found[path], path in head), depth=depth, stage=stage, block=block)
            for depth, (path, (stage, block)) in enumerate(zip(names, places, strict=True))
        )
    )


def _describe(path: str, module: nn.Module, in_head: bool) -> Layer:
    kind = layer_kind(module)
    assert kind is not None
    kind = "fc" if in_head and kind == "linear" else kind
    roles = tuple(role for role, suffix in ROLES[kind].items() if getattr(module, suffix, None) is not None)
    shape = (module.num_features,) if kind == "bn" else tuple(module.weight.shape)  # a BatchNorm may have no weight
    of_convolution = {name: getattr(module, name) for name in ("groups", "transposed") if kind == "conv"}
    return Layer(path, kind, roles, shape, **of_convolution)


def _area(module: nn.Module, shape: tuple[int, ...]) -> int:
    """Pixels of a map that a layer reads or writes; 0 of anything else."""
    import torch

    if len(shape) != 4:
        return 0
    last = isinstance(module, torch.nn.Linear) or (
        isinstance(module, (torch.nn.LayerNorm, torch.nn.RMSNorm)) and shape[-1] == module.weight.shape[0]
    )  # these work along the last axis, so that a map they are given is (n, height, width, channels)
    height, width = shape[1:3] if last else shape[2:]
    return height * width


def buffers_of(layer: Layer) -> tuple[str, ...]:
    """State-dict keys of what running the layer in training mode may change."""
    if layer.kind != "bn" or not BUFFERS & set(layer.roles):
        return ()
    return (*(layer.key(role) for role in layer.roles if role in BUFFERS), f"{layer.name}.num_batches_tracked")
