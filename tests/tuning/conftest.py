"""What the tests of fine-tuning share; see :mod:`tests.tuning.tiny`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tuning.tiny import SMALL, write_weights
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import Split


@pytest.fixture(scope="session")
def digits() -> Split:
    """The digits 5 to 9 at 32 pixels, eight of each for the test."""
    return open_split("digits-5-9", 32, test_count=8)


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made weights of :data:`~tests.tuning.tiny.SMALL`, with a head for ten classes."""
    return write_weights(tmp_path_factory.mktemp("weights") / "made.pth", SMALL)
