"""What a live network is made of, found by running it once as a copy without numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wdiv.errors import BadInput
from wdiv.layers import LayerTable
from wdiv.store.probe import buffers_of, layer_kind, probe
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton

torch = pytest.importorskip("torch")
nn = torch.nn

TableOf = Callable[[str], LayerTable]


class Backwards(nn.Module):
    """Registers its layers in the opposite order to that of running them, and two that it never runs."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.fc = nn.Linear(8, 5)
        self.norm = nn.BatchNorm2d(8)
        self.idle = nn.Conv2d(1, 1, 1)
        self.batchnorm = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)

    def forward(self, x: Any) -> Any:
        x = self.norm(self.batchnorm(self.first(x)))
        x = self.norm(x)  # twice: the first time counts
        return self.fc(input=x.mean((2, 3)))  # by keyword: a hook has no positional arguments to look at


class Excited(nn.Module):
    """A trunk of three strided blocks with squeeze and excitation, as users write them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8))
        self.blocks = nn.ModuleList(self._block(8 * 2**i) for i in range(3))
        self.head = nn.Linear(64, 6)

    def _block(self, width: int) -> nn.ModuleDict:
        return nn.ModuleDict(
            {
                "conv": nn.Conv2d(width, 2 * width, 3, 2, 1),
                "squeeze": nn.Conv2d(2 * width, 2, 1),
                "excite": nn.Conv2d(2, 2 * width, 1),
                "project": nn.Conv2d(2 * width, 2 * width, 1),
            }
        )

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block["conv"](x)
            x = x * block["excite"](block["squeeze"](x.mean((2, 3), keepdim=True))).sigmoid()
            x = block["project"](x)
        return self.head(x.mean((2, 3)))


class Holder(nn.Module):
    """Has one module, of a misleading name, and does not run it."""

    def __init__(self, module: Any) -> None:
        super().__init__()
        self.bn_conv_fc = module

    def forward(self, x: Any) -> Any:
        return x


def test_depth_is_the_order_of_running_and_idle_layers_come_last() -> None:
    model = Backwards()
    registered = [path for path, module in model.named_modules() if layer_kind(module)]
    table = probe(model, 8, head=frozenset({"fc"}))
    assert registered == ["unused", "fc", "norm", "idle", "batchnorm", "first"]
    assert [layer.name for layer in table] == ["first", "batchnorm", "norm", "fc", "unused", "idle"]
    assert [layer.depth for layer in table] == list(range(6))
    assert table.order == "execution"


def test_layers_are_described() -> None:
    table = probe(Backwards(), 8, head=frozenset({"fc"}))
    assert [(layer.kind, layer.roles, layer.shape, layer.groups) for layer in table][:4] == [
        ("conv", ("weight",), (4, 3, 3, 3), 1),
        ("conv", ("weight", "bias"), (8, 2, 3, 3), 2),
        ("bn", ("gamma", "beta", "running_mean", "running_var"), (8,), 1),
        ("fc", ("weight", "bias"), (5, 8), 1),
    ]
    assert [layer.stage for layer in table][:4] == ["stem", "stem", "stem", "head"]


@pytest.mark.parametrize(
    ("module", "kind", "roles"),
    [
        (lambda: nn.Conv2d(2, 3, 1), "conv", ("weight", "bias")),
        (lambda: nn.BatchNorm2d(3), "bn", ("gamma", "beta", "running_mean", "running_var")),
        (lambda: nn.BatchNorm1d(3), "bn", ("gamma", "beta", "running_mean", "running_var")),
        (lambda: nn.SyncBatchNorm(3), "bn", ("gamma", "beta", "running_mean", "running_var")),
        (lambda: nn.BatchNorm2d(3, affine=False), "bn", ("running_mean", "running_var")),
        (lambda: nn.BatchNorm2d(3, track_running_stats=False), "bn", ("gamma", "beta")),
        (lambda: nn.Linear(2, 3, bias=False), "linear", ("weight",)),
        (lambda: type("Norm", (nn.Linear,), {})(2, 3), "linear", ("weight", "bias")),
        (lambda: nn.Conv1d(2, 3, 1), "conv", ("weight", "bias")),
        (lambda: nn.Conv3d(2, 3, 1, bias=False), "conv", ("weight",)),
        (lambda: nn.ConvTranspose1d(2, 3, 1), "conv", ("weight", "bias")),
        (lambda: nn.ConvTranspose2d(2, 3, 1), "conv", ("weight", "bias")),
        (lambda: nn.ConvTranspose3d(2, 3, 1), "conv", ("weight", "bias")),
        (lambda: nn.InstanceNorm2d(3, affine=True), "norm", ("gamma", "beta")),
        (lambda: nn.InstanceNorm2d(3), None, ()),
        (lambda: nn.GroupNorm(1, 3), "norm", ("gamma", "beta")),
        (lambda: nn.GroupNorm(1, 3, affine=False), None, ()),
        (lambda: nn.LayerNorm(3), "norm", ("gamma", "beta")),
        (lambda: nn.LayerNorm(3, bias=False), "norm", ("gamma",)),
        (lambda: nn.LayerNorm((3, 4, 4)), None, ()),
        (lambda: nn.LayerNorm(3, elementwise_affine=False), None, ()),
        (lambda: nn.RMSNorm(3), "norm", ("gamma",)),
        (lambda: nn.PReLU(3), None, ()),
        (lambda: nn.Embedding(3, 2), None, ()),
    ],
)
def test_kinds_come_from_types(module: Callable[[], Any], kind: str | None, roles: tuple[str, ...]) -> None:
    holder = Holder(module())
    assert layer_kind(holder.bn_conv_fc) == kind
    assert [(layer.kind, layer.roles) for layer in probe(holder, 8)] == ([(kind, roles)] if kind else [])


def test_the_batchnorms_of_densenet_are_not_called_bn(table_of: TableOf) -> None:
    layers = table_of("densenet121").of("bn")
    assert len(layers) == 121
    assert not any("bn" in layer.name for layer in layers)


def test_execution_order_of_inception(table_of: TableOf) -> None:
    """With its auxiliary head, which runs in training, Inception-v3 runs its layers in the order of registration.

    Without, as in evaluation, 48 of the positions of its convolutions and BatchNorms hold another layer.
    """
    table, model = table_of("inception_v3"), build_skeleton(ModelSpec("inception_v3"), 6)
    registered = [path for path, module in model.named_modules() if layer_kind(module)]
    assert [layer.name for layer in table] == registered
    ran: list[str] = []
    for path in registered:
        model.get_submodule(path).register_forward_hook(lambda *_, path=path: ran.append(path))
    model.eval()(torch.empty(1, 3, 299, 299, device="meta"))
    both = [[name for name in names if table[name].kind != "fc"] for names in (registered, ran)]
    assert [len(names) for names in both] == [192, 188]
    assert sum(x != y for x, y in zip(*both, strict=False)) == 48


def facts(model: nn.Module) -> dict[str, Any]:
    """Everything about a network that probing could leave traces in."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": [[list(getattr(module, name)) for name in hooks] for module in model.modules()],
        "gradients": [(p.requires_grad, p.grad is None, p.device.type) for p in model.parameters()],
        "memory": [tensor.data_ptr() for tensor in model.state_dict().values()],
        "values": [tensor.clone() for tensor in model.state_dict().values()],
        "random": torch.get_rng_state(),
    }


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])  # with BatchNorm, and with dropout before the head
def test_probing_leaves_the_model_as_it_was(name: str) -> None:
    model = build(ModelSpec(name), 3)
    model.train()
    for module in list(model.modules())[::3]:
        module.training = False
    next(model.parameters()).requires_grad_(False)
    before = facts(model)
    probe(model, 32, name=name)
    after = facts(model)
    for what in ("modes", "hooks", "gradients", "memory"):
        assert after[what] == before[what]
    assert all(torch.equal(x, y) for x, y in zip(before["values"], after["values"], strict=True))
    assert torch.equal(before["random"], after["random"])


