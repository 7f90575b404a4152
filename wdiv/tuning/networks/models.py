"""Networks by name: any torchvision classifier, with a head for the task's classes."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput, UnknownName
from wdiv.layers import LayerTable
from wdiv.registry import Registry, did_you_mean
from wdiv.store.probe import layer_kind, probe
from wdiv.store.stages import BESIDE
from wdiv.tuning.networks.heads import HEADS, replace_head
from wdiv.tuning.networks.side_network import attach

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "MODELS", "Model", "ModelSpec",
    "build", "build_skeleton", "class_keys", "head_keys", "head_layers", "layer_table", "new_keys", "other_keys",
]  # fmt: skip


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


_HE, _HUANG = "He et al. (2016)", "Huang et al. (2017)"
_VGG, _SZEGEDY = "Simonyan and Zisserman (2015)", "Szegedy et al. (2016)"
MODELS: Registry[Model] = Registry(
    "model",
    [
        *(
            Model(*_row)
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
            )
        ),
    ],
)


@dataclass(frozen=True)
class ModelSpec:
    """Which network: a torchvision builder's name, its arguments, and the BatchNorm epsilon if not PyTorch's.

    Two arguments are wdiv's own: ``head``, one of :data:`~wdiv.tuning.networks.heads.HEADS`, and ``beside``, True for a
    small network beside this one (:mod:`wdiv.tuning.networks.side_network`).

    >>> ModelSpec.parse("mobilenet_v2:width_mult=0.35")
    ModelSpec(name='mobilenet_v2', args={'width_mult': 0.35}, bn_eps=None)
    >>> ModelSpec.parse("mobilenet_v2:width_mult=0.35").label
    'mobilenet_v2:width_mult=0.35'
    >>> ModelSpec.parse("vgg16:head=mlp512").but(beside=True).label
    'vgg16:head=mlp512,beside=True'
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    bn_eps: float | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """``NAME`` or ``NAME:argument=value,…``; a value that is a bare word is a string."""
        name, _, rest = text.partition(":")
        args = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            try:
                if not equals or not key.isidentifier():
                    raise ValueError
                args[key] = value if _is_word(value) else ast.literal_eval(value)
            except (ValueError, SyntaxError):
                raise BadInput(f"model {text!r}: write arguments as NAME:argument=value, not {part!r}") from None
        return cls(name, args)

    def but(self, **args: Any) -> ModelSpec:
        """The same network with some arguments replaced; None removes one.

        >>> ModelSpec.parse("resnet18:head=mlp512,groups=1").but(head=None).label
        'resnet18:groups=1'
        """
        merged = {**self.args, **args}
        return replace(self, args={k: v for k, v in merged.items() if k not in args or v is not None})

    @property
    def label(self) -> str:
        """How the architecture is spelled in tables."""
        return self.name + (":" + ",".join(f"{k}={v}" for k, v in self.args.items()) if self.args else "")


def _is_word(value: str) -> bool:
    """Not ``false``, which would be a string and so true."""
    return value.isidentifier() and value.lower() not in ("true", "false", "none")


