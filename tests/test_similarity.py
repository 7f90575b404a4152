"""What two networks make of the same images: every label is the module it names, and nothing is left behind."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn
from torchvision.models import googlenet

from tests.metrics.test_features import cka_oracle, procrustes_oracle
from tests.tuning.tiny import MOBILENET, SMALL, net, small_run, snapshot, thin, write_weights
from wdiv.errors import BadData, BadInput, BadWeights, UnknownName
from wdiv.similarity import similarity, similarity_of
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.training.run import fine_tune


def images(count: int = 6, size: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def outputs_alone(network: nn.Module, name: str, batch: torch.Tensor) -> list[np.ndarray]:
    """What one module gives out, call by call: that module alone is watched, and its output copied."""
    caught: list[np.ndarray] = []
    handle = network.get_submodule(name).register_forward_hook(
        lambda _module, _args, out: caught.append(out.detach().numpy().reshape(len(out), -1).astype(float))
    )
    with torch.no_grad():
        network.eval()(batch)
    handle.remove()
    return caught


@pytest.fixture(scope="module")
def resnets() -> tuple[nn.Module, nn.Module]:
    return thin("resnet18", by=8).eval(), thin("resnet18", by=8, seed=1).eval()


# ------------------------------------------------------------------------------------------------------------- labels


def test_every_label_of_a_resnet_is_the_module_it_names(resnets: tuple[nn.Module, nn.Module]) -> None:
    """A shared ReLU works in place on what the BatchNorm before it gave out, and the shortcut is added in place: a
    module's own output is gone by the time the network has run."""
    a, b = resnets
    batch = images(5, 33)
    found = similarity(a, b, batch, modules="all")
    assert found.sizes["layer"] == 76
    wrong = []
    for label in found.layer.values.tolist():
        name, _, call = label.partition("@")
        k, l = (outputs_alone(network, name, batch)[int(call or 1) - 1] for network in (a, b))  # noqa: E741
        values = found.sel(layer=label)
        if not (
            np.isclose(values.linear_cka, cka_oracle(k - k.mean(0), l - l.mean(0)), rtol=1e-6)
            and np.isclose(values.procrustes_distance, _procrustes(k, l), rtol=1e-6)
        ):
            wrong.append(label)
    assert wrong == []


def _procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """Of wide features: through a basis of what the few images span."""
    span = [np.linalg.qr((f - f.mean(axis=0)).T)[1].T for f in (x, y)]
    return procrustes_oracle(*span)


def test_few_images_are_brought_onto_any_others_and_the_shuffled_value_says_so() -> None:
    """Of networks that have nothing to do with one another both are alike; of a copy that moved a little only the
    shuffled one stays."""
    a, b = net(0, dropout=0.0), net(1, dropout=0.0)
    batch = images(8)
    found = similarity(a, b, batch)
    shuffled = found["procrustes_distance_shuffled"]
    near = similarity(a, a, batch)
    assert (near["procrustes_distance"] == 0).all()
    np.testing.assert_allclose(near["procrustes_distance_shuffled"], shuffled, rtol=1.0)
    assert shuffled.sel(layer="conv1") < 0.2, "few images, many features"
    assert (found["procrustes_distance"] < 1.2 * shuffled).all()
    assert (shuffled > 0.3 * found["procrustes_distance"]).all()
    again = similarity(a, b, batch)["procrustes_distance_shuffled"]
    xr.testing.assert_identical(again, shuffled)
    assert shuffled.attrs["long_name"].endswith("the images of B shuffled; mean of 8")


def test_the_shuffled_value_is_the_metric_of_features_in_another_order() -> None:
    a, b, batch = net(0, dropout=0.0), net(1, dropout=0.0), images(200)
    found = similarity(a, b, batch)["procrustes_distance_shuffled"]  # one shuffle of many images
    order = np.random.default_rng(0).permutation(200)
    k, l = (outputs_alone(network, "fc", batch)[0] for network in (a, b))  # noqa: E741
    assert found.sel(layer="fc").item() == pytest.approx(procrustes_oracle(k - k.mean(0), (l - l.mean(0))[order]))


