"""The change of outputs of whole stores: every value against brute force, and why there is none where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file
from torch import nn

import wdiv
from tests.fabric import KEYS, base_state, make_store, rewrite, run_states, source_state
from tests.outputs.brute import change, outputs
from wdiv.errors import BadInput, NoOutputs
from wdiv.measure import Flag
from wdiv.outputs import changes, starts
from wdiv.store.reader import CheckpointStore

IMAGES = np.random.default_rng(0).normal(size=(9, 3, 8, 8)).astype(np.float32)


class ToyNet(nn.Module):
    """The network of :mod:`tests.fabric`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stage = (
            nn.ModuleDict({"conv": nn.Conv2d(i, o, 3, bias=bias, padding=1), "bn": nn.BatchNorm2d(o, eps=1e-3)})
            for i, o, bias in ((3, 4, False), (4, 6, True))
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for part in (self.stem, self.stage):
            x = part["bn"](part["conv"](x)).relu()
        return self.head(x.mean((2, 3)))


def toynet(state: Mapping[str, np.ndarray]) -> nn.Module:
    network = ToyNet().eval()
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    return network


def measured(store: Path, **how: Any) -> xr.DataTree:
    return wdiv.output_change(store, IMAGES, model=ToyNet(), **how)


def value(tree: xr.DataTree, layer: str, role: str, run: int = 0, epoch: int = -1) -> tuple[float, int]:
    kind = {"conv": "conv", "bn": "bn", "head": "fc"}[layer.rpartition(".")[2]]
    found = tree[kind].to_dataset().isel(run=run, epoch=epoch).sel(layer=layer, role=role)
    return float(found["output_change"]), int(found["flag"])


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("outputs") / "grid", ("fc", "bn+fc", "conv+fc", "scratch"), (0,), 2)


@pytest.mark.parametrize("reference", [0, "pretrained", "previous", 1])
def test_every_value_agrees_with_brute_force(grid: Path, reference: str | int) -> None:
    tree, checked = measured(grid, reference=reference), 0
    for i, run in enumerate(tree["run"].values.tolist()):
        strategy = run.split("-")[3]
        states = run_states(strategy, 0, 2)
        for epoch, state in enumerate(states):
            old = {"previous": states[epoch - 1], 1: states[1]}.get(reference, states[0])
            none = (reference == "previous" and not epoch) or (reference == "pretrained" and strategy == "scratch")
            for kept in (True, False):
                sums = outputs(toynet(states[0]), toynet(old), toynet(state), torch.from_numpy(IMAGES), kept)
                for layer, wanted in sums.items():
                    role = ("statistics" if kept else "affine") if layer.endswith("bn") else "weight"
                    found, flag = value(tree, layer, role, i, epoch)
                    if none or (reference == "pretrained" and layer == "head"):
                        assert np.isnan(found)
                        assert flag == (Flag.FIRST_EPOCH if reference == "previous" else Flag.NO_START)
                        continue
                    assert flag == 0
                    assert found == pytest.approx(change(wanted), rel=1e-6, abs=0), (run, epoch, layer)
                    checked += 1
    assert checked >= 3 * 2 * 2 * 4


def test_what_has_not_moved_is_exactly_at_zero(grid: Path) -> None:
    tree = measured(grid, reference=0)
    for node in tree.children.values():
        assert (node["output_change"].isel(epoch=0).where(node["flag"].isel(epoch=0) == 0, 0.0) == 0.0).all()
    fc = tree["run"].values.tolist().index("toynet-toy-n2-fc-auto-s0")
    assert {float(tree[kind]["output_change"].isel(run=fc).max()) for kind in ("conv", "bn")} == {0.0}