def build(spec: ModelSpec, classes: int, seed: int = 0) -> nn.Module:
    """A network with random weights, drawn from ``seed`` without touching PyTorch's global generator.

    Raises :class:`~wdiv.errors.UnknownName` for a name torchvision does not have and
    :class:`~wdiv.errors.BadInput` for arguments its builder does not take.
    """
    import torch

    make = _builder(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(classes)
    _set_bn_eps(model, spec.bn_eps)
    return model


def class_keys(spec: ModelSpec) -> frozenset[str]:
    """The state-dict keys of the tensors whose shape follows the number of classes.

    >>> sorted(class_keys(ModelSpec("vgg16", {"head": "mlp512"})))
    ['classifier.out.bias', 'classifier.out.weight']
    """
    return _differing(spec, spec)


def new_keys(spec: ModelSpec) -> frozenset[str]:
    """The keys that weights of torchvision's own network, for other classes, cannot fill: those of the head and of a
    network beside it.

    >>> new_keys(ModelSpec("resnet18", {"beside": True})) - head_keys(ModelSpec("resnet18")) >= {"beside.fc.weight"}
    True
    """
    return _differing(spec, spec.but(head=None, beside=None))


def head_keys(spec: ModelSpec) -> frozenset[str]:
    """The keys of the classifier: the tensors whose shape follows the number of classes, and all of a head that
    replaces the network's own.

    >>> sorted(head_keys(ModelSpec("squeezenet1_1")))
    ['classifier.1.bias', 'classifier.1.weight']
    """
    return frozenset(key for key in new_keys(spec) if not key.startswith(f"{BESIDE}."))


def other_keys(spec: ModelSpec) -> frozenset[str]:
    """The keys that the network has with one head or another, and with a network beside it: weights may have more
    tensors than the network, if these are they.

    >>> sorted(other_keys(ModelSpec("resnet18", {"head": "mlp512"})) - other_keys(ModelSpec("resnet18")))
    []
    """
    return frozenset(key for head in HEADS for key in _shapes(spec.but(head=head, beside=True), 2))


def head_layers(spec: ModelSpec) -> frozenset[str]:
    """The names of the classifier's layers."""
    return frozenset(key.rpartition(".")[0] for key in head_keys(spec))


def _differing(spec: ModelSpec, other: ModelSpec) -> frozenset[str]:
    """Keys of a network for two classes that another one for three classes lacks, or has in another shape."""
    own, others = _shapes(spec, 2), _shapes(other, 3)
    return frozenset(key for key, shape in own.items() if others.get(key) != shape)


def _shapes(spec: ModelSpec, classes: int) -> Mapping[str, tuple[int, ...]]:
    return _shapes_of(spec.name, repr(dict(spec.args)), classes)  # arguments may be lists, which no cache takes


@lru_cache
def _shapes_of(name: str, args: str, classes: int) -> Mapping[str, tuple[int, ...]]:
    skeleton = build_skeleton(ModelSpec(name, ast.literal_eval(args)), classes)
    return {key: tuple(value.shape) for key, value in skeleton.state_dict().items()}


def layer_table(spec: ModelSpec, classes: int, image_size: int) -> LayerTable:
    """The layers of the network, in execution order, with stage and block.

    Raises :class:`~wdiv.errors.BadInput` if it cannot take images of this size.
    """
    return _table_of(spec.name, repr(dict(spec.args)), classes, image_size)


@lru_cache
def _table_of(name: str, args: str, classes: int, image_size: int) -> LayerTable:
    spec = ModelSpec(name, ast.literal_eval(args))
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
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        """Tensors that have no numbers are given none: PyTorch would go through all the motions, in Python."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(func, "__module__", "") == "torch.nn.init" or func in (torch.Tensor.normal_, torch.Tensor.zero_):
                return args[0] if args else kwargs["tensor"]
            return func(*args, **(kwargs or {}))

    make = _builder(spec)
    try:
        with torch.device("meta"), Undrawn():
            return make(classes)
    except NotImplementedError:  # RegNet computes its widths with tensors
        return build(spec, classes)


def _builder(spec: ModelSpec):  # type: ignore[no-untyped-def]
    from torchvision import models

    names = models.list_models(module=models)
    if spec.name not in names:
        raise UnknownName(f"unknown model {spec.name!r}; {did_you_mean(spec.name, names)}")
    extra: dict[str, Any] = dict(spec.args)
    head, beside = HEADS[str(extra.pop("head", "linear"))], extra.pop("beside", False)
    if not isinstance(beside, bool):
        raise BadInput(f"model {spec.label!r}: beside is True or False, not {beside!r}")
    # found out here, and not while building, where networks that are built to find it would draw from the seed
    last = class_keys(spec.but(head=None, beside=None)) if head.hidden else frozenset()
    if spec.name in ("inception_v3", "googlenet"):
        extra.setdefault("init_weights", True)

    def make(classes: int) -> nn.Module:
        try:
            model = models.get_model(spec.name, weights=None, num_classes=classes, **extra)
        except (TypeError, ValueError) as error:
            reason = re.sub(r"^.*?__init__\(\) ", "", str(error).splitlines()[0])
            raise BadInput(f"model {spec.label!r}: {reason}") from None
        if head.hidden:  # auxiliary heads, which stay, come before the classifier
            replace_head(model, head, [key for key in model.state_dict() if key in last][-1], classes)
        if beside:
            attach(model, classes)
        return model

    return make


def _set_bn_eps(model: nn.Module, eps: float | None) -> None:
    if eps is not None:
        for module in model.modules():
            if layer_kind(module) == "bn":
                module.eps = eps
