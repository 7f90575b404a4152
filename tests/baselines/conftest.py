"""What the tests of baselines share: made weights, digits, and a network with features worth something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.conftest import digits  # noqa: F401 - a fixture here too
from tests.tuning.tiny import MOBILENET, write_weights
from wdiv.tuning.networks.models import ModelSpec
from wdiv.tuning.networks.sources import Source, resolve


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made weights of a network with every stage there is, and a head for ten classes."""
    return write_weights(tmp_path_factory.mktemp("weights") / "made.pth")


@pytest.fixture(scope="session")
def source(weights: Path) -> Source:
    return replace(resolve(str(weights)), model=ModelSpec.parse(MOBILENET))