@pytest.mark.parametrize(("name", "size"), [("densenet121", 16), ("vgg16", 16), ("inception_v3", 75), ("alexnet", 32)])
def test_images_that_are_too_small(name: str, size: int) -> None:
    with pytest.raises(BadInput, match=f"^the network cannot take images of {size}x{size} pixels: .") as caught:
        probe(build_skeleton(ModelSpec(name), 3), size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "shape", "outputs", "groups", "transposed"),
    [
        (lambda: nn.Conv1d(4, 6, 3, groups=2), (6, 2, 3), 6, 2, False),
        (lambda: nn.Conv3d(4, 6, (1, 2, 3)), (6, 4, 1, 2, 3), 6, 1, False),
        (lambda: nn.ConvTranspose1d(4, 6, 3), (4, 6, 3), 6, 1, True),
        (lambda: nn.ConvTranspose2d(4, 6, 3, groups=2), (4, 3, 3, 3), 6, 2, True),
        (lambda: nn.ConvTranspose3d(4, 6, 2), (4, 6, 2, 2, 2), 6, 1, True),
    ],
)
def test_convolutions_of_every_sort(
    module: Callable[[], Any], shape: tuple[int, ...], outputs: int, groups: int, transposed: bool
) -> None:
    made = module()
    (layer,) = probe(Holder(made), 8)
    assert (layer.shape, layer.outputs, layer.groups, layer.transposed) == (shape, outputs, groups, transposed)
    assert layer.shape_of("bias") == tuple(made.bias.shape)
    assert layer.filters(made.weight.detach().numpy()).shape == (outputs, made.weight.numel() // outputs)


@pytest.mark.parametrize(
    ("name", "counts"),
    [("convnext_tiny", (22, 0, 23, 36, 1)), ("vit_b_16", (1, 0, 25, 36, 1)), ("swin_t", (1, 0, 29, 51, 1))],
)
def test_networks_without_batchnorm(table_of: TableOf, name: str, counts: tuple[int, ...]) -> None:
    """Their norms are found, and nothing else of one dimension: ConvNeXt's layer_scale, a class token."""
    import torchvision

    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    table = probe(model, 224, name=name)
    assert tuple(len(table.of(kind)) for kind in ("conv", "bn", "norm", "linear", "fc")) == counts
    types = {layer.name: type(model.get_submodule(layer.name)) for layer in table.of("norm")}
    assert all(issubclass(found, nn.LayerNorm) for found in types.values())
    if name != "vit_b_16":  # its maps never shrink
        assert table.stages == ("stage1", "stage2", "stage3", "stage4", "head")


def test_networks_of_other_channels() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten())
    assert [layer.shape for layer in probe(model, 8, channels=1)] == [(4, 1, 3, 3)]
    with pytest.raises(BadInput, match=r"^the network cannot take images of 8x8 pixels: Invalid channel dimensions$"):
        probe(model, 8)


def test_squeeze_and_excitation_stand_with_their_block() -> None:
    table = probe(Excited(), 64, head=frozenset({"head"}))
    places = [(layer.name, layer.stage, layer.block) for layer in table]
    assert places[:2] == [("stem.0", "stem", -1), ("stem.1", "stem", -1)]
    inside = [
        (f"blocks.{i}.{n}", f"stage{i + 1}", 0) for i in range(3) for n in ("conv", "squeeze", "excite", "project")
    ]
    assert places[2:-1] == inside
    assert places[-1] == ("head", "head", -1)


def test_what_running_a_layer_may_change() -> None:
    table = probe(Backwards(), 8)
    assert buffers_of(table["norm"]) == ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked")
    assert set(buffers_of(table["norm"])) <= set(Backwards().state_dict())
    assert buffers_of(table["first"]) == ()
    (fixed,) = probe(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), 8)
    assert buffers_of(fixed) == ()
