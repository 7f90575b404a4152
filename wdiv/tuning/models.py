"""Networks by name: any torchvision classifier, with a head for the task's classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput, UnknownName
from wdiv.layers import LayerTable
from wdiv.registry import Registry, did_you_mean
from wdiv.store.probe import layer_kind, probe

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "Model", "ModelSpec", "build", "build_skeleton", "head_keys", "head_layers", "layer_table"]


@dataclass(frozen=True)
class Model:
    """A torchvision classifier that wdiv's tests cover by name.

    conv, bn, fc  how many layers of each kind it has
    min_size      the smallest image it takes when training, from the 8 pixels that wdiv takes at all
    """

    name: str
    conv: int
    bn: int
    fc: int
    min_size: int
    source: str


MODELS: Registry[Model] = Registry("model")
_HE, _HUANG = "He et al. (2016)", "Huang et al. (2017)"
_VGG, _SZEGEDY = "Simonyan and Zisserman (2015)", "Szegedy et al. (2016)"
for _row in (
    ("resnet18", 20, 20, 1, 8, _HE),
    ("resnet34", 36, 36, 1, 8, _HE),
    ("resnet50", 53, 53, 1, 8, _HE),
    ("resnet101", 104, 104, 1, 8, _HE),
    ("resnet152", 155, 155, 1, 8, _HE),
    ("densenet121", 120, 121, 1, 29, _HUANG),
    ("densenet169", 168, 169, 1, 29, _HUANG),
    ("densenet201", 200, 201, 1, 29, _HUANG),
    ("vgg16", 13, 0, 3, 32, _VGG),
    ("vgg19", 16, 0, 3, 32, _VGG),
    ("vgg16_bn", 13, 13, 3, 32, _VGG),
    ("vgg19_bn", 16, 16, 3, 32, _VGG),
    ("inception_v3", 96, 96, 2, 299, _SZEGEDY),
    ("mobilenet_v2", 52, 52, 1, 8, "Sandler et al. (2018)"),
    ("squeezenet1_1", 26, 0, 0, 17, "Iandola et al. (2016)"),
):
    MODELS.add(Model(*_row))


@dataclass(frozen=True)
class ModelSpec:
    """Which network: a torchvision builder's name, its arguments, and the BatchNorm epsilon if not PyTorch's.

    >>> ModelSpec.parse("mobilenet_v2:width_mult=0.35")
    ModelSpec(name='mobilenet_v2', args={'width_mult': 0.35}, bn_eps=None)
    >>> ModelSpec.parse("mobilenet_v2:width_mult=0.35").label
    'mobilenet_v2:width_mult=0.35'
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    bn_eps: float | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """``NAME`` or ``NAME:argument=value,…``."""
        name, _, rest = text.partition(":")
        args = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            try:
                if not equals or not key.isidentifier():
                    raise ValueError
                args[key] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                raise BadInput(f"model {text!r}: write arguments as NAME:argument=value, not {part!r}") from None
        return cls(name, args)

    @property
    def label(self) -> str:
        """How the architecture is spelled in tables."""
        return self.name + (":" + ",".join(f"{k}={v}" for k, v in self.args.items()) if self.args else "")


def build(spec: ModelSpec, classes: int, seed: int = 0) -> nn.Module:
    """A network with random weights, drawn from ``seed`` without touching PyTorch's global generator.

    Raises :class:`~wdiv.errors.UnknownName` for a name torchvision does not have and
    :class:`~wdiv.errors.BadInput` for arguments its builder does not take.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _builder(spec)(classes)
    _set_bn_eps(model, spec.bn_eps)
    return model


def head_keys(spec: ModelSpec) -> frozenset[str]:
    """The state-dict keys of the classifier: the tensors whose shape follows the number of classes.

    >>> sorted(head_keys(ModelSpec("squeezenet1_1")))
    ['classifier.1.bias', 'classifier.1.weight']
    """
    return _head_keys(spec.name, repr(dict(spec.args)))  # arguments may be lists, which no cache takes


def head_layers(spec: ModelSpec) -> frozenset[str]:
    """The names of the classifier's layers."""
    return frozenset(key.rpartition(".")[0] for key in head_keys(spec))


@lru_cache
def _head_keys(name: str, args: str) -> frozenset[str]:
    spec = ModelSpec(name, ast.literal_eval(args))
    two, three = ({k: v.shape for k, v in build_skeleton(spec, n).state_dict().items()} for n in (2, 3))
    return frozenset(key for key, shape in two.items() if three[key] != shape)


def layer_table(spec: ModelSpec, classes: int, image_size: int) -> LayerTable:
    """The layers of the network, in execution order, with stage and block.

    Raises :class:`~wdiv.errors.BadInput` if it cannot take images of this size.
    """
    smallest = MODELS[spec.name].min_size if spec.name in MODELS else 8
    if spec.args.get("aux_logits") is False:
        smallest = 75
    if image_size < smallest:
        aux = " (without its auxiliary head, inception_v3:aux_logits=False, 75)" if smallest == 299 else ""
        raise BadInput(f"{spec.name}: takes images of at least {smallest} pixels{aux}, not {image_size}")
    model = build_skeleton(spec, classes)
    try:
        return probe(model, image_size, name=spec.name, head=head_layers(spec))
    except (BadInput, AssertionError) as error:  # torchvision's transformers assert their image size
        raise BadInput(f"{spec.label}: {error}") from None


def build_skeleton(spec: ModelSpec, classes: int) -> nn.Module:
    """The network without numbers in it, where its builder can do without them."""
    import torch

    try:
        with torch.device("meta"):
            return _builder(spec)(classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return build(spec, classes)


def _builder(spec: ModelSpec):  # type: ignore[no-untyped-def]
    from torchvision import models

    names = models.list_models(module=models)
    if spec.name not in names:
        raise UnknownName(f"unknown model {spec.name!r}; {did_you_mean(spec.name, names)}")
    extra: dict[str, Any] = dict(spec.args)
    if spec.name in ("inception_v3", "googlenet"):
        extra.setdefault("init_weights", True)

    def make(classes: int) -> nn.Module:
        try:
            return models.get_model(spec.name, weights=None, num_classes=classes, **extra)
        except (TypeError, ValueError) as error:
            reason = re.sub(r"^.*?__init__\(\) ", "", str(error).splitlines()[0])
            raise BadInput(f"model {spec.label!r}: {reason}") from None

    return make


def _set_bn_eps(model: nn.Module, eps: float | None) -> None:
    if eps is not None:
        for module in model.modules():
            if layer_kind(module) == "bn":
                module.eps = eps
