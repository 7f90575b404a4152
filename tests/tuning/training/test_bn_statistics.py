"""Statistics estimated over the training images, against float64 sums over the features themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.tuning.tiny import INPUTS, images, make_loop, moved, net, planned, small_run, snapshot
from wdiv.tuning.data.images import Split
from wdiv.tuning.training.bn_statistics import estimate_bn_statistics
from wdiv.tuning.training.run import fine_tune


def oracle(model: nn.Module, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Layer by layer in float64: means of the batches' means and unbiased variances, each layer after those before."""
    xs, found = [batch.double() for batch in batches], {}
    for name, layer in model.double().named_children():
        if isinstance(layer, nn.BatchNorm2d):
            rows = [x.transpose(0, 1).flatten(1) for x in xs]
            found[f"{name}.running_mean"] = torch.stack([r.mean(1) for r in rows]).mean(0)
            found[f"{name}.running_var"] = torch.stack([r.var(1) for r in rows]).mean(0)
            shape = (1, -1, 1, 1)
            xs = [
                (x - x.mean((0, 2, 3), keepdim=True))
                / (x.var((0, 2, 3), correction=0, keepdim=True) + layer.eps).sqrt()
                * layer.weight.view(shape) + layer.bias.view(shape)
                for x in xs
            ]  # fmt: skip
        elif not isinstance(layer, nn.Dropout):
            xs = [layer(x) for x in xs]
    return found


@pytest.mark.parametrize("mode", ["adapt", "adabn"])
def test_they_are_the_means_over_the_training_images(mode: str) -> None:
    """Of equal batches; each normalised by its own statistics, as while training."""
    model = net(dropout=0.5)
    loop, _ = make_loop(model, "fc", mode, train=images(12))
    loop.adapt()
    parts = np.array_split(np.random.default_rng(0).permutation(12), 3)
    for key, wanted in oracle(net(), [INPUTS.prepare(loop.train_set.pixels[part]) for part in parts]).items():
        torch.testing.assert_close(model.state_dict()[key].double(), wanted, rtol=1e-5, atol=1e-6, msg=key)


def test_everything_else_stays_as_it_was() -> None:
    model = net(dropout=0.5)
    planned(model, "fc", "frozen")
    model.train()
    modes, momenta = [m.training for m in model.modules()], [model.bn1.momentum, model.bn2.momentum]
    before, generator = snapshot(model), torch.get_rng_state()
    estimate_bn_statistics(model, ["bn2"], [INPUTS.prepare(images(6).pixels)])
    assert moved(before, snapshot(model)) == {
        f"bn2.{b}" for b in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert modes == [m.training for m in model.modules()]
    assert momenta == [model.bn1.momentum, model.bn2.momentum]
    assert torch.equal(generator, torch.get_rng_state()), "dropout is off meanwhile"


def test_it_puts_things_back_after_an_error() -> None:
    model = net()
    modes = [m.training for m in model.modules()]
    with pytest.raises(RuntimeError):
        estimate_bn_statistics(model, ["bn1"], [torch.zeros(2, 5, 8, 8)])
    assert modes == [m.training for m in model.modules()]
    assert model.bn1.momentum == 0.1


@pytest.mark.parametrize("strategy", ["fc", "bn@stage2+fc", "fc for 1 then conv+fc"])
def test_adabn_estimates_once_before_the_first_step(
    strategy: str, weights: Path, digits: Split, tmp_path: Path
) -> None:
    """Epoch 0 is the network as the source gave it; from epoch 1 on the statistics stand."""
    spec = small_run(weights, strategy, bn_mode="adabn", epochs=3, per_class=8, batch_size=8, validation=0.25)
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    states = [run.state_dict(epoch) for epoch in run.epochs()]
    source = torch.load(weights)
    buffers = [key for key in states[0] if "running" in key or "tracked" in key]
    assert all(np.array_equal(states[0][key], source[key].numpy()) for key in buffers)
    assert all(np.array_equal(states[1][key], state[key]) for state in states[2:] for key in buffers)
    assert not any(np.array_equal(states[0][key], states[1][key]) for key in buffers)
    assert {int(states[1][key]) for key in buffers if "tracked" in key} == {4}, "thirty images in four batches"
    assert all({"val_loss", "val_accuracy"} <= set(row) for row in run.history()), "of epoch 0 too"
    changing = {key.rpartition(".")[2] for key in run.record.changing if key in buffers}
    assert changing == {"running_mean", "running_var", "num_batches_tracked"}
