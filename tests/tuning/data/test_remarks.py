"""What is said of images before they are believed."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests import folders
from tests.conftest import once
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.data.remarks import remarks, suggested_group


def plates(names: str, plates: int = 6, shots: int = 4) -> ImageSet:
    """Each plate of each of two classes photographed with noise of ±6."""
    rng, rows = np.random.default_rng(0), []
    for label, plate in product(range(2), range(plates)):
        base = rng.integers(0, 200, (3, 16, 16))
        for shot in range(shots):
            pixels = np.clip(base + rng.integers(-6, 7, base.shape), 0, 255).astype(np.uint8)
            rows.append((pixels, label, names.format(label="ab"[label], plate=plate, shot=shot)))
    pixels, labels, called = zip(*rows, strict=True)
    return ImageSet(np.stack(pixels), np.array(labels), ("a", "b"), called)


def halves(images: ImageSet) -> Split:
    """Of each plate's shots the last is for the test."""
    last = np.arange(len(images)) % 4 == 3
    return Split("steel", images.take(np.flatnonzero(~last)), images.take(np.flatnonzero(last)))


@pytest.mark.parametrize(
    ("names", "group"),
    [
        ("{label}/plate{plate}_{shot}.png", r"(.+)[_-][^/_-]+$"),
        ("{label}/{label}{plate}_{shot}.png", r"([^/]+)[_-][^/_-]+$"),
        ("{label}/{label}{plate}_{shot}_left.png", r"([^/_-]+)[_-][^/]*$"),
        ("{label}/{plate}-{shot}-left.png", r"(.*/[^/_-]+)[_-]"),
        ("{label}/{shot}{plate}.png", None),
        ("{label}/steel_{plate}{shot}.png", None),
    ],
)
def test_near_copies_are_pointed_out_with_the_way_out(names: str, group: str | None) -> None:
    split = halves(plates(names))
    (note,) = remarks(split)
    assert note.startswith("steel: 12 of 12 test images are nearly the same pictures as training images (a/")
    assert note.endswith(f"--group '{group}' keeps them on one side" if group else "what belongs together on one side")
    if group:
        groups = [replace(part, groups=("x",) * len(part)) for part in (split.pool, split.test)]
        assert remarks(Split("steel", *groups)) == ("steel: 1 groups, of 48 images each: 1 to train on, 1 to test",)
    assert remarks(split, look=False) == ()


def test_a_group_that_is_a_class_is_not_suggested() -> None:
    split = halves(plates("{label}/{label}_{plate}{shot}.png"))
    pairs = np.array([[i, 3 * i] for i in range(12)])
    assert suggested_group(pairs, split.test, split.pool) is None


def test_the_suggestion_does_what_it_says(tmp_path: Path) -> None:
    folder = str(folders.plates(tmp_path))
    (note,) = remarks(open_split(folder, 32))
    group = note.partition("--group '")[2].partition("'")[0]
    grouped = open_split(folder, 32, group=group)
    assert set(grouped.pool.groups) | set(grouped.test.groups) == {f"{c}/plate{n}" for c in "ab" for n in range(6)}
    assert remarks(grouped) == (f"{tmp_path.name}: 12 groups, of 4 images each: 10 to train on, 2 to test",)
    assert remarks(replace(grouped, pool=replace(grouped.pool, groups=()))) == ()


def test_classes_of_unequal_size_are_told(tmp_path: Path) -> None:
    folder = str(folders.imbalanced(tmp_path / "imbalanced", few=3, some=12, many=60))
    assert remarks(open_split(folder, 32)) == (
        "imbalanced: the classes have from 3 to 60 images: many 60, some 12, few 3; 'many' alone is 80 % of them",
    )
    kept = remarks(open_split(folder, 32, small_classes="keep"), (5, 20))
    assert kept[1:] == ("imbalanced: fewer training images than the 20 asked for, all taken: few 2, some 9",)
    dropped = remarks(open_split(folder, 32, small_classes="drop"))
    assert dropped[0] == "imbalanced: classes of fewer than 5 images are left out: few (3)"


def test_of_many_classes_the_largest_and_the_smallest_are_named() -> None:
    labels = np.repeat(np.arange(30), np.arange(2, 32))
    images = ImageSet(np.zeros((len(labels), 3, 1, 1), np.uint8), labels, tuple(map(str, range(30))), ("",) * 495)
    (note,) = remarks(Split("many", images, images), look=False)[1:]
    assert "29 62, 28 60, 27 58, 26 56, 25 54, …, 4 12, 3 10, 2 8, 1 6, 0 4; '29' alone is 6 % of them" in note


@once
def test_real_textures_and_photographs_raise_no_false_alarm(shared: Path) -> None:
    steel = open_split(str(shared / "data" / "neu"), 64)
    assert not any("nearly the same" in note for note in remarks(steel)), "101 and 105 are the same pixel for pixel"
    coins = [note for note in remarks(open_split(str(shared / "data" / "coins"), 64)) if "nearly" in note]
    assert all(int(note.split()[1]) <= 3 for note in coins), "one coin twice in one light"