def test_layers_come_in_the_order_in_which_they_run(resnets: tuple[nn.Module, nn.Module]) -> None:
    found = similarity(*resnets, images(4, 33))
    labels = found.layer.values.tolist()
    block = [label for label in labels if label.startswith("layer2.0")]
    assert block == [f"layer2.0.{n}" for n in ("conv1", "bn1", "conv2", "bn2", "downsample.0", "downsample.1")]
    assert len(labels) == 41
    assert found.depth.values.tolist() == list(range(41))
    assert set(found.kind.values.tolist()) == {"conv", "bn", "fc"}
    assert found.linear_cka.attrs["long_name"] == "linear CKA, unbiased"
    assert (found.attrs["n"], found.attrs["layer_order"]) == (4, "execution")


def test_order_of_calls_not_of_registration() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(4, 4, 1)
            self.first = nn.Conv2d(3, 4, 3)
            self.never = nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.last(self.first(x)))

    found = similarity(Backwards(), Backwards(), images())
    assert found.layer.values.tolist() == ["first", "last", "last@2"]


def test_layers_that_only_one_has_are_named() -> None:
    a = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    b = nn.Sequential(nn.Conv2d(3, 9, 3), nn.ReLU(), nn.Conv2d(9, 4, 3))
    found = similarity(a, b, images())
    assert found.layer.values.tolist() == ["0"]
    assert (found.attrs["only_in_a"], found.attrs["only_in_b"]) == ("1", "2")
    across = similarity(a, b, images(), across=True)
    assert across.linear_cka_across.dims == ("layer", "layer_b")
    assert (across.layer.values.tolist(), across.layer_b.values.tolist()) == (["0", "1"], ["0", "2"])
    assert across.why.values.tolist() == ["", "B has no layer of this name"]
    assert np.isnan(across.linear_cka.values).tolist() == [False, True]
    assert np.isfinite(across.linear_cka_across.values).all()


def test_across_holds_the_layers_own_values_on_its_diagonal() -> None:
    found = similarity(net(0), net(1), images(), across=True, modules="all")
    for name in ("linear_cka", "procrustes_distance"):
        np.testing.assert_array_equal(np.diag(found[f"{name}_across"]), found[name])


def test_a_network_against_itself() -> None:
    found = similarity(net(), net(), images())
    np.testing.assert_allclose(found.linear_cka, 1.0, rtol=1e-15)
    assert not found.procrustes_distance.values.any()
    assert set(found.why.values.tolist()) == {""}


def test_what_comes_out_comes_back_from_netcdf(tmp_path: Path) -> None:
    found = similarity(net(0), net(1), images(), across=True)
    found.to_netcdf(tmp_path / "found.nc")
    with xr.open_dataset(tmp_path / "found.nc") as back:
        xr.testing.assert_identical(back.load(), found)


def test_the_result_repeats_itself() -> None:
    first, second = (similarity(net(0), net(1), images()) for _ in range(2))
    xr.testing.assert_identical(first, second)


@pytest.mark.parametrize("form", [np.asarray, lambda x: x.double(), lambda x: x.to(memory_format=torch.channels_last)])
def test_images_in_any_form(form: Any) -> None:
    found = similarity(net(0), net(1), form(images()))
    np.testing.assert_allclose(found.linear_cka, similarity(net(0), net(1), images()).linear_cka, rtol=1e-4)


# ---------------------------------------------------------------------------------------------------------- left alone


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_the_networks_are_left_as_they_were() -> None:
    a, b = net(0).train(), net(1).train()
    a.bn1.eval()  # a frozen BatchNorm in a network that trains
    before = [snapshot(network) for network in (a, b)]
    modes = [[module.training for module in network.modules()] for network in (a, b)]
    generator = torch.get_rng_state()
    similarity(a, b, images().requires_grad_())
    for network, state, mode in zip((a, b), before, modes, strict=True):
        assert [module.training for module in network.modules()] == mode
        assert hooks(network) == 0
        assert all(p.grad is None and p.requires_grad for p in network.parameters())
        assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()


def test_eval_mode_is_what_is_compared() -> None:
    """In training mode dropout and batch statistics would make a network differ from itself."""
    found = similarity(net(dropout=0.5).train(), net(dropout=0.5).eval(), images(), modules="all")
    assert not found.procrustes_distance.values.any()


def test_an_error_inside_leaves_nothing_behind() -> None:
    a = net().train()
    with pytest.raises(BadInput, match=r"cannot take images of shape \(3, 9, 9\)"):
        similarity(a, net(), images(size=9))
    assert hooks(a) == 0
    assert all(module.training for module in a.modules())
    assert torch.is_grad_enabled()


