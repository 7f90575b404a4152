"""Layer tables of real networks, each probed once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from wdiv.layers import LayerTable


@pytest.fixture(scope="session")
def table_of() -> Callable[[str], LayerTable]:
    """torchvision name -> the model's layer table, with a head of six classes."""
    pytest.importorskip("torch")
    from wdiv.tuning.networks.models import MODELS, ModelSpec, layer_table

    return cache(lambda name: layer_table(ModelSpec(name), 6, max(MODELS[name].min_size, 96)))
