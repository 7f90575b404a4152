"""What is judged is the network, whatever is folded into what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.conftest import some
from tests.tuning.tiny import INPUTS, images, lived_in, make_loop, moved, net, snapshot, thin
from wdiv.tuning.networks.models import MODELS, ModelSpec, build
from wdiv.tuning.prefix.bn_folding import FusedEvalModel, fused_eval_model

NETWORKS = {
    # model -> (size of the images, BatchNorms that can be folded)
    "resnet18": (32, 20),
    "mobilenet_v2:width_mult=0.35": (32, 52),
    "densenet121": (32, 59),  # one a dense layer, and the first; the others normalise before they convolve
    "vgg16_bn": (32, 13),
    "inception_v3": (299, 94),  # without those of the auxiliary head
    "squeezenet1_1": (32, 0),
    "efficientnet_b0": (32, 49),
    "convnext_tiny": (32, 0),
}


def folds(quick: FusedEvalModel) -> int:
    return len(quick._folds)


@pytest.mark.parametrize("name", some(NETWORKS))
def test_a_judge_says_what_the_network_says(name: str) -> None:
    size, count = NETWORKS[name]
    spec = ModelSpec.parse(name)
    model = thin(spec).eval() if name in MODELS else lived_in(build(spec, 5, 0)).eval()
    x = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    before = snapshot(model)
    quick = fused_eval_model(model)
    with torch.inference_mode(), quick.now() as show:
        theirs, ours = model(x), show(x)
    assert folds(quick) == count
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5 * float(theirs.abs().max()))
    assert moved(before, model.state_dict()) == set()


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda bias: nn.Conv2d(4, 6, 3, groups=2, bias=bias),
        lambda bias: nn.Conv2d(4, 6, 3, stride=2, padding=1, padding_mode="reflect", bias=bias),
        lambda bias: nn.Conv2d(4, 6, 3, dilation=2, padding="same", bias=bias),
    ],
    ids=["groups", "reflect", "dilation"],
)
def test_every_setting_of_a_convolution_is_kept(make: Callable[[bool], nn.Conv2d], bias: bool, affine: bool) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(6, affine=affine, eps=1e-2)
    norm.running_mean, norm.running_var = torch.randn(6), 0.1 + torch.rand(6)
    if affine:
        norm.weight.data, norm.bias.data = torch.randn(6), torch.randn(6)
    model = nn.Sequential(make(bias), norm).eval()
    quick, x = fused_eval_model(model), torch.randn(2, 4, 9, 9)
    assert folds(quick) == 1
    with quick.now() as show:
        torch.testing.assert_close(show(x), model(x), rtol=1e-4, atol=1e-5)


class Twice(nn.Module):
    """A convolution that is used twice, once without its BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Shared(nn.Module):
    """One convolution, two BatchNorms: each pair is folded on its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.conv(F.relu(self.one(self.conv(x)))))


class Overwritten(nn.Module):
    """What the convolution is given is written into before the BatchNorm is reached."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        y = self.conv(x)
        x.relu_()
        return self.norm(y) * x.mean()


class Asks(nn.Module):
    """What no graph can say."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(self.conv(x))
        return y if y.sum() > 0 else -y


def own_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    model[0].register_forward_hook(lambda module, args, output: output + 1)
    return model


@pytest.mark.parametrize(
    ("make", "count"),
    [(Twice, 0), (Shared, 2), (Overwritten, 1), (Asks, 0), (own_statistics, 0), (hooked, 0)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_folded_is_left(make: Callable[[], nn.Module], count: int) -> None:
    torch.manual_seed(0)
    model, x = lived_in(make()) if make is not own_statistics else make(), torch.randn(4, 3, 8, 8)
    model.eval()
    quick = fused_eval_model(model)
    assert folds(quick) == count
    with quick.now() as show:
        torch.testing.assert_close(show(x.clone()), model(x.clone()), rtol=1e-4, atol=1e-5)
    assert all(fold.weight is None for fold in quick._folds), "what is folded is let go"


def test_a_judge_sees_what_training_did() -> None:
    model = net()
    loop, log = make_loop(model, "conv=1e-2,bn=1e-1,fc=1e-1", epochs=3)
    loop.run()
    told = [row["test_accuracy"] for row in log.rows]
    assert len(set(told)) > 1
    for state, accuracy in zip(log.states, told, strict=True):
        other = net()
        other.load_state_dict(state)
        other.eval()
        shown = images(9, seed=1)
        with torch.inference_mode():
            right = (other(INPUTS.prepare(shown.pixels)).argmax(1) == shown.labels).float().mean()
        assert accuracy == pytest.approx(float(right))


def test_where_rounding_would_show_nothing_is_folded() -> None:
    seen = []
    for how in ({}, {"precision": "bf16"}, {"precision": "tf32"}, {"compile": True}):
        loop, _ = make_loop(net(), **how)
        seen.append(folds(loop.test_feed._judge()))  # type: ignore[attr-defined]
    assert seen == [2, 0, 0, 0]
