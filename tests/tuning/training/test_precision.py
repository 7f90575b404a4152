"""How many bits: what is cast, what stays, and that nobody else's settings change."""

from __future__ import annotations

import pytest
import torch

from tests.tuning.tiny import make_loop, moved, net
from wdiv.errors import BadInput, UnknownName
from wdiv.tuning.training.precision import PRECISIONS, check, computing
from wdiv.tuning.training.recipe import Recipe

PRODUCTS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}


@pytest.mark.parametrize("name", PRECISIONS)
def test_products_are_cast_and_the_settings_come_back(name: str) -> None:
    assert set(PRODUCTS) == set(PRECISIONS), "a new precision needs a row here"
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    one = torch.ones(2, 2)
    with computing(name, "cpu"):
        assert (one @ one).dtype == PRODUCTS[name]
        assert one.sum().dtype == torch.float32
        assert matmul.allow_tf32 == cudnn.allow_tf32 == (name == "tf32")
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before
    with pytest.raises(ZeroDivisionError), computing(name, "cpu"):
        raise ZeroDivisionError
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before
    assert (one @ one).dtype == torch.float32


def test_fp32_is_fp32_within_somebody_elses_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16), computing("fp32", "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_weights_optimizer_and_loss_stay_in_float32() -> None:
    loop, log = make_loop(net(dropout=0.0), precision="bf16")
    plain, theirs = make_loop(net(dropout=0.0))
    seen = []
    loop.model.conv2.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loop.run()
    plain.run()
    assert set(seen) == {torch.bfloat16}, "also where it is evaluated"
    assert {p.dtype for p in loop.model.parameters()} == {torch.float32}
    assert {v.dtype for s in loop.optimizer.state.values() for v in s.values()} == {torch.float32}
    for ours, exact in zip(log.rows[1:], theirs.rows[1:], strict=True):
        assert ours["train_loss"] != exact["train_loss"]
        assert ours["train_loss"] == pytest.approx(exact["train_loss"], rel=0.02)
    assert moved(log.states[-1], theirs.states[-1])


def test_a_device_without_it_is_an_error() -> None:
    with pytest.raises(BadInput, match="precision tf32: needs a CUDA device; on a CPU choose fp32 or bf16"):
        check("tf32", "cpu")
    for name in ("fp32", "bf16"):
        check(name, "cpu")
    with pytest.raises(UnknownName, match="unknown precision 'fp16'; did you mean 'bf16'"):
        Recipe(precision="fp16")
