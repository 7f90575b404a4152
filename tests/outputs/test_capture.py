"""What is kept of a layer's inputs gives the outputs' sums of any parameters, for every kind of layer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.outputs.brute import EveryKind, change, outputs, parameters, stirred
from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.outputs.capture import capture
from wdiv.outputs.moments import ChannelInputs, KernelInputs, LayerInputs

FUNCTION = METRICS["output_change"].function
NETWORK = stirred(EveryKind(), 0)
NAMES = [name for name, module in NETWORK.named_modules() if name]
IMAGES = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def captured(network: nn.Module = NETWORK, images: torch.Tensor = IMAGES, batch: int = 6) -> dict[str, LayerInputs]:
    return capture(copy.deepcopy(network), images.split(batch), [n for n, m in network.named_modules() if n])


def measured(inputs: LayerInputs, then: nn.Module, now: nn.Module) -> float:
    old, new = (inputs.rows(parameters(side)) for side in (then, now))
    return float(FUNCTION(inputs.energy(new - old).sum(), inputs.energy(old).sum()))


@pytest.fixture(scope="module")
def inputs() -> dict[str, LayerInputs]:
    return captured()


@pytest.mark.parametrize("by", [1e-6, 0.3])
def test_every_kind_of_layer_agrees_with_brute_force(inputs: dict[str, LayerInputs], by: float) -> None:
    now = stirred(NETWORK, 2, by)
    wanted = outputs(NETWORK, NETWORK, now, IMAGES)
    assert set(wanted) == set(NAMES) - {"unused"} == set(inputs)
    for name, sums in wanted.items():
        found = inputs[name]
        old, new = (found.rows(parameters(side.get_submodule(name))) for side in (NETWORK, now))
        np.testing.assert_allclose(found.energy(old), sums[1], rtol=1e-9, err_msg=name)
        np.testing.assert_allclose(found.energy(new - old), sums[0], rtol=1e-7, err_msg=name)
        assert measured(found, NETWORK.get_submodule(name), now.get_submodule(name)) == pytest.approx(
            change(sums), 1e-9
        )


def test_both_ways_to_keep_inputs_are_taken_and_are_one(inputs: dict[str, LayerInputs]) -> None:
    kernels = {name: kept for name, kept in inputs.items() if isinstance(kept, KernelInputs)}
    few = [name for name, kept in kernels.items() if kept.columns is not None]
    assert few, "fewer vectors than they have elements"
    assert len(few) < len(kernels)
    for name in few:
        kept = kernels[name]
        assert kept.columns is not None
        x = kept.columns.astype(np.float64)
        squared = KernelInputs(None, x @ x.swapaxes(-1, -2), kept.transposed, kept.bias)
        rows = kept.rows(parameters(NETWORK.get_submodule(name)))
        np.testing.assert_allclose(kept.energy(rows), squared.energy(rows), rtol=1e-12)


def test_neither_batches_nor_the_order_of_images_matter(inputs: dict[str, LayerInputs]) -> None:
    now = stirred(NETWORK, 2)
    network = copy.deepcopy(NETWORK)
    network.batch, now.batch = (nn.BatchNorm2d(8).eval() for _ in range(2))  # the other normalises by its batch
    whole, parts = captured(network), captured(network, IMAGES.flip(0), 4)
    for name, kept in whole.items():
        sides = network.get_submodule(name), now.get_submodule(name)
        assert measured(parts[name], *sides) == pytest.approx(measured(kept, *sides), rel=1e-5), name


@given(seed=st.integers(0, 99), factor=st.sampled_from([-4.0, 0.5, 8.0]), by=st.sampled_from([1e-3, 1.0]))
@settings(max_examples=10)
def test_identity_scale_and_order_of_units(seed: int, factor: float, by: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, 3, 40))
    moment = KernelInputs(None, x @ x.swapaxes(1, 2))
    few = KernelInputs(x.astype(np.float32), None)
    channels = ChannelInputs(40, rng.normal(size=8), rng.uniform(0, 2, 8))
    for kept, shape in ((moment, (8, 3)), (few, (8, 3)), (channels, (8, 2))):
        then = rng.normal(size=shape)
        now = then + by * rng.normal(size=shape)

        def of(a: np.ndarray, b: np.ndarray, kept: LayerInputs = kept) -> float:  # type: ignore[assignment]
            return float(FUNCTION(kept.energy(b - a).sum(), kept.energy(a).sum()))

        assert of(then, then.copy()) == 0.0
        assert of(factor * then, factor * now) == pytest.approx(of(then, now), rel=1e-12)
        assert of(then, (1 + by) * then) == pytest.approx(by, rel=1e-9)
    order = np.r_[rng.permutation(4), 4 + rng.permutation(4)]  # within a group
    rows = rng.normal(size=(8, 3))
    np.testing.assert_allclose(moment.energy(rows[order]), moment.energy(rows)[order], rtol=1e-12)


def test_a_network_that_cannot_take_the_images_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"cannot take images of shape \(1, 12, 12\)"):
        captured(images=IMAGES[:, :1])


def test_the_network_is_left_without_hooks() -> None:
    network = copy.deepcopy(NETWORK)
    capture(network, [IMAGES], NAMES)
    assert not any(module._forward_hooks for module in network.modules())
