"""``fc`` is the classifier and nothing else, in every torchvision family."""

from __future__ import annotations

from functools import lru_cache

import pytest
from torch import nn

from tests.tuning.tiny import planned
from wdiv.tuning.networks.models import ModelSpec, build_skeleton, head_layers, layer_table
from wdiv.tuning.strategy.freeze import FreezePlan, make_plan
from wdiv.tuning.strategy.spelling import parse

CLASSIFIERS = {
    "alexnet": ("classifier.1", "classifier.4", "classifier.6"),
    "convnext_tiny": ("classifier.2",),
    "densenet121": ("classifier",),
    "efficientnet_b0": ("classifier.1",),
    "googlenet": ("fc", "aux1.fc2", "aux2.fc2"),
    "inception_v3": ("fc", "AuxLogits.fc"),
    "maxvit_t": ("classifier.3", "classifier.5"),
    "mnasnet0_5": ("classifier.1",),
    "mobilenet_v2": ("classifier.1",),
    "mobilenet_v3_small": ("classifier.0", "classifier.3"),
    "regnet_y_400mf": ("fc",),
    "resnet18": ("fc",),
    "shufflenet_v2_x0_5": ("fc",),
    "squeezenet1_0": ("classifier.1",),
    "swin_t": ("head",),
    "swin_v2_t": ("head",),
    "vgg11": ("classifier.0", "classifier.3", "classifier.6"),
    "vit_b_16": ("heads.head",),
    "convnext_tiny:head=mlp512": ("classifier.hidden1", "classifier.hidden2", "classifier.out"),
    "squeezenet1_0:head=mlp512": ("classifier.hidden1", "classifier.hidden2", "classifier.out"),
}
"""The layers between the features and the classes."""


@lru_cache(maxsize=1)
def skeleton(text: str) -> nn.Module:
    return build_skeleton(ModelSpec.parse(text), 5)


def plan(text: str, strategy: str) -> FreezePlan:
    spec = ModelSpec.parse(text)
    table = layer_table(spec, 5, 299 if spec.name == "inception_v3" else 224)
    return make_plan(skeleton(text), table, head_layers(spec), parse(strategy))


def test_every_family_of_torchvision_is_here() -> None:
    from torchvision import models

    here = {getattr(models, text.partition(":")[0]).__module__ for text in CLASSIFIERS}
    known = [name for name in models.list_models(module=models) if hasattr(models, name)]  # not those of other tests
    assert here == {getattr(models, name).__module__ for name in known}


@pytest.mark.parametrize("text", CLASSIFIERS)
def test_fc_is_the_classifier_and_all_is_everything(text: str) -> None:
    parameters = set(dict(skeleton(text).named_parameters()))
    classifier = {key for key in parameters if key.rpartition(".")[0] in CLASSIFIERS[text]}
    assert set(plan(text, "fc").lrs) == classifier
    assert set(plan(text, "all").lrs) == parameters
    trunk = [
        path for path, module in skeleton(text).named_modules()
        if isinstance(module, nn.Linear) and path not in CLASSIFIERS[text]
    ]  # fmt: skip
    if trunk:
        linear = {f"{path}.{role}" for path in trunk for role in ("weight", "bias")} & parameters
        assert set(plan(text, "linear").lrs) == linear
        assert set(plan(text, "linear+fc").lrs) == linear | classifier


class Perceptron(nn.Module):
    """A trunk of linear layers with a branch around, written by a user; its activations are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)
        self.hidden, self.out = nn.Linear(8, 6), nn.Linear(6, 3)

    def forward(self, x):  # type: ignore[no-untyped-def]
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = x + self.two(self.one(x).relu())
        return self.out(nn.functional.gelu(self.hidden(x.mean(1)))).log_softmax(1)


def test_a_network_of_ones_own_tells_its_classifier_by_where_its_data_goes() -> None:
    table, fc = planned(Perceptron(), "fc", head=frozenset())
    assert {layer.name: layer.kind for layer in table} == {
        "patches": "conv", "one": "linear", "two": "linear", "hidden": "fc", "out": "fc",
    }  # fmt: skip
    assert {key.partition(".")[0] for key in fc.lrs} == {"hidden", "out"}


def test_the_canonical_name_has_linear_before_fc_at_the_rate_of_convolutions() -> None:
    strategy = parse("fc+linear")
    assert strategy.name == "linear+fc"
    assert {term.lr for term in strategy.last.terms} == {1e-4}
