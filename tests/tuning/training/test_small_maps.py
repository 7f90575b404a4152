"""bfloat16 on a CPU is refused where a convolution that trains has weights that no pixel meets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import conv1d

from tests.tuning.tiny import tiny_run
from wdiv.errors import BadInput
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.training.run import fine_tune
from wdiv.tuning.training.run_spec import RunSpec
from wdiv.tuning.training.small_maps import check_maps, reaches_all


@given(*(st.integers(least, most) for least, most in ((1, 9), (1, 7), (1, 4), (0, 4), (1, 3))))
def test_a_place_that_no_pixel_meets_has_no_gradient(
    size: int, kernel: int, stride: int, padding: int, dilation: int
) -> None:
    if size + 2 * padding <= dilation * (kernel - 1):
        return  # the kernel is larger than the map
    weight = torch.ones(1, 1, kernel, requires_grad=True)
    conv1d(torch.ones(1, 1, size), weight, None, stride, padding, dilation).sum().backward()
    assert weight.grad is not None
    assert bool((weight.grad > 0).all()) == reaches_all(size, kernel, stride, padding, dilation)


def run(model: str, size: int, strategy: str = "all", bf16: bool = True) -> RunSpec:
    return tiny_run("random", strategy, model=model, size=size, precision="bf16" if bf16 else "fp32")


@pytest.mark.parametrize(
    ("model", "size", "where", "enough"),
    [
        ("mobilenet_v2:width_mult=0.1", 16, r"2x2 pixels are too small for features\.7\.conv\.1\.0", 64),
        ("mobilenet_v2:width_mult=0.1", 32, r"2x2 pixels are too small for features\.14\.conv\.1\.0", 64),
        ("resnet18", 16, r"2x2 pixels are too small for layer3\.0\.conv1", 64),
        ("shufflenet_v2_x0_5", 32, r"2x2 pixels are too small for stage4\.0\.branch1\.0", 64),
        ("mnasnet0_5", 64, r"2x2 pixels are too small for layers\.12\.1\.layers\.3", 96),
    ],
)
def test_too_small_is_refused_with_what_is_enough(model: str, size: int, where: str, enough: int) -> None:
    with pytest.raises(BadInput, match=f"{where}, .*; take images of {enough} pixels or precision fp32$") as caught:
        check_maps(run(model, size), 3, "cpu")
    assert "\n" not in str(caught.value)
    check_maps(run(model, enough), 3, "cpu")


def test_what_has_no_gradient_or_is_computed_otherwise_will_do() -> None:
    check_maps(run("resnet18", 32, "bn+fc"), 3, "cpu")
    check_maps(run("resnet18", 32, "conv@stage1-2+fc"), 3, "cpu")
    check_maps(run("resnet18", 32), 3, "cuda")
    check_maps(run("resnet18", 32, bf16=False), 3, "cpu")
    check_maps(run("vit_b_16", 224), 3, "cpu")
    with pytest.raises(BadInput, match=r"too small for layer4\.0\.conv1"):
        check_maps(run("resnet18", 32, "fc for 1 then conv@stage4+fc"), 3, "cpu")


def test_a_run_is_refused_before_it_begins(tmp_path: Path) -> None:
    pool = ImageSet(np.zeros((6, 3, 16, 16), np.uint8), np.arange(6) % 2, ("a", "b"), tuple("abcdef"))
    spec = tiny_run("random", "conv+fc", size=16, precision="bf16")
    with pytest.raises(BadInput, match="precision bf16: on a CPU maps of 2x2 pixels"):
        fine_tune(spec, Split("six", pool, pool), tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())
