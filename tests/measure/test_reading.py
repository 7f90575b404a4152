"""What is read, and how often; that reading it in other ways gives the same numbers; and that results can be kept."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import CHANGES, KEYS, make_store
from tests.measure.conftest import SHORT
from wdiv.measure import along
from wdiv.measure.rows import Reduced
from wdiv.store import tensors

OTHER = "toynet-toy-n2-conv+fc-auto-s0"
REFERENCES = ["pretrained", 0, "previous", OTHER]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each tensor is read, by key."""
    counts: Counter[str] = Counter()
    read = tensors.read

    def counting(path: Path, key: str, *how: Any, **more: Any) -> np.ndarray:
        counts[key] += 1
        return read(path, key, *how, **more)

    monkeypatch.setattr(tensors, "read", counting)
    return counts


def measured(counts: Counter[str], tree: xr.DataTree, **how: Any) -> Counter[str]:
    counts.clear()
    wdiv.divergence(tree, **how)
    return Counter(counts)


@pytest.mark.parametrize("chunk", [along.CHUNK, 1])
@pytest.mark.parametrize("reference", ["pretrained", 0, "previous"])
def test_a_frozen_tensor_is_read_once_a_run_not_once_an_epoch(
    tmp_path: Path, reads: Counter[str], monkeypatch: pytest.MonkeyPatch, reference: str | int, chunk: int
) -> None:
    """Once as it is and once as the reference, however many the epochs and however small the memory."""
    monkeypatch.setattr(along, "CHUNK", chunk)
    few, many = (wdiv.open(make_store(tmp_path / str(n), ("bn+fc",), (0, 1), n)) for n in (2, 6))
    first, second = (measured(reads, tree, reference=reference) for tree in (few, many))
    frozen, moving = set(KEYS) - set(CHANGES["bn+fc"]), set(CHANGES["bn+fc"])
    assert {key: first[key] for key in frozen} == dict.fromkeys(frozen, 2 * 2)
    assert {key: second[key] for key in frozen} == dict.fromkeys(frozen, 2 * 2)
    assert all(second[key] > first[key] for key in moving if key in first)


def test_a_frozen_tensor_is_measured_once_a_run(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[int] = []
    of = Reduced.of
    monkeypatch.setattr(Reduced, "of", lambda a, b, names: rows.append(len(b.values)) or of(a, b, names))
    fc = wdiv.open(grid).isel(run=[4, 5])
    assert fc["strategy"].values.tolist() == ["fc", "fc"]
    wdiv.divergence(fc)
    assert rows == [1] * 2 * 11, "two runs, eleven frozen tensors; the head has nothing to be compared with"


def test_a_frozen_tensor_is_read_once_beside_a_run_that_moves(grid: Path, reads: Counter[str]) -> None:
    two = wdiv.open(grid).isel(run=[2, 4])
    assert two["strategy"].values.tolist() == ["conv+fc", "fc"]
    found = measured(reads, two, reference=OTHER)
    assert found["stem.conv.weight"] == (4 + 4) + (4 + 1), "conv+fc beside itself, then fc beside conv+fc"
    assert found["stem.bn.weight"] == (1 + 1) + (1 + 1), "frozen in both"


def test_epochs_are_read_once_each(tmp_path: Path, reads: Counter[str]) -> None:
    tree = wdiv.open(make_store(tmp_path / "s", ("scratch",), (0,), 4))
    assert set(measured(reads, tree, reference="previous").values()) == {4 + 4}
    assert set(measured(reads, tree, reference=0).values()) == {5 + 1}


def test_absent_and_unsaved_tensors_are_not_looked_for(grid: Path, reads: Counter[str]) -> None:
    wdiv.divergence(wdiv.open(grid).sel(run=[SHORT], epoch=[2, 3]), reference=2)
    assert not reads


def test_opening_and_refusing_read_nothing(grid: Path, reads: Counter[str]) -> None:
    tree = wdiv.open(grid)
    for wrong in ({"metrics": "nope"}, {"reference": "nope"}, {"reference": 17}):
        with pytest.raises(wdiv.WdivError):
            wdiv.divergence(tree, **wrong)
    assert not reads


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("chunk", [1, 250])
def test_reading_in_parts_gives_the_same_numbers(
    tree: xr.DataTree, monkeypatch: pytest.MonkeyPatch, reference: str | int, chunk: int
) -> None:
    """Of the largest kernel, 216 elements, 250 hold one epoch; of a BatchNorm, all."""
    whole = wdiv.divergence(tree, reference=reference)
    sizes: list[int] = []
    of = Reduced.of
    monkeypatch.setattr(along, "CHUNK", chunk)
    monkeypatch.setattr(Reduced, "of", lambda a, b, names: sizes.append(b.values.size) or of(a, b, names))
    xr.testing.assert_identical(wdiv.divergence(tree, reference=reference), whole)
    assert max(sizes) <= max(chunk, 216)


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_tree_loaded_into_memory_gives_the_same_numbers(tree: xr.DataTree, reference: str | int) -> None:
    lazy = wdiv.divergence(tree, reference=reference)
    xr.testing.assert_identical(wdiv.divergence(tree.load(), reference=reference), lazy)
