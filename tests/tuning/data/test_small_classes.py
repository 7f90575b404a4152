"""Classes of few images: refused with the way out, kept, left out, made one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import folders
from wdiv.errors import BadData, BadInput, UnknownName
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import ImageSet, nested_subset, split
from wdiv.tuning.data.small_classes import SMALL_CLASSES, without_small
from wdiv.tuning.training.run_spec import held_out


def of(counts: list[int], small_classes: str = "refuse", groups: list[str] | None = None) -> ImageSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels, names = np.zeros((len(labels), 3, 1, 1), np.uint8), tuple(map(str, range(len(labels))))
    return ImageSet(pixels, labels, tuple(map(str, range(len(counts)))), names, tuple(groups or ()), small_classes)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(1, 25), st.integers(0, 3))
def test_kept_every_class_is_trained_on_and_no_image_is_lost(counts: list[int], asked: int, seed: int) -> None:
    images = of(counts, "keep")
    if max(counts) == 1:
        with pytest.raises(BadData, match="no class has two images"):
            split(images, count=asked, seed=seed)
        return
    pool, test = split(images, count=asked, seed=seed)
    wanted = [asked if asked < have else have // 2 for have in counts]
    assert test.counts().tolist() == wanted
    assert pool.counts().min() >= 1
    chosen = nested_subset(pool, asked, seed)
    assert np.bincount(pool.labels[chosen], minlength=len(counts)).tolist() == np.minimum(pool.counts(), asked).tolist()
    drawn = np.bincount(pool.labels[chosen])
    if drawn.max() >= 5:
        train, held = held_out(pool, chosen, 0.2, seed)
        lent = np.bincount(pool.labels[held], minlength=len(counts))
        assert ((lent > 0) == (drawn >= 5)).all(), "a class of fewer than five lends none"
        assert sorted([*train, *held]) == chosen.tolist()


@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.integers(0, 3))
def test_where_nothing_is_small_to_keep_changes_no_draw_but_what_is_held_out(counts: list[int], seed: int) -> None:
    refuse, keep = (split(of(counts, how), fraction=0.25, seed=seed) for how in ("refuse", "keep"))
    assert [part.names for part in refuse] == [part.names for part in keep]


def test_a_single_training_image_is_not_held_out_whatever_is_done_with_small_classes() -> None:
    """It ended in an error before; a class of two lends one, as it always did, so that stores go on."""
    pool = of([1, 2, 10])
    _, held = held_out(pool, np.arange(13), 0.2, 0)
    assert np.bincount(pool.labels[held]).tolist() == [0, 1, 2]
    with pytest.raises(BadData, match=r"validation 0\.2: no class has 2 training images"):
        held_out(of([1, 1]), np.arange(2), 0.2, 0)
    with pytest.raises(BadData, match="no class has 5 training images"):
        held_out(of([4, 3], "keep"), np.arange(7), 0.2, 0)


def test_a_class_of_one_group_is_trained_on_where_small_classes_are_kept() -> None:
    images = of([4, 4], "keep", ["a"] * 4 + ["b", "b", "c", "c"])
    pool, test = split(images, fraction=0.25)
    assert (pool.counts().tolist(), test.counts().tolist()) == ([4, 2], [0, 2])


@pytest.mark.parametrize("how", SMALL_CLASSES)
def test_parts_are_treated_alike(how: str) -> None:
    parts, note = without_small([of([6, 2, 1, 9]), of([2, 2, 1, 0])], how)
    names = {"drop": ("0", "3"), "merge": ("0", "3", "other")}.get(how, ("0", "1", "2", "3"))
    assert all(part.classes == names for part in parts)
    assert all(part.keeps_small == (how == "keep") for part in parts)
    counts = {"drop": [[6, 9], [2, 0]], "merge": [[6, 9, 3], [2, 0, 3]]}.get(how, [[6, 2, 1, 9], [2, 2, 1, 0]])
    assert [part.counts().tolist() for part in parts] == counts
    assert (note is None) == (how in ("refuse", "keep"))
    if note:
        assert note.endswith(": 1 (4), 2 (2)")


def test_the_name_of_the_merged_is_free() -> None:
    whole = of([6, 1, 1])
    named = ImageSet(whole.pixels, whole.labels, ("other", "b", "c"), whole.names)
    assert without_small([named], "merge")[0][0].classes == ("other", "other ones")


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown way with small classes 'kep'; did you mean 'keep'"):
        without_small([of([2, 2])], "kep")
    with pytest.raises(BadInput, match="least: a whole number of images, at least 1, not 0"):
        without_small([of([2, 2])], "drop", 0)
    with pytest.raises(BadData, match=r"fewer than two classes have 5 images \(1 \(2\) have not\); lower --least"):
        without_small([of([9, 2])], "drop")
    folder = str(folders.imbalanced(tmp_path, solo=1, many=9))
    for how, words in (({}, "has 1 image; setting 1 aside"), ({"test_count": 9}, "has 9 images; setting 9 aside")):
        with pytest.raises(BadData, match=f"{words} .*--small-classes keep"):
            open_split(folder, 8, **how)
    assert open_split(folder, 8, small_classes="keep").test.counts().tolist() == [2, 0]
    with pytest.raises(BadData, match=r"20 training images .* --small-classes keep takes what there is; drop"):
        nested_subset(of([30, 9]), 20, 0)


def test_a_folder_says_how_many_classes_are_left(tmp_path: Path) -> None:
    folder = str(folders.imbalanced(tmp_path / "parts", few=3, some=12, many=20))
    assert open_split(folder, 8, small_classes="drop").name == "parts (2 classes)"
    assert open_split(folder, 8, small_classes="drop", least=3).name == "parts"
    assert open_split(folder, 8, small_classes="merge").name == "parts", "one small class is still one"
    assert open_split(folder, 8, small_classes="merge").test.counts().tolist() == [5, 3, 1]