def test_filters_and_stages_are_of_the_same_sums(grid: Path) -> None:
    one, by_filter, by_stage = (measured(grid, reference=0, reduction=how) for how in ("layer", "filter", "stage"))
    last = run_states("conv+fc", 0, 2)
    run = one["run"].values.tolist().index("toynet-toy-n2-conv+fc-auto-s0")
    sums = outputs(toynet(last[0]), toynet(last[0]), toynet(last[2]), torch.from_numpy(IMAGES))
    each = by_filter["conv/output_change"].isel(run=run, epoch=2, role=0).values
    wanted = np.concatenate([np.sqrt(a / b) for a, b in (sums["stem.conv"], sums["stage.conv"])])
    np.testing.assert_allclose(each, wanted, rtol=1e-6)
    assert by_filter["bn/output_change"].dims == ("run", "epoch", "channel", "role")
    for node, layers in (("conv", ("stem.conv", "stage.conv")), ("bn", ("stem.bn", "stage.bn"))):
        stages = by_stage[node].to_dataset()
        assert stages["layers"].values.tolist() == [1, 1]
        for stage, layer in zip(stages["stage"].values, layers, strict=True):
            role = stages["role"].values[0]
            pooled = float(stages["output_change"].isel(run=run, epoch=2).sel(stage=stage, role=role))
            assert pooled == pytest.approx(value(one, layer, role, run)[0], rel=1e-12)


def test_a_stage_pools_the_sums_of_its_layers(grid: Path) -> None:
    store = CheckpointStore.open(grid)
    tree = wdiv.open(grid)
    joined = xr.DataTree.from_dict({
        node.path: node.to_dataset(inherit=False).assign_coords(stage=("layer", ["all", "all"]))
        if node.path in ("/conv", "/bn") else node.to_dataset(inherit=False)
        for node in tree.subtree
    })  # fmt: skip
    found = changes(store, joined, starts.Starts(wdiv.outputs.Images(IMAGES, model=ToyNet())), 0, reduction="stage")
    run = tree["run"].values.tolist().index("toynet-toy-n2-conv+fc-auto-s0")
    states = run_states("conv+fc", 0, 2)
    sums = outputs(toynet(states[0]), toynet(states[0]), toynet(states[2]), torch.from_numpy(IMAGES))
    a, b = (sum(sums[layer][i].sum() for layer in ("stem.conv", "stage.conv")) for i in (0, 1))
    assert float(found["conv/output_change"].isel(run=run, epoch=2).squeeze()) == pytest.approx(
        np.sqrt(a / b), rel=1e-6
    )


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A store of one run, its source and its epochs changed."""

    def make(base: Mapping[str, Any] = {}, epoch: Mapping[str, Any] = {}, strategy: str = "scratch") -> Path:
        store = make_store(tmp_path / "store", (strategy,), (0,), 1)
        if base:
            rewrite(next(store.glob("bases/*")), base)
        rewrite(next(store.glob("runs/*/epochs/0001*")), epoch)
        return store

    return make


def as_at_start(**but: Callable[[np.ndarray], np.ndarray]) -> dict[str, Any]:
    """Let the epoch be the start, but for some tensors."""
    start = run_states("scratch", 0, 1)[0]

    def kept(key: str) -> Callable[[np.ndarray], np.ndarray]:
        change = but.get(key.replace(".", "_"), lambda x: x)
        return lambda _now: change(start[key])

    return {key: kept(key) for key in KEYS}


def test_a_doubled_kernel_whose_statistics_follow_was_not_learned(edited: Callable[..., Path]) -> None:
    store = edited(epoch=as_at_start(
        stem_conv_weight=lambda x: 2 * x, stem_bn_running_mean=lambda x: 2 * x, stem_bn_running_var=lambda x: 4 * x
    ))  # fmt: skip
    tree = measured(store, reference=0)
    assert value(tree, "stem.conv", "weight") == (1.0, 0)
    assert value(tree, "stem.bn", "affine") == (0.0, 0)
    start = toynet(run_states("scratch", 0, 1)[0])
    x = start.stem["conv"](torch.from_numpy(IMAGES)).detach().double().numpy()  # type: ignore[index]
    gamma, beta, mean, var = (
        getattr(start.stem["bn"], name).detach().double().numpy()[:, None, None]  # type: ignore[index]
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    then = gamma * (x - mean) / np.sqrt(var + 1e-3) + beta
    now = gamma * (x - 2 * mean) / np.sqrt(4 * var + 1e-3) + beta
    by_hand = np.sqrt(((now - then) ** 2).sum() / (then**2).sum())
    assert value(tree, "stem.bn", "statistics") == (pytest.approx(by_hand, rel=1e-6), 0)


def test_a_start_that_gives_out_nothing_has_no_change(edited: Callable[..., Path]) -> None:
    nothing = dict.fromkeys(("stage.bn.weight", "stage.bn.bias", "stem.conv.weight"), np.zeros_like)
    store = edited(base=nothing, epoch=as_at_start())
    tree = measured(store, reference=0)
    for layer, role in (("stage.bn", "affine"), ("stage.bn", "statistics"), ("stem.conv", "weight")):
        assert np.isnan(value(tree, layer, role)[0])
        assert value(tree, layer, role)[1] == Flag.ZERO_OUTPUT
    assert value(tree, "stem.bn", "affine") == (0.0, 0)
    assert value(tree, "stem.conv", "weight", epoch=0) == (0.0, 0), "nothing of it has moved"


def test_what_is_not_finite_gives_no_number_and_spoils_no_other_layer(edited: Callable[..., Path]) -> None:
    store = edited(epoch=as_at_start(stage_conv_bias=lambda x: x * np.array([np.inf, 1, 1, 1, 1, 1])))
    tree = measured(store, reference=0)
    assert np.isnan(value(tree, "stage.conv", "weight")[0])
    assert value(tree, "stage.conv", "weight")[1] == Flag.NOT_FINITE
    assert value(tree, "stem.conv", "weight") == value(tree, "stage.bn", "affine") == (0.0, 0)
    filters = measured(store, reference=0, reduction="filter")["conv/output_change"].isel(run=0, epoch=-1, role=0)
    assert np.isnan(filters.values).tolist() == [False] * 4 + [True] + [False] * 5


class Skipping(ToyNet):
    """It never calls its second BatchNorm, and its second convolution twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem["bn"](self.stem["conv"](x)).relu()
        return self.head((self.stage["conv"](x) + self.stage["conv"](2 * x).relu()).mean((2, 3)))


