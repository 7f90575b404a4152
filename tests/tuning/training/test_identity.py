"""A run is its weights and its images, not what they are called: what differs is refused, and names both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tuning.tiny import tiny_run, write_weights
from wdiv.errors import BadInput
from wdiv.store.reader import Run
from wdiv.store.verify import verify
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.training.run import fine_tune
from wdiv.tuning.training.run_spec import RunSpec


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "made.pth")


def overwritten(weights: Path) -> Path:
    """Other weights in the same place."""
    state = torch.load(weights)
    torch.save({key: value * 1.5 if value.is_floating_point() else value for key, value in state.items()}, weights)
    return weights


def run(weights: Path, seed: int = 0, strategy: str = "fc") -> RunSpec:
    return tiny_run(weights, strategy, per_class=3, seed=seed, epochs=1)


def other_images(split: Split) -> Split:
    pool = split.pool
    changed = ImageSet(255 - pool.pixels, pool.labels, pool.classes, pool.names)
    return Split(split.name, changed, split.test)


@pytest.mark.parametrize("seed", [0, 1], ids=["the same run, finished", "another seed"])
def test_weights_overwritten_under_one_name(digits: Split, weights: Path, tmp_path: Path, seed: int) -> None:
    out = tmp_path / "store"
    made = fine_tune(run(weights), digits, out, device="cpu")
    with pytest.raises(BadInput) as error:
        fine_tune(run(overwritten(weights), seed), digits, out, device="cpu")
    assert made.record.base[:12] in str(error.value)
    assert "give another --out" in str(error.value)
    assert [path.name for path in (out / "runs").iterdir()] == [made.path.name], "nothing was begun"


@pytest.mark.parametrize("seed", [0, 1])
def test_other_groups_of_the_same_images(digits: Split, weights: Path, tmp_path: Path, seed: int) -> None:
    """What is held out depends on them, where the split is the same."""
    out = tmp_path / "store"
    fine_tune(run(weights), digits, out, device="cpu")
    pairs = tuple(str(row // 2) for row in range(len(digits.pool)))
    grouped = replace(digits, pool=replace(digits.pool, groups=pairs))
    assert grouped.digest == digits.digest
    with pytest.raises(BadInput, match=r"grouping of its images.*none, now [0-9a-f]{12}"):
        fine_tune(run(weights, seed), grouped, out, device="cpu")
    made = fine_tune(run(weights), grouped, tmp_path / "other", device="cpu")
    assert made.record.grouping == grouped.pool.grouping


def test_a_run_that_keeps_small_classes_is_another(digits: Split, weights: Path, tmp_path: Path) -> None:
    fine_tune(run(weights), digits, tmp_path / "store", device="cpu")
    kept = replace(digits, pool=replace(digits.pool, small_classes="keep"))
    with pytest.raises(BadInput, match="another way with small classes \\(refuse, now keep\\)"):
        fine_tune(run(weights), kept, tmp_path / "store", device="cpu")


@pytest.mark.parametrize("seed", [0, 1])
def test_images_changed_under_one_name(digits: Split, weights: Path, tmp_path: Path, seed: int) -> None:
    out = tmp_path / "store"
    fine_tune(run(weights), digits, out, device="cpu")
    other = other_images(digits)
    with pytest.raises(BadInput) as error:
        fine_tune(run(weights, seed), other, out, device="cpu")
    assert digits.digest[:12] in str(error.value)
    assert other.digest[:12] in str(error.value)


def test_the_same_weights_in_another_file_of_that_name_are_the_same(
    digits: Split, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "store"
    made = fine_tune(run(weights), digits, out, device="cpu")
    state = torch.load(weights)
    torch.save(dict(reversed(state.items())), weights)
    before = made.epoch_file(1).stat().st_mtime_ns
    fine_tune(run(weights), digits, out, device="cpu")
    assert made.epoch_file(1).stat().st_mtime_ns == before
    fine_tune(run(weights, 1), digits, out, device="cpu")
    assert not any(found.problems for found in verify(out))


def test_a_run_of_another_store_of_the_same_name(digits: Split, weights: Path, tmp_path: Path) -> None:
    """``ID@1`` is what a source is called that is a run: two stores have one each."""
    from dataclasses import replace

    from wdiv.tuning.networks.sources import resolve

    sources = []
    for name in ("one", "two"):
        started = fine_tune(run(weights), digits, tmp_path / name, device="cpu")
        sources.append(resolve(f"{started.path}@1"))
        overwritten(weights)
    assert sources[0].name == sources[1].name
    first, second = (replace(run(weights, seed), source=source) for seed, source in enumerate(sources))
    fine_tune(first, digits, tmp_path / "out", device="cpu")
    with pytest.raises(BadInput, match="other weights called"):
        fine_tune(second, digits, tmp_path / "out", device="cpu")


@pytest.mark.parametrize("change", [{"size": 40}, {"epochs": 2}, {"batch_size": 4}], ids=str)
def test_seeds_that_were_fed_or_trained_in_another_way(
    digits: Split, weights: Path, tmp_path: Path, change: dict[str, int]
) -> None:
    """One strategy's seeds are what tables take the mean of."""
    out = tmp_path / "store"
    fine_tune(run(weights), digits, out, device="cpu")
    with pytest.raises(BadInput, match=r"is of other (weights called 'made|strategy called 'fc).*give another --out"):
        fine_tune(tiny_run(weights, "fc", per_class=3, seed=1, **{"epochs": 1, **change}), digits, out, device="cpu")


def test_a_store_that_mixes_is_seen(digits: Split, weights: Path, tmp_path: Path) -> None:
    for name, split in (("a", digits), ("b", other_images(digits))):
        fine_tune(run(weights, seed=len(name + name) if name == "b" else 0), split, tmp_path / name, device="cpu")
        overwritten(weights)
    (moved,) = (tmp_path / "b" / "runs").iterdir()
    moved.rename(tmp_path / "a" / "runs" / moved.name)
    for base in (tmp_path / "b" / "bases").iterdir():
        base.rename(tmp_path / "a" / "bases" / base.name)
    problems = [problem for found in verify(tmp_path / "a") for problem in found.problems]
    assert len(problems) == 2
    assert all("is other than that of" in problem for problem in problems)


def test_a_damaged_base_is_healed_by_the_next_run(digits: Split, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    first = fine_tune(run(weights), digits, out, device="cpu")
    content = bytearray(first.base.read_bytes())
    content[-3] ^= 4
    first.base.write_bytes(content)
    second = fine_tune(run(weights, 1), digits, out, device="cpu")
    assert not any(found.problems for found in verify(out))
    for made in (first, second):
        assert np.isfinite(Run(made.path).state_dict(1)["classifier.1.weight"]).all()
