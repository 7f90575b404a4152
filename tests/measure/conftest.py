"""One store for all: eight runs, of which one is shorter than the others and two started at random."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import wdiv
from tests.fabric import make_store, shorten
from wdiv.metrics import FAMILIES, METRICS

SHORT = "toynet-toy-n2-bn+fc-auto-s1"
WEIGHT_METRICS = [
    name
    for name, record in METRICS.items()
    if FAMILIES[record.family].of_weights and FAMILIES[record.family].per == "tensor"
]
"""Metrics that weights alone give, a value a tensor; those of whole layers are looked at in ``test_roles.py``."""
PAIR_METRICS = [name for name in WEIGHT_METRICS if METRICS[name].family != "trajectory"]
STRATEGIES = ("fc", "bn+fc", "conv+fc", "scratch")


@pytest.fixture(scope="session")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = make_store(tmp_path_factory.mktemp("measure") / "grid", STRATEGIES)
    shorten(store, SHORT, 1)
    return store


@pytest.fixture
def tree(grid: Path) -> xr.DataTree:
    return wdiv.open(grid)


@pytest.fixture(scope="session")
def div(grid: Path) -> xr.DataTree:
    return wdiv.divergence(wdiv.open(grid))
