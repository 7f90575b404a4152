"""What an image becomes before the first layer, against plain NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wdiv.errors import BadInput
from wdiv.tuning.data.inputs import IMAGENET, InputSpec

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 3, 8, 10), dtype=np.uint8)


@pytest.mark.parametrize(
    "spec",
    [
        IMAGENET,
        InputSpec(8, range=(-1.0, 1.0), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
        InputSpec(8, "BGR", (0.0, 255.0), (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
        InputSpec(8, "BGR", (0.0, 1.0), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)),
    ],
    ids=["imagenet", "keras", "caffe", "bgr"],
)
def test_prepare_is_plain_arithmetic(spec: InputSpec) -> None:
    low, high = spec.range
    ordered = PIXELS[:, ::-1] if spec.channels == "BGR" else PIXELS
    values = ordered.astype(np.float64) / 255 * (high - low) + low
    expected = (values - np.reshape(spec.mean, (1, 3, 1, 1))) / np.reshape(spec.std, (1, 3, 1, 1))
    given = torch.from_numpy(PIXELS.copy())
    found = spec.prepare(given)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5 * max(1.0, high))
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(given.numpy(), PIXELS), "the images in memory are used again"


def test_imagenet_is_torchvisions_preset() -> None:
    from torchvision.models import ResNet18_Weights

    preset = ResNet18_Weights.IMAGENET1K_V1.transforms()
    assert (IMAGENET.size, list(IMAGENET.mean), list(IMAGENET.std)) == (
        preset.crop_size[0], list(preset.mean), list(preset.std),
    )  # fmt: skip


def test_another_size_keeps_the_normalisation_and_json_keeps_it_all() -> None:
    spec = InputSpec(96, "BGR", (0, 255), (1, 2, 3), (4, 5, 6))
    assert spec.at(None) is spec
    assert spec.at(32) == InputSpec(32, "BGR", (0.0, 255.0), (1.0, 2.0, 3.0), (4.0, 5.0, 6.0))
    assert InputSpec.from_mapping(spec.to_json(), "card") == spec
    assert spec.to_json()["range"] == [0.0, 255.0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"size": 7}, "image size: a whole number of pixels, at least 8, not 7"),
        ({"size": 32.0}, "image size: a whole number"),
        ({"size": "32"}, "image size: a whole number"),
        ({"size": True}, "image size: a whole number"),
        ({"channels": "rgb"}, "input channels: 'RGB' or 'BGR', not 'rgb'"),
        ({"mean": (0.5,)}, "input mean: 3 numbers"),
        ({"mean": "abc"}, "input mean: 3 numbers"),
        ({"std": (1.0, 1.0, 0.0)}, "input std: positive numbers"),
        ({"range": (0.0, 0.5, 1.0)}, "input range: 2 numbers"),
    ],
    ids=str,
)
def test_a_spec_is_checked_when_it_is_made(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        InputSpec(**{"size": 32, **fields})


@pytest.mark.parametrize("data", [{"size": 32, "men": [0, 0, 0]}, {}, {"size": 32, "mean": 5}, "RGB"], ids=str)
def test_a_card_whose_input_is_none_is_an_error_that_names_it(data: Any) -> None:
    with pytest.raises(BadInput, match=r"card\.toml: \[input\]"):
        InputSpec.from_mapping(data, Path("card.toml"))
