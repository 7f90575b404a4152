"""The cut of a network: exact, or none. ``suffix(*stem(x))`` is ``model(x)``, and so are the gradients."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from tests.conftest import some
from tests.forked import forking
from tests.tuning.tiny import thin
from wdiv.tuning.networks.models import MODELS, ModelSpec, build_skeleton, head_keys
from wdiv.tuning.prefix.frozen_prefix import Cut, NoPrefix, cut

LARGE = {"resnet101", "resnet152", "densenet169", "densenet201", "resnet34", "vgg19", "vgg19_bn"}
"""Their smaller kin runs; of the largest only the cut is made, without numbers."""


def build(name: str, device: str = "cpu", **args: Any) -> nn.Module:
    """A network for 3 classes whose BatchNorms have seen something."""
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, num_classes=3, **args)
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model


def held(model: nn.Module, moving: Collection[str], disabled_dropout: Collection[str] = ()) -> nn.Module:
    """As :func:`wdiv.tuning.strategy.freeze.apply_freeze` leaves it, with a cut's disabled dropout in eval mode too."""
    for module in model.modules():
        module.__dict__.pop("train", None)  # of an earlier hold
    model.train()
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in moving)
    for name, module in model.named_modules():
        frozen = isinstance(module, _BatchNorm) and f"{name}.running_mean" not in moving
        if frozen or name in disabled_dropout:
            module.eval()
            module.train = lambda mode=True, module=module: module
    return model


def head(model: nn.Module) -> set[str]:
    """The keys of the classifier, and of the auxiliary ones."""
    return {key for key, value in model.named_parameters() if len(value) == 3 and not key.startswith("Conv2d_1a")}