def test_no_gradient_is_kept_and_no_activation() -> None:
    class Deep(nn.Sequential):
        def __init__(self) -> None:
            super().__init__(*(nn.Conv2d(3, 3, 1) for _ in range(20)))

    a, b = Deep(), Deep()
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def count(_module: nn.Module, _args: Any, output: torch.Tensor) -> None:
        nonlocal most
        assert not output.requires_grad
        alive.append(weakref.ref(output))
        most = max(most, sum(ref() is not None for ref in alive))

    for module in [*a, *b]:
        module.register_forward_hook(count)
    similarity(a, b, images(), modules="all")
    assert len(alive) == 40
    assert most <= 3
    assert hooks(a) == 20, "the hooks of others stay"


# ----------------------------------------------------------------------------------------------------------- undefined


def test_features_without_a_value_are_told_by_layer() -> None:
    a, b = net(0), net(1)
    a.bn2.weight.data.zero_()
    a.bn2.bias.data.zero_()
    b.conv1.bias.data[0] = float("nan")
    found = similarity(a, b, images())
    assert found.why.values.tolist() == [
        "in B the features hold inf or NaN", "in B the features hold inf or NaN", "in B the features hold inf or NaN",
        "in B the features hold inf or NaN", "in B the features hold inf or NaN",
    ]  # fmt: skip
    found = similarity(a, net(1), images())
    why = dict(zip(found.layer.values.tolist(), found.why.values.tolist(), strict=True))
    assert why == dict.fromkeys(("conv1", "bn1", "conv2"), "") | dict.fromkeys(
        ("bn2", "fc"), "in A the features of all images are equal"
    )
    assert np.isnan(found.linear_cka.values).tolist() == [bool(text) for text in why.values()]


class Named(NamedTuple):
    logits: torch.Tensor
    step: int


@pytest.mark.parametrize(
    ("wrap", "labels"),
    [
        (lambda x: (x, None), ["0", ""]),
        (lambda x: {"out": x, "scores": [x], "n": 3}, ["0", ""]),
        (lambda x: [x, x * 2], ["0", "[0]", "[1]"]),
        (lambda x: Named(x, 1), ["0", ""]),
        (lambda x: {"a": x, "b": x}, ["0", "[a]", "[b]"]),
        (lambda x: x[:2], ["0"]),
        (lambda x: x.argmax(1), ["0"]),
        (lambda x: x.sum(), ["0"]),
        (lambda x: None, ["0"]),
    ],
)
def test_outputs_of_any_kind(wrap: Any, labels: list[str]) -> None:
    class Wrapped(nn.Sequential):
        def forward(self, x: torch.Tensor) -> Any:
            return wrap(super().forward(x))

    found = similarity(Wrapped(nn.Conv2d(3, 4, 3)), Wrapped(nn.Conv2d(3, 4, 3)), images(), modules="all")
    assert found.layer.values.tolist() == labels


def test_what_is_not_one_row_for_each_image_is_left_out_and_named() -> None:
    class Windows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(x).permute(0, 2, 3, 1).reshape(-1, 4))

    found = similarity(Windows(), Windows(), images())
    assert found.layer.values.tolist() == ["conv"]
    assert found.attrs["left_out"] == "fc"


def test_googlenet_with_its_auxiliary_heads() -> None:
    network = googlenet(weights=None, init_weights=False, num_classes=5, aux_logits=True)
    found = similarity(network, network, images(4, 64))
    assert not any(label.startswith("aux") for label in found.layer.values), "they run in training only"
    assert not found.procrustes_distance.values.any()


