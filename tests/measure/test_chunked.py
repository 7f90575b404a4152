"""A tree in dask chunks gives the same numbers, lazily; and so does any number of cores."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.measure.conftest import WEIGHT_METRICS
from tests.measure.test_reading import reads  # noqa: F401 - a fixture
from wdiv.measure import across, along, between

OTHER = "toynet-toy-n2-conv+fc-auto-s0"
SOME = {"run": [1, 2, 6]}
FEW = ["l2", "gaussian_kl", "wasserstein1", "spectral_norm_change", "path_length", "straightness"]
"""A metric of each family, and both of the path's."""
BY_REDUCTION = {
    "layer": FEW,
    "filter": ["l2", "wasserstein1", "path_length"],
    "stage": ["l2", "gaussian_kl", "straightness"],
}


def chunked(grid: Path, chunks: dict[str, int]) -> xr.DataTree:
    return xr.open_datatree(grid, engine="wdiv", chunks=chunks)


@pytest.mark.parametrize(
    ("chunks", "reference", "names"),
    [
        ({}, "previous", FEW), ({"run": 2, "epoch": 3}, 0, FEW), ({"run": 1, "epoch": 2}, OTHER, FEW),
        ({"run": -1, "epoch": -1}, "previous", FEW), ({"run": 2, "epoch": 2}, "pretrained", WEIGHT_METRICS),
    ],
    ids=str,
)  # fmt: skip
def test_chunks_of_any_size_give_the_same_numbers(
    grid: Path, chunks: dict[str, int], reference: str | int, names: list[str]
) -> None:
    lazy = wdiv.divergence(chunked(grid, chunks).isel(SOME), names, reference)
    assert all(v.chunks is not None for node in lazy.children.values() for v in node.data_vars.values())
    eager = wdiv.divergence(wdiv.open(grid).isel(SOME), names, reference)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), eager)


@pytest.mark.parametrize("reduction", ["filter", "stage"])
def test_filters_and_stages_do_too(grid: Path, reduction: str) -> None:
    names = BY_REDUCTION[reduction]
    lazy = wdiv.divergence(chunked(grid, {"run": 1, "epoch": 2}).isel(SOME), names, reduction=reduction)
    eager = wdiv.divergence(wdiv.open(grid).isel(SOME), names, reduction=reduction)
    xr.testing.assert_identical(lazy.compute(), eager)


def test_a_part_at_a_time_can_be_lazy_too(grid: Path) -> None:
    only = np.arange(12).reshape(3, 4) % 3 == 0
    how: dict[str, Any] = {"metrics": ["l2", "straightness"], "only": only}
    lazy = wdiv.divergence(chunked(grid, {}).isel(SOME), **how)
    xr.testing.assert_identical(lazy.compute(), wdiv.divergence(wdiv.open(grid).isel(SOME), **how))


@pytest.mark.parametrize("reduction", list(BY_REDUCTION))
def test_nothing_is_read_before_it_is_computed(grid: Path, reads: Counter[str], reduction: str) -> None:  # noqa: F811
    lazy = wdiv.divergence(chunked(grid, {}).isel(SOME), BY_REDUCTION[reduction], reduction=reduction)
    assert not reads
    lazy["fc"].to_dataset().compute()
    assert set(reads) == {"head.weight", "head.bias"}


def test_one_value_reads_what_it_is_made_of_and_no_more(grid: Path, reads: Counter[str]) -> None:  # noqa: F811
    tree = chunked(grid, {}).sel(run=[OTHER, "toynet-toy-n2-scratch-auto-s1"])
    lazy = wdiv.divergence(tree, "relative_l2", reference=0)
    lazy["conv/relative_l2"].isel(run=1, epoch=2, layer=1, role=0).compute()
    assert reads == {"stage.conv.weight": 2}, "the epoch and its reference, of one run"
    reads.clear()
    lazy.compute(scheduler="synchronous")
    assert max(reads.values()) <= 2 * 4 * 2, "each epoch and its reference at most"


def test_pairs_of_runs_come_in_memory(grid: Path) -> None:
    names = [name for name in WEIGHT_METRICS if name not in BY_REDUCTION["stage"] and "path" not in name][:6]
    pairs = wdiv.pairwise(chunked(grid, {}).isel(SOME), names)
    xr.testing.assert_identical(pairs, wdiv.pairwise(wdiv.open(grid).isel(SOME), names))


def test_one_core_gives_the_same_numbers_as_many(tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch) -> None:
    def results() -> list[xr.DataTree]:
        some = tree.isel(SOME)
        states = ({f"l{i}.weight": np.random.default_rng([s, i]).normal(size=(9, 8)) for i in range(6)} for s in (0, 1))
        return [
            *(wdiv.divergence(some, names, reduction=how) for how, names in BY_REDUCTION.items()),
            wdiv.pairwise(some),
            wdiv.diff(*states),
        ]

    many = results()
    for module in (across, along, between):
        monkeypatch.setattr(module, "each", lambda work, things: [work(thing) for thing in things])
    for one, other in zip(results(), many, strict=True):
        xr.testing.assert_identical(one, other)
