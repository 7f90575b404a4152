"""Heads: what stands between a network's features and the classes. A model's argument, ``vgg16:head=mlp512``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wdiv.registry import Registry
from wdiv.store.probe import layer_kind

if TYPE_CHECKING:
    from torch import nn

__all__ = ["HEADS", "Head", "replace_head"]


@dataclass(frozen=True)
class Head:
    """A classifier. The sigmoid or softmax at its end belongs to the loss.

    hidden   units of the hidden layers, each followed by a ReLU; none: the network's own classifier, untouched
    dropout  after each hidden layer
    """

    name: str
    hidden: tuple[int, ...]
    dropout: float
    long_name: str
    source: str


HEADS: Registry[Head] = Registry(
    "head",
    [
        Head("linear", (), 0.0, "the network's own classifier, as torchvision builds it", "torchvision"),
        Head("mlp512", (512, 512), 0.3, "512 – ReLU – dropout 0.3, twice, then linear", "Gupta (2020), table 3"),
    ],
)


def replace_head(model: nn.Module, head: Head, layer: str, classes: int) -> None:
    """Put a head in the place of the classifier that holds ``layer``, in place.

    The place is the root's child ``fc``, ``classifier``, ``heads`` …, as a whole. What it does to the features before
    its first layer (pooling, flattening, a normalisation) stays under its old name, dropout aside, so that the head
    reads what the classifier read; a map that a convolution classified is averaged over space. Takes images' features
    to (n, classes). PyTorch's own initialisation.

    >>> from torch import nn
    >>> model = nn.Sequential()
    >>> model.add_module("fc", nn.Linear(8, 3))
    >>> replace_head(model, HEADS["mlp512"], "fc", classes=3)
    >>> {key: tuple(value.shape) for key, value in model.state_dict().items() if key.endswith("weight")}
    {'fc.hidden1.weight': (512, 8), 'fc.hidden2.weight': (512, 512), 'fc.out.weight': (3, 512)}
    """
    from torch import nn

    if not head.hidden:
        return
    place = layer.partition(".")[0]
    old = model.get_submodule(place)
    parts = dict(old.named_children()) if isinstance(old, nn.Sequential) else {place: old}
    new = nn.Sequential()
    for name, part in parts.items():
        if layer_kind(part) in ("conv", "linear"):
            break
        if not isinstance(part, nn.Dropout):
            new.add_module(name, part)
    if layer_kind(part) == "conv":
        new.add_module("pool", nn.AdaptiveAvgPool2d(1))
        new.add_module("flat", nn.Flatten())
    width = part.weight.shape[1]
    # named, not numbered, so that no tensor has the name of another one in the classifier that it replaces
    for number, units in enumerate(head.hidden, start=1):
        new.add_module(f"hidden{number}", nn.Linear(width, units))
        new.add_module(f"relu{number}", nn.ReLU())
        new.add_module(f"dropout{number}", nn.Dropout(head.dropout))
        width = units
    new.add_module("out", nn.Linear(width, classes))
    setattr(model, place, new)