# ---------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": images(3)}, "at least 4, not 3"),
        ({"images": images().to(torch.uint8)}, "floating point"),
        ({"images": images()[0]}, "floating point"),
        ({"modules": "some"}, "layers or all, not 'some'"),
        ({"metrics": ()}, "at least one metric"),
        ({"metrics": "relative_l2"}, "compares weights, not features"),
        ({"a": nn.ReLU()}, "no layer of it gave out a tensor"),
        ({"a": nn.ModuleDict({"other": nn.Conv2d(3, 4, 3)})["other"]}, "no layer of the same name"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(change: Mapping[str, Any], match: str) -> None:
    given = {"a": net(0), "b": net(1), "images": images(), **change}
    with pytest.raises(BadInput, match=match) as caught:
        similarity(given.pop("a"), given.pop("b"), given.pop("images"), **given)
    assert "\n" not in str(caught.value)


def test_an_unknown_metric() -> None:
    with pytest.raises(UnknownName, match="did you mean 'linear_cka'"):
        similarity(net(), net(), images(), metrics="linear_ckaa")


# --------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Weights, and the folder of a run that started from them."""
    folder = tmp_path_factory.mktemp("similarity")
    weights = write_weights(folder / "made.pth", SMALL)
    split = open_split("digits-5-9", 32, test_count=8)
    return weights, fine_tune(small_run(weights, "bn+fc"), split, folder / "store", device="cpu").path


def test_two_epochs_of_a_run(made: tuple[Path, Path]) -> None:
    _, run = made
    found = similarity_of(f"{run}@0", f"{run}@2", "digits-5-9", count=8, device="cpu")
    assert found.layer.values[0] == "features.0.0"
    assert found.stage.values[0] == "stem"
    assert found.procrustes_distance.values[0] == 0.0, "a frozen layer that reads the images sees what it saw"
    assert found.procrustes_distance.values[1] > 0.0
    assert found.attrs["data"] == "digits-5-9"
    same = similarity_of(f"{run}@2", f"{run}@2", "digits-5-9", count=8, device="cpu")
    assert not same.procrustes_distance.values.any()


def test_a_run_and_a_file_whose_network_it_tells(made: tuple[Path, Path]) -> None:
    weights, run = made
    found = similarity_of(str(weights), f"{run}@0", "digits-5-9", count=8, device="cpu")
    body = found.sel(layer=found.layer != "classifier.1")
    assert not body.procrustes_distance.values.any(), "the same weights on the same input, though only B states it"
    assert found.procrustes_distance.sel(layer="classifier.1") > 0, "each has its own classifier"


def test_weights_without_a_classifier_are_compared_up_to_it(made: tuple[Path, Path], tmp_path: Path) -> None:
    weights, run = made
    headless = {k: v for k, v in torch.load(weights).items() if not k.startswith("classifier")}
    torch.save(headless, tmp_path / "headless.pth")
    given: dict[str, Any] = {"data": "digits-5-9", "count": 8, "device": "cpu"}
    found = similarity_of(str(tmp_path / "headless.pth"), f"{run}@0", **given)
    assert found.attrs["only_in_b"] == "classifier.1"
    assert not found.procrustes_distance.values.any()
    found = similarity_of(f"{run}@0", str(tmp_path / "headless.pth"), modules="all", **given)
    assert found.attrs["only_in_a"].split(", ") == ["classifier.1", "classifier", ""]
    assert found.layer.values[-1] == "classifier.0"


def test_the_seed_draws_the_images(made: tuple[Path, Path]) -> None:
    _, run = made
    first, again, other = (
        similarity_of(f"{run}@0", f"{run}@2", "digits-5-9", count=8, seed=s, device="cpu") for s in (0, 0, 1)
    )
    xr.testing.assert_identical(first, again)
    assert (first.linear_cka != other.linear_cka).any()


def test_what_is_wrong_with_checkpoints(made: tuple[Path, Path], tmp_path: Path) -> None:
    weights, run = made
    (tmp_path / "text.pth").write_text("hello")
    wrong: list[tuple[tuple[str, str], dict[str, Any], type[Exception], str]] = [
        ((str(weights), str(weights)), {}, BadInput, "name it with --model"),
        ((str(weights), f"{run}@9"), {}, BadInput, "epoch 9 is not saved"),
        ((str(weights), f"{run}x@1"), {"model": MOBILENET}, BadWeights, "no such file"),
        ((str(weights), str(weights)), {"model": "vgg11"}, BadWeights, "not weights for vgg11"),
        ((str(run), str(tmp_path / "text.pth")), {}, BadWeights, "not a readable PyTorch file"),
        ((str(run), str(run)), {"count": 3}, BadInput, "at least 4, not 3"),
        ((str(run), str(run)), {"count": 2000}, BadData, "2000 images asked for, but digits-5-9 has 896"),
        ((str(run), str(run)), {"data": "nothing"}, BadData, "no data set and no folder 'nothing'"),
    ]
    for (a, b), given, error, match in wrong:
        with pytest.raises(error, match=match) as caught:
            similarity_of(a, b, **{"data": "digits-5-9", "count": 8, "device": "cpu", **given})
        assert "\n" not in str(caught.value)
