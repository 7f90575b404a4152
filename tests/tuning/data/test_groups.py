"""Images of one group are never on both sides: not of the split, not of what is held out to validate."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wdiv.errors import BadData, BadInput
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.groups import choose_groups, groups_of
from wdiv.tuning.data.images import ImageSet, nested_subset, split
from wdiv.tuning.training.run_spec import held_out


def grouped(of: list[tuple[int, str]], classes: int) -> ImageSet:
    """An image for each (label, group)."""
    labels = np.array([label for label, _ in of], dtype=np.int64)
    pixels = np.arange(len(of), dtype=np.uint16).view(np.uint8).reshape(len(of), 2, 1, 1).repeat(3, 1)[:, :3]
    names = tuple(f"{label}/{group}_{i}" for i, (label, group) in enumerate(of))
    return ImageSet(pixels, labels, tuple(map(str, range(classes))), names, tuple(group for _, group in of))


GROUPINGS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abcdefghijklmnop")), min_size=8, max_size=60)


@given(GROUPINGS, st.sampled_from([0.1, 0.25, 0.5]), st.integers(0, 3))
def test_a_group_is_never_on_both_sides(of: list[tuple[int, str]], fraction: float, seed: int) -> None:
    images = grouped([*of, *((label, f"{label}{side}") for label, side in product(range(3), "xyz"))], 3)
    pool, test = split(images, fraction=fraction, seed=seed)
    assert not set(pool.groups) & set(test.groups)
    assert sorted(pool.names + test.names) == sorted(images.names)
    assert min(*pool.counts(), *test.counts()) >= 1
    again = split(images, fraction=fraction, seed=seed)
    assert again[1].names == test.names
    train, held = held_out(pool, nested_subset(pool, None, seed), 0.2, seed)
    assert sorted([*train, *held]) == list(range(len(pool)))
    assert not {pool.groups[i] for i in train} & {pool.groups[i] for i in held}
    assert set(pool.labels[train]) == {0, 1, 2}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), min_size=2, max_size=40), st.integers(0, 3))
def test_of_all_choices_the_nearest_is_taken(of: list[tuple[int, int]], seed: int) -> None:
    labels = np.unique(np.array([label for label, _ in of]), return_inverse=True)[1]
    groups = [str(group) for _, group in of]
    names, have = sorted(set(groups)), np.bincount(labels)
    wanted = np.maximum(1, np.round(have / 4)).astype(np.int64)

    def cost(chosen: set[str]) -> tuple[int, int, float]:
        aside = np.bincount(labels[[group in chosen for group in groups]], minlength=len(have))
        away = (((aside - wanted) / have) ** 2).sum() + 1e-6 * (aside / have).sum()
        return int((aside == have).sum()), int((aside == 0).sum()), float(away)

    found = choose_groups(labels, groups, wanted, seed)
    chosen = {group for group, aside in zip(groups, found, strict=True) if aside}
    assert found.tolist() == [group in chosen for group in groups]
    every = [{n for n, take in zip(names, which, strict=True) if take} for which in product((0, 1), repeat=len(names))]
    assert cost(chosen) <= min(map(cost, every)) or cost(chosen) == pytest.approx(min(map(cost, every)))


@given(st.lists(st.integers(1, 9), min_size=40, max_size=120), st.integers(0, 3))
def test_of_many_groups_the_share_is_met(sizes: list[int], seed: int) -> None:
    groups = [str(group) for group, size in enumerate(sizes) for _ in range(size)]
    labels = np.array([group % 3 for group, size in enumerate(sizes) for _ in range(size)])
    wanted = np.round(np.bincount(labels) / 4).astype(np.int64)
    found = choose_groups(labels, groups, wanted, seed)
    assert np.abs(np.bincount(labels[found]) - wanted).max() <= 2


def test_a_split_of_single_images_sets_as_many_aside_as_one_without_groups() -> None:
    images = grouped([(i % 2, str(i)) for i in range(40)], 2)
    assert split(images, count=7)[1].counts().tolist() == [7, 7]
    assert split(images, count=7, seed=1)[1].names != split(images, count=7, seed=2)[1].names


def test_which_images_are_of_one_group_and_not_how_it_is_called() -> None:
    images = grouped([(0, "a"), (1, "b"), (1, "b")], 2)
    renamed = ImageSet(images.pixels, images.labels, images.classes, images.names, ("x", "y", "y"))
    others = ImageSet(images.pixels, images.labels, images.classes, images.names, ("x", "x", "y"))
    assert images.grouping == renamed.grouping != others.grouping
    assert images.take(np.arange(0)).grouping == ImageSet(images.pixels, images.labels, (), ()).grouping == "none"


def test_a_class_of_one_group_cannot_be_on_both_sides() -> None:
    images = grouped([(0, "a"), (0, "b"), (1, "c"), (1, "c")], 2)
    with pytest.raises(BadData, match="class '1': all its 2 images are of one group, 'c', which cannot be to train on"):
        split(images, fraction=0.5)
    circle = grouped([(0, "a"), (0, "b"), (1, "b"), (1, "c"), (2, "c"), (2, "a")], 3)
    with pytest.raises(BadData, match="no choice of whole groups leaves every class images"):
        split(circle, fraction=0.5)


# --- by name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "groups"),
    [
        (r"plate(\d+)", ("0", "0", "1")),
        (r"plate\d+", ("plate0", "plate0", "plate1")),
        (r"(\w+/plate\d+)", ("a/plate0", "b/plate0", "b/plate1")),
        (r"(x)|(plate.)", ("plate0", "plate0", "plate1")),
    ],
)
def test_the_group_is_what_the_first_parentheses_hold(pattern: str, groups: tuple[str, ...]) -> None:
    assert groups_of(["a/plate0_0.png", "b/plate0_1.png", "b/plate1_0.png"], pattern) == groups


def test_a_name_without_a_group_is_an_error() -> None:
    with pytest.raises(BadData, match=r"finds no group in 2 of 3 names \('a/x.png', 'b/y.png'\)"):
        groups_of(["a/plate0.png", "a/x.png", "b/y.png"], r"plate(\d)")
    with pytest.raises(BadData, match="finds no group in 1 of 1 names"):
        groups_of(["a/x.png"], r"\d*")
    with pytest.raises(BadInput, match="'\\(' is no regular expression"):
        groups_of(["a/x.png"], "(")


def shots(root: Path, parts: dict[str, range]) -> Path:
    """Plates of classes a and b, each photographed three times."""
    for part, plates in parts.items():
        for label, plate, shot in product("ab", plates, range(3)):
            file = root / part / label / f"plate{plate}_{shot}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([ord(label), plate, shot]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file)
    return root


def test_a_folder_is_split_by_group(tmp_path: Path) -> None:
    found = open_split(str(shots(tmp_path, {"": range(6)})), 8, group=r"plate\d")
    assert found.test.counts().tolist() == [3, 3], "of a quarter, 4.5, as near as 6"
    assert not set(found.pool.groups) & set(found.test.groups)
    qualified = open_split(str(tmp_path), 8, group=r"^\w/plate\d")
    assert {group.partition("/")[0] for group in qualified.test.groups} == {"a", "b"}


def test_parts_that_share_groups_are_an_error(tmp_path: Path) -> None:
    good = open_split(str(shots(tmp_path / "good", {"train": range(4), "test": range(4, 6)})), 8, group=r"plate\d")
    assert set(good.test.groups) == {"plate4", "plate5"}
    bad = shots(tmp_path / "bad", {"train": range(4), "test": range(3, 6)})
    with pytest.raises(BadData, match=r"1 groups \('plate3'\) are both .* where 6 of 18 are of them"):
        open_split(str(bad), 8, group=r"plate\d")
    assert len(open_split(str(bad), 8).test) == 18
