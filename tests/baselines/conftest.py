"""What the tests of baselines share: made weights, digits, and a network with features worth something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tuning.conftest import digits, weights  # noqa: F401 - fixtures here too
from tests.tuning.tiny import MOBILENET
from wdiv.tuning.networks.models import ModelSpec
from wdiv.tuning.networks.sources import Source, resolve


@pytest.fixture(scope="session")
def source(weights: Path) -> Source:  # noqa: F811
    return replace(resolve(str(weights)), model=ModelSpec.parse(MOBILENET))