def last_norms(model: nn.Module) -> set[str]:
    """Of the last fifth of the BatchNorms, all that moves with them, and the head."""
    names = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    chosen = names[-max(1, len(names) // 5) :] if names else []
    return head(model) | {key for key in model.state_dict() if key.rpartition(".")[0] in chosen}


def flags(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def outputs(found: Any) -> tuple[torch.Tensor, ...]:
    return tuple(each for each in found if each is not None) if isinstance(found, tuple) else (found,)


def run(call: Callable[..., Any], model: nn.Module, *given: torch.Tensor) -> tuple[list[torch.Tensor], dict[str, Any]]:
    """What a call gives, from one state of the generator, and the gradients and buffers of the model after it."""
    state = {key: value.clone() for key, value in model.named_buffers()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found = outputs(call(*given))
    model.zero_grad()
    sum(each.square().mean() for each in found).backward()
    gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    after = {key: value.clone() for key, value in model.named_buffers()}
    model.load_state_dict(state, strict=False)
    return [each.detach() for each in found], gradients | after


def check(model: nn.Module, moving: Collection[str], size: int, training: bool) -> Cut:
    """Cut the model, and hold the parts beside the whole."""
    held(model, moving)
    before, keys, generator = flags(model), list(model.state_dict()), torch.get_rng_state()
    attributes = set(vars(model))
    parts = cut(model, moving, size, training=training)
    assert flags(model) == before
    assert list(model.state_dict()) == keys
    assert set(vars(model)) == attributes
    assert torch.equal(torch.get_rng_state(), generator)
    assert not set(parts.keys) & set(moving)
    assert set(parts.keys) <= set(keys)

    held(model, moving, parts.disabled_dropout).train(training)
    before = flags(model)
    x = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        boundary = parts.prefix(x)
    assert sum(each[0].numel() * 4 for each in boundary) == parts.bytes_per_image
    copies = [each.clone() for each in boundary]
    whole, apart = run(model, model, x), run(parts.suffix, model, *boundary)
    assert all(map(torch.equal, boundary, copies)), "the suffix writes into what it is given"
    assert flags(model) == before
    for one, other in zip(whole[0], apart[0], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert whole[1].keys() == apart[1].keys()
    for key, value in whole[1].items():
        torch.testing.assert_close(value, apart[1][key], rtol=1e-3, atol=1e-5 + 1e-4 * float(value.abs().max()))
    return parts


# --- every network that wdiv names

CASES = [(name, MODELS[name].min_size, {}) for name in MODELS if name not in LARGE]
CASES += [("inception_v3", 75, {"aux_logits": False})]


@pytest.mark.parametrize(("name", "size", "args"), some(CASES), ids=lambda value: str(value))
def test_the_parts_are_the_whole(name: str, size: int, args: dict[str, Any]) -> None:
    size, model = max(size, 48), thin(ModelSpec(name, args), by=8)
    for moving in (head, last_norms):
        if moving is last_norms and not MODELS[name].bn:
            continue
        for training in (True, False):
            check(model, moving(model), size, training)
    with pytest.raises(NoPrefix, match=r"^no layer with parameters comes before all that trains$"):
        cut(model, set(model.state_dict()), size, training=True)


@pytest.mark.parametrize("name", some(["resnet152", "densenet201", "vgg19_bn"]))
def test_the_large_are_cut_without_numbers(name: str) -> None:
    model = build(name, "meta")
    parts = cut(held(model, head(model)), head(model), 64, training=True)
    assert parts.share > 0.99
    assert parts.keys


def test_a_resnet50_keeps_2048_numbers_an_image() -> None:
    model = build("resnet50", "meta")
    parts = cut(held(model, head(model)), head(model), 224, training=True)
    assert parts.bytes_per_image == 2048 * 4
    assert set(parts.keys) == set(model.state_dict()) - head(model)


def test_what_trains_decides_how_much_is_saved() -> None:
    model = build("resnet18", "meta")
    moving = {key for key in model.state_dict() if key.startswith(("layer3", "layer4", "fc"))}
    parts = cut(held(model, moving), moving, 224, training=True)
    assert parts.bytes_per_image == 128 * 28 * 28 * 4
    assert parts.share == pytest.approx(0.55, abs=0.05)


def test_vgg_does_not_blow_up_its_maps_before_they_are_kept() -> None:
    model = build("vgg16", "meta")
    moving = {key for key in model.state_dict() if key.startswith("classifier")}
    assert cut(model, moving, 32, training=True).bytes_per_image == 512 * 4
    assert cut(model, moving, 224, training=True).bytes_per_image == 512 * 49 * 4


def test_densenet_keeps_no_concatenation_of_what_it_keeps() -> None:
    model = build("densenet121", "meta")
    moving = {key for key in model.state_dict() if ".denselayer16.norm1." in key and "block4" in key} | head(model)
    parts = cut(held(model, moving), moving, 64, training=True)
    assert parts.bytes_per_image == 992 * 2 * 2 * 4  # what layer 16 reads and passes on, once


def test_auxiliary_heads_have_their_own_boundary() -> None:
    model = build("inception_v3", "meta", init_weights=False)
    held(model, head(model))
    assert cut(model, head(model), 299, training=True).bytes_per_image == (2048 + 768) * 4
    assert cut(model, head(model), 299, training=False).bytes_per_image == 2048 * 4
    assert (
        len(check(build("googlenet", init_weights=False), head(model), 64, True).prefix(torch.rand(2, 3, 64, 64))) == 3
    )


# --- what is random


def random(parts: Cut) -> set[str]:
    """The dropouts of the suffix."""
    return {
        n.target
        for n in parts.suffix.graph.nodes
        if n.op == "call_module" and "Drop" in str(parts.suffix.get_submodule(n.target))
    }


def test_the_classifiers_dropout_stays_random() -> None:
    model = build("mobilenet_v2", width_mult=0.1)
    parts = check(model, head(model), 48, True)
    assert (parts.disabled_dropout, random(parts)) == (frozenset(), {"classifier.0"})
    model.train()
    with torch.no_grad():
        given = parts.prefix(torch.rand(2, 3, 48, 48))
        assert not torch.equal(parts.suffix(*given), parts.suffix(*given))


def test_a_dropout_before_a_frozen_layer_sleeps() -> None:
    model = build("alexnet")
    parts = check(model, head(model), 64, True)  # classifier: drop, linear, relu, drop, linear, relu, linear
    assert (parts.disabled_dropout, random(parts)) == ({"classifier.0", "classifier.3"}, set())
    assert not cut(build("alexnet", "meta"), head(model), 64, training=False).disabled_dropout


def test_efficientnet_and_convnext_put_their_stochastic_depth_to_sleep() -> None:
    model = build("efficientnet_b0")
    parts = check(model, last_norms(model), 48, True)
    assert len(parts.disabled_dropout) == 7  # the last two come after BatchNorms that train
    assert random(parts) == {"classifier.0"}
    block = models.convnext.CNBlockConfig
    model = models.ConvNeXt([block(8, 16, 2), block(16, None, 2)], stochastic_depth_prob=0.5, num_classes=3)
    parts = check(model, head(model), 32, True)
    assert {name.rpartition(".")[2] for name in parts.disabled_dropout} == {"stochastic_depth"}
    assert sum(key.endswith("layer_scale") for key in parts.keys) == 4
    moving = {"features.3.1.layer_scale"}
    assert not moving & set(check(model, moving, 32, True).keys)


def test_functional_dropout_cannot_sleep() -> None:
    model = thin(ModelSpec("densenet121", {"drop_rate": 0.5}), by=8)
    parts = check(model, head(model), 48, True)
    assert not parts.disabled_dropout
    assert max(parts.keys).startswith("features.norm0")  # "features.denseblock1.denselayer1.…", and no further
    assert not any("denselayer2." in key for key in parts.keys)
    assert cut(model, head(model), 48, training=False).bytes_per_image == 1024 // 8 * 4


def test_dropout_of_probability_zero_is_nothing() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.0), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    assert not check(model, {"4.weight", "4.bias"}, 8, True).disabled_dropout


# --- transformers


def test_a_vision_transformer() -> None:
    args = {"image_size": 16, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 16}
    model = models.VisionTransformer(**args, dropout=0.1, num_classes=3)
    nn.init.normal_(model.heads.head.weight)
    parts = check(model, head(model), 16, True)
    assert parts.bytes_per_image == 8 * 4
    assert "encoder.dropout" in parts.disabled_dropout
    assert "class_token" in parts.keys
    moving = {"class_token", *head(model)}
    parts = check(model, moving, 16, True)
    assert parts.keys == ("conv_proj.weight", "conv_proj.bias")
    assert parts.bytes_per_image == 8 * 4 * 4  # the batch's size is no part of it
    moving = {key for key in model.state_dict() if ".ln" in key} | head(model)
    assert "class_token" in check(model, moving, 16, True).keys


# --- networks of one's own


class Own(nn.Module):
    """A convolution, then ``inner``, then a head."""

    def __init__(self, inner: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv, self.late, self.fc, self.inner = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 3), inner

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return self.fc(self.late(self.inner(self.conv(x))).mean((2, 3)) * scale)


HEAD = ("fc.weight", "fc.bias")


def test_a_default_argument_is_no_second_input() -> None:
    assert check(Own(torch.relu), HEAD, 8, True).bytes_per_image == 16


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (lambda x: x if x.sum() > 0 else -x, "torch.fx cannot trace the network: "),
        (lambda x: x - x.mean(0, keepdim=True), "what the network makes of an image depends on the others"),
        (lambda x: x.flip(0), "what the network makes of an image depends on the others"),
        (lambda x: x + x.relu_().neg() + x, "writes into a tensor that is read elsewhere"),
    ],
    ids=["control flow", "centred", "flipped", "in place"],
)
def test_what_cannot_be_cut_says_why_in_a_line(inner: Callable[..., torch.Tensor], reason: str) -> None:
    model = Own(inner)
    before = flags(model)
    with pytest.raises(NoPrefix, match=reason) as caught:
        cut(model, HEAD, 8, training=True)
    assert "\n" not in str(caught.value)
    assert flags(model) == before


@pytest.mark.parametrize("noise", [torch.rand_like, lambda x: nn.functional.dropout(x, 0.5)], ids=["rand", "dropout"])
def test_random_functions_are_never_frozen(noise: Callable[..., torch.Tensor]) -> None:
    assert cut(Own(lambda x: x + noise(x)), HEAD, 8, training=True).keys == ("conv.weight", "conv.bias")


def test_batch_statistics_are_never_frozen() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 3))
    moving = ("4.weight", "4.bias")
    first = ("0.weight", "0.bias")
    assert cut(model, moving, 8, training=True).keys == first, "nobody holds it"
    assert len(cut(model, moving, 8, training=False).keys) == 9
    assert len(cut(held(model, moving), moving, 8, training=True).keys) == 9
    model[1] = nn.BatchNorm2d(4, track_running_stats=False)
    assert cut(model, moving, 8, training=False).keys == first


