"""What methods do to the steps, against plain PyTorch: autograd's own gradients, and the papers' formulas."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.tuning.tiny import HEAD, INPUTS, Log, images, moved, net, snapshot
from wdiv.store.probe import probe
from wdiv.tuning.networks.models import ModelSpec, build, head_layers, layer_table
from wdiv.tuning.strategy.auto_rgn import BATCHES, relative_gradients
from wdiv.tuning.strategy.freeze import apply_freeze, make_plan
from wdiv.tuning.strategy.l2sp import L2SP, NEW
from wdiv.tuning.strategy.methods import METHODS
from wdiv.tuning.strategy.segments import segments
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.recipe import Recipe


def loop_of(model: nn.Module, strategy: str, l2sp: L2SP | None = None, mode: str = "frozen", **recipe: object) -> Loop:
    table = probe(model, 8, head=HEAD)
    how = Recipe(**{"optimizer": "sgd", "epochs": 2, "batch_size": 4, **recipe})  # type: ignore[arg-type]
    (segment,) = segments(parse(strategy), table, HEAD, how.epochs)
    plan = make_plan(model, table, HEAD, segment, mode)
    apply_freeze(model, plan, table)
    return Loop(
        model, plan, how, INPUTS, images(11), images(9, seed=1), seed=0, on_epoch=Log(model), segment=segment, l2sp=l2sp
    )


def test_every_method_says_what_it_is() -> None:
    assert set(METHODS) == {"random", "gradual", "decay", "spread", "l2sp", "rgn"}, "a new method needs a test here"
    for method in METHODS.values():
        assert method.long_name
        assert method.source
        assert method.default is None or method.takes(method.default)


# --- L2-SP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_l2sp_is_the_gradient_of_its_penalty(alpha: float) -> None:
    """Steps of SGD on loss + α/2 ‖w − w₀‖² + β/2 ‖w_new‖², all of it left to autograd."""
    model, twin = net(dropout=0.0), net(dropout=0.0)
    start = {key: value.double() for key, value in snapshot(net(seed=5)).items()}  # elsewhere, so that there is a pull
    new = ("fc.weight", "fc.bias")
    strategy = "conv=1e-2,bn=1e-2,fc=1e-2"
    loop = loop_of(model, strategy)
    loop.l2sp = L2SP(model, {k: v.float() for k, v in start.items()}, new, alpha)
    loop.train_epoch(1)

    twin.eval().double()
    trained = dict(twin.named_parameters())
    optimizer = torch.optim.SGD(trained.values(), lr=1e-2)
    for rows in loop.batches(1):
        data = loop.train_set
        loss = cross_entropy(twin(INPUTS.prepare(data.pixels[rows]).double()), data.labels[rows])
        old = sum(((p - start[key]) ** 2).sum() for key, p in trained.items() if key not in new)
        fresh = sum((p**2).sum() for key, p in trained.items() if key in new)
        optimizer.zero_grad()
        (loss + alpha / 2 * old + NEW / 2 * fresh).backward()
        optimizer.step()
    for key, value in twin.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key].double(), value.double(), rtol=1e-5, atol=1e-6, msg=key)


def test_the_pull_is_on_what_trains_alone() -> None:
    model = net()
    loop = loop_of(model, "fc=1e-2")
    l2sp = L2SP(model, snapshot(net(seed=5)), (), 1.0)
    loop.l2sp, before = l2sp, snapshot(model)
    loop.train_epoch(1)
    assert moved(before, snapshot(model)) == {"fc.weight", "fc.bias"}


def test_it_stands_in_for_weight_decay() -> None:
    model = net()
    pull = L2SP(model, snapshot(model), (), 0.1)
    loops = [loop_of(net(), "all+l2sp", l2sp, weight_decay=0.5) for l2sp in (pull, None)]
    decays = [sorted({group["weight_decay"] for group in loop.optimizer.param_groups}) for loop in loops]
    assert decays == [[0.0], [0.0, 0.5]]


# --- Auto-RGN ------------------------------------------------------------------------------------------------------


def test_relative_gradients_are_the_papers() -> None:
    """‖∇‖ / ‖w‖ of each tensor on its own, the mean over five batches, over the largest of all."""
    model = net(dropout=0.0)
    loop = loop_of(model, "all+rgn", batch_size=2)
    before, seen = snapshot(model), []
    loop.on_batch = lambda *_: seen.append({group["keys"][0]: group["lr"] for group in loop.optimizer.param_groups})
    loop.train_epoch(1)

    twin = net(dropout=0.0).eval().double()
    sums = dict.fromkeys(dict(twin.named_parameters()), 0.0)
    for rows in loop.batches(1)[:5]:
        data = loop.train_set
        twin.zero_grad()
        cross_entropy(twin(INPUTS.prepare(data.pixels[rows]).double()), data.labels[rows]).backward()
        for key, p in twin.named_parameters():
            sums[key] += float(p.grad.norm() / p.detach().norm()) / 5
    wanted = {key: 1e-4 * value / max(sums.values()) for key, value in sums.items()}
    assert BATCHES == 5 <= len(loop.batches(1))
    assert seen[0] == {key: pytest.approx(lr, rel=1e-4) for key, lr in wanted.items()}
    assert max(seen[0].values()) == 1e-4
    assert moved(before, snapshot(model)) == set(sums)


def test_relative_gradients_are_found_anew_each_epoch_and_move_nothing() -> None:
    """Not even statistics that are running while it looks, nor the dropout that follows."""
    ends = []
    for look in (False, True):
        model = net(dropout=0.5)
        loop = loop_of(model, "all=1e-2,rgn", mode="batch")
        if look:
            before = snapshot(model.train())
            first = loop._relative_gradients(1, loop.batches(1))
            assert moved(before, snapshot(model)) == set()
            assert all(parameter.grad is None for parameter in model.parameters())
            assert loop._relative_gradients(1, loop.batches(1)) == first
            assert loop._relative_gradients(2, loop.batches(2)) != first
        loop.train_epoch(1)
        ends.append(snapshot(model))
    assert moved(*ends) == set()


def test_a_tensor_of_zeros_and_one_without_gradient() -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Parameter(torch.tensor([3.0, 4.0])), nn.Parameter(torch.ones(2))
            self.zero = nn.Parameter(torch.zeros(2))

    model = Part()
    losses = [(model.used * 2).sum() + model.zero.sum() for _ in range(3)]
    assert relative_gradients(model, losses) == {"used": 1.0, "unused": 0.0, "zero": 1.0}


# --- two phases ----------------------------------------------------------------------------------------------------


def test_a_linear_probe_comes_before_everything_trains() -> None:
    model, strategy = net(dropout=0.0), parse("lp-ft")
    table, states, lrs = probe(model, 8, head=HEAD), [snapshot(model)], []
    for segment in segments(strategy, table, HEAD, 4):
        plan = make_plan(model, table, HEAD, segment)
        apply_freeze(model, plan, table)
        log = Log(model)
        how = Recipe(epochs=4, batch_size=4, schedule="linear")
        Loop(model, plan, how, INPUTS, images(11), images(9), seed=0, on_epoch=log, segment=segment).run(
            segment.first - 1
        )
        states += log.states
        lrs += [row["lr"]["fc"] for row in log.rows]
    trained = [moved(a, b) for a, b in pairwise(states)]
    assert trained == [{"fc.weight", "fc.bias"}] * 2 + [set(states[0])] * 2
    assert lrs == pytest.approx([1e-3 * 4 / 6, 1e-3 * 1 / 6, 1e-4 * 4 / 6, 1e-4 * 1 / 6]), "each has its schedule"


def test_beside_trains_the_small_network_and_the_heads_and_adds_their_logits() -> None:
    """The frozen network's own logits are what they were, bit for bit, as far as its head has not moved."""
    spec = ModelSpec.parse("mobilenet_v2:width_mult=0.1").but(beside=True)
    model, table, head = build(spec, 3), layer_table(spec, 3, 8), head_layers(spec)
    before = snapshot(model)
    (segment,) = segments(parse("modular"), table, head, 1)
    plan = make_plan(model, table, head, segment)
    apply_freeze(model, plan, table)
    Loop(model, plan, Recipe(epochs=1, batch_size=4), INPUTS, images(8), images(3), seed=0, on_epoch=Log(model)).run()
    changed = moved(before, snapshot(model))
    assert changed == {k for k in before if k.startswith(("beside.", "classifier."))}
    x = INPUTS.prepare(images(3).pixels)
    model.eval()
    assert torch.equal(model(x), super(type(model), model).forward(x) + model.beside(x))
