"""What the tests of baselines share: made weights, digits, and a network with features worth something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.tiny import MOBILENET, write_weights
from wdiv.tuning.datasets import open_split
from wdiv.tuning.images import Split
from wdiv.tuning.models import ModelSpec
from wdiv.tuning.sources import Source, resolve


@pytest.fixture(scope="session")
def digits() -> Split:
    """The digits 5 to 9 at 32 pixels, eight of each for the test."""
    return open_split("digits-5-9", 32, test_count=8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made weights of the thin MobileNetV2, with a head for ten classes."""
    return write_weights(tmp_path_factory.mktemp("weights") / "made.pth")


@pytest.fixture(scope="session")
def source(weights: Path) -> Source:
    return replace(resolve(str(weights)), model=ModelSpec.parse(MOBILENET))
