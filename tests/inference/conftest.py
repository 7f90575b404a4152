"""A store of runs that have learned something, and the folder of images that they learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.grid.runner import run_grid
from studies.spec.registry import load
from tests.tuning.tiny import MOBILENET, write_weights
from wdiv.store.reader import CheckpointStore, Run

CLASSES = ("bright", "dark", "red one")
TOML = """
title = "three colours"
models = ["{model}"]
weights = "{weights}"
data = "{data}"
per_class = [8]
strategies = ["fc=1e-2", "conv+fc=1e-2"]
seeds = [0, 1]
epochs = 6
batch_size = 8
image_size = 32
test_count = 6
validation = 0.25
"""


def picture(label: int, seed: int, size: int = 24) -> Image.Image:
    """Noise around a class's colour: some are hard to tell."""
    colour = np.array([(170, 170, 170), (90, 90, 90), (190, 90, 90)][label])
    rng = np.random.default_rng([label, seed])
    values = colour + rng.normal(0, 40, (size, size, 3)) + rng.normal(0, 30)
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def write_images(root: Path, count: int, first: int = 0, classes: tuple[str, ...] = CLASSES) -> Path:
    """So many images of each class, in a folder each."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(first, first + count):
            picture(label, i).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the store's runs were trained and tested on: 20 images of each class."""
    return write_images(tmp_path_factory.mktemp("images") / "three", 20)


@pytest.fixture(scope="session")
def used(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strategies of two seeds each, finished. Not to be changed."""
    folder = tmp_path_factory.mktemp("used")
    toml = folder / "three.toml"
    weights = write_weights(folder / "made.pth")
    toml.write_text(TOML.format(model=MOBILENET, weights=weights, data=images))
    return run_grid(load(str(toml)), folder / "store", device="cpu")[0]


@pytest.fixture(scope="session")
def runs(used: Path) -> list[Run]:
    return list(CheckpointStore.open(used))
