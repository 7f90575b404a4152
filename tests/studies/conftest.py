"""A study that takes seconds, and the store that it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.grid.runner import run_grid
from studies.spec.registry import load
from studies.spec.study import Study
from tests.tuning.tiny import MOBILENET, write_weights

TOML = """
title = "a small study"
models = ["{model}"]
weights = "{weights}"
data = "digits-5-9"
per_class = [3]
strategies = ["fc", "bn+fc"]
seeds = [0]
epochs = 2
batch_size = 8
image_size = 32
test_count = 5
metrics = ["relative_l2", "gaussian_kl"]
"""

PATIENCE = 600.0
"""Seconds after which what should have come never will, on whatever machine."""


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "made.pth")


@pytest.fixture
def toml(weights: Path, tmp_path: Path) -> Path:
    """The study as a file of its user's."""
    file = tmp_path / "small.toml"
    file.write_text(TOML.format(model=MOBILENET, weights=weights))
    return file


@pytest.fixture
def small(toml: Path) -> Study:
    return load(str(toml))


@pytest.fixture(scope="session")
def _trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    return run_grid(load(str(folder / "small.toml")), folder / "store", device="cpu")[0]


@pytest.fixture
def trained(_trained: Path, tmp_path: Path) -> Path:
    """A store of two finished runs, the test's own copy."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of random images: ``folder(a=5, b=5)`` has two classes of five."""

    def make(**classes: int) -> Path:
        root = tmp_path / "images"
        for label, (name, count) in enumerate(classes.items()):
            (root / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng([label, i]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{i}.png")
        return root

    return make