def test_a_tensor_with_two_names_moves_under_either() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(192, 3))
    model[1].weight = model[2].weight
    assert cut(model, {"2.weight"}, 8, training=True).keys == ("0.weight", "0.bias")


# --- the digest


def test_the_digest_is_of_the_structure() -> None:
    def digest(pool: nn.Module, seed: int = 0, eps: float = 1e-5) -> str:
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, eps=eps), pool, nn.Flatten(), nn.LazyLinear(3))
        model(torch.zeros(2, 3, 9, 9))
        held(model, ("4.weight", "4.bias"))
        return cut(model, ("4.weight", "4.bias"), 9, training=True).digest

    same = digest(nn.AvgPool2d(2))
    assert digest(nn.AvgPool2d(2), seed=1) == same
    others = [nn.AvgPool2d(3), nn.AvgPool2d(2, ceil_mode=True), nn.AvgPool2d(2, 1), nn.MaxPool2d(2)]
    assert len({same, digest(nn.AvgPool2d(2), eps=1e-3), *map(digest, others)}) == 6


def _digest(answer: Any) -> None:
    spec = ModelSpec("mobilenet_v2")
    answer.put(cut(build_skeleton(spec, 3), head_keys(spec), 64, training=False).digest)


def test_the_digest_is_the_same_in_every_process_and_mode() -> None:
    context = forking()
    there = context.Queue()
    process = context.Process(target=_digest, args=(there,))
    process.start()
    found = there.get(timeout=600)
    process.join()
    model = build("mobilenet_v2", "meta")
    assert found == cut(held(model, head(model)), head(model), 64, training=True).digest