def test_what_never_runs_has_no_value_and_what_runs_twice_has_one(grid: Path) -> None:
    tree = wdiv.output_change(grid, IMAGES, model=Skipping(), reference=0, epoch="last")
    run = tree["run"].values.tolist().index("toynet-toy-n2-conv+fc-auto-s0")
    assert value(tree, "stage.bn", "affine", run)[1] == Flag.NOT_RUN
    networks = []
    for state in run_states("conv+fc", 0, 2):
        networks.append(Skipping())
        networks[-1].load_state_dict({k: torch.from_numpy(v) for k, v in state.items()}, strict=False)
    sums = outputs(networks[0].eval(), networks[0], networks[2], torch.from_numpy(IMAGES))
    assert value(tree, "stage.conv", "weight", run)[0] == pytest.approx(change(sums["stage.conv"]), rel=1e-6)


def test_one_epoch_alone_can_be_asked_for(grid: Path) -> None:
    every, last = measured(grid, reference=0), measured(grid, reference=0, epoch="last")
    for kind, node in last.children.items():
        xr.testing.assert_equal(node["output_change"].isel(epoch=-1), every[kind]["output_change"].isel(epoch=-1))
        there = (node["flag"].isel(epoch=0) & int(Flag.ABSENT)) == 0
        assert set(node["flag"].isel(epoch=0).where(there, int(Flag.NOT_SAVED)).values.ravel()) == {int(Flag.NOT_SAVED)}
    with pytest.raises(BadInput, match="epoch 7: 'last', or one of those saved"):
        measured(grid, epoch=7)


