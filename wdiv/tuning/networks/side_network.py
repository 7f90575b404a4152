"""A small new network beside the pretrained one, joined to it at the head: ``resnet18:beside=True``.

Anderson et al. (2016), "Beyond Fine Tuning: A Modular Approach to Learning on Small Data": the pretrained network stays
as it is, and a new one learns beside it what it lacks. Representations are added, none is replaced.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from wdiv.store.stages import BESIDE

if TYPE_CHECKING:
    from torch import nn

__all__ = ["WIDTHS", "attach", "small_network"]

WIDTHS = (32, 64, 128, 256)
"""Filters of its convolutions: 0.4 million parameters, a thirtieth of a ResNet-18's. The choice is wdiv's."""


def small_network(classes: int) -> nn.Sequential:
    """Images (n, 3, height, width) of at least 8 pixels -> logits (n, classes).

    Four times 3×3 convolution – BatchNorm – ReLU, halved by max pooling between them; then the mean over space and a
    linear layer. PyTorch's own initialisation.

    >>> network = small_network(5)
    >>> [name for name, _ in network.named_children()][-7:]
    ['pool3', 'conv4', 'bn4', 'relu4', 'pool', 'flat', 'fc']
    >>> sum(parameter.numel() for parameter in network.parameters())
    390181
    """
    from torch import nn

    network, channels = nn.Sequential(), 3
    for number, width in enumerate(WIDTHS, start=1):
        if number > 1:
            network.add_module(f"pool{number - 1}", nn.MaxPool2d(2))
        network.add_module(f"conv{number}", nn.Conv2d(channels, width, 3, padding=1, bias=False))
        network.add_module(f"bn{number}", nn.BatchNorm2d(width))
        network.add_module(f"relu{number}", nn.ReLU())
        channels = width
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module("fc", nn.Linear(channels, classes))
    return network


def attach(model: nn.Module, classes: int) -> None:
    """Put a :func:`small_network` beside the model, in place: both read the images, and their logits are added.

    Adding logits is joining at the head: a linear layer on the concatenation of two feature vectors, W·[f, g] + b, is
    U·f + V·g + b, the sum of a linear layer on each (f being the last hidden layer, where the head has some). So the
    pretrained network keeps its classifier and every name it has, and the new tensors are ``beside.…``. Where the model
    gives auxiliary logits too, they stay as they are.

    The model becomes an instance of a subclass of its class, not one with a forward hook: torch.fx sees the addition,
    and ``copy.deepcopy`` and state dicts work as ever. It cannot be pickled whole. It must not be a Sequential, which
    would run the new network after its own layers.

    >>> import torch
    >>> from torchvision.models import mobilenet_v2
    >>> model, images = mobilenet_v2(num_classes=2, width_mult=0.1).eval(), torch.rand(4, 3, 8, 8)
    >>> alone = model(images)
    >>> attach(model, classes=2)
    >>> model = model.eval()
    >>> torch.equal(model(images), alone + model.beside(images))
    True
    """
    model.add_module(BESIDE, small_network(classes))
    model.__class__ = _joined(model.__class__)


@cache
def _joined(kind: Any) -> Any:
    def forward(self: Any, images: Any) -> Any:  # no *args: torch.fx gives each argument of its own a place
        return _add(kind.forward(self, images), getattr(self, BESIDE)(images))

    return type(kind.__name__, (kind,), {"forward": forward})


def _add(output: Any, logits: Any) -> Any:
    """Inception and GoogLeNet give a named tuple while training, the main logits first."""
    if isinstance(output, tuple):
        return output._make((output[0] + logits, *output[1:]))  # type: ignore[attr-defined]
    return output + logits