def test_a_start_is_captured_once_for_all_that_begin_with_it(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = starts.capture
    monkeypatch.setattr(starts, "capture", lambda *given: made.append(1) or real(*given))
    model = ToyNet()
    for reference in (0, "pretrained"):
        wdiv.output_change(grid, IMAGES, model=model, reference=reference)
    assert len(made) == 2, "the source's, whatever the new head, and that of the run from scratch"


def test_the_images_are_told(grid: Path) -> None:
    attrs = measured(grid, count=4).attrs
    assert (attrs["images"], attrs["images_seed"]) == ("4 of images given", "0")
    assert len(attrs["images_digest"]) == 64
    assert measured(grid, count=5).attrs["images_digest"] != attrs["images_digest"]


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """Three epochs that somebody else saved, and their start, under names of their own."""
    for epoch, state in enumerate(run_states("conv+fc", 0, 2)):
        save_file({f"body.{key}": value for key, value in state.items()}, tmp_path / f"epoch_{epoch}.safetensors")
    save_file(source_state(), tmp_path / "base.safetensors")
    wdiv.import_run(tmp_path, "epoch_{epoch}.safetensors", base=tmp_path / "base.safetensors", out=tmp_path / "store")
    return tmp_path / "store"


def test_an_imported_run_is_shown_to_the_network_that_is_named(imported: Path, grid: Path) -> None:
    tree, own = measured(imported), measured(grid)
    run = own["run"].values.tolist().index("toynet-toy-n2-conv+fc-auto-s0")
    for layer, role in (("stem.conv", "weight"), ("stage.conv", "weight"), ("stage.bn", "statistics")):
        assert value(tree, f"body.{layer}", role)[0] == pytest.approx(value(own, layer, role, run)[0], rel=1e-12)
    assert value(tree, "body.head", "weight")[1] == Flag.NO_START


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        (
            {"images": IMAGES},
            NoOutputs,
            "cannot be built here .unknown model .*--model .*output_change_proxy needs no",
        ),
        ({"images": IMAGES, "model": "resnet18"}, BadInput, "is not its own: .* of its tensors have no partner"),
        ({"images": IMAGES, "model": "resnt18"}, Exception, "unknown model 'resnt18'; did you mean"),
        ({"model": ToyNet()}, NoOutputs, "does not say where its images are; .*output_change_proxy"),
        ({"images": "nowhere"}, Exception, "no data set and no folder 'nowhere'"),
        ({"images": IMAGES[0]}, BadInput, "images: a data set's name, a folder, an ImageSet or floating"),
        ({"images": IMAGES, "count": 0}, BadInput, "images: a whole number from 1"),
        ({"images": IMAGES, "image_size": 3}, BadInput, "image size: a whole number of pixels, at least 8"),
        ({"images": IMAGES, "reference": "nope"}, BadInput, "reference 'nope'"),
        ({"images": IMAGES, "reduction": "block"}, BadInput, "reduction 'block'"),
    ],
)
def test_what_cannot_be_is_one_line(imported: Path, how: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        wdiv.output_change(imported, **how)
    assert "\n" not in str(caught.value)


def test_the_start_is_the_base_and_not_what_an_epoch_says(imported: Path) -> None:
    """Inputs come from the start network: of another base, other inputs, though the epochs are the same."""
    before = measured(imported, reference=0)
    save_file(base_state(7) | {"head.weight": base_state(7)["head.weight"]}, imported.parent / "other.safetensors")
    wdiv.import_run(
        imported.parent, "epoch_{epoch}.safetensors", base=imported.parent / "other.safetensors", out=imported
    )
    after = measured(imported, reference=0)
    assert value(before, "body.stem.conv", "weight") == value(after, "body.stem.conv", "weight"), "fed the images"
    assert value(before, "body.stage.conv", "weight") != value(after, "body.stage.conv", "weight")
