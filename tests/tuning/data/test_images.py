"""Splits and subsets: nested, stratified, seeded, and one test set for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wdiv.errors import BadData
from wdiv.tuning.data.images import ImageSet, Split, nested_subset, split


def some(counts: list[int], seed: int = 0, size: int = 2) -> ImageSet:
    """Images of mixed order: class k has ``counts[k]`` of them, and no two have the same pixels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.zeros((len(labels), 3, size, size), np.uint8)
    pixels.reshape(len(labels), -1)[:, :2] = np.stack([np.arange(len(labels)) // 256, np.arange(len(labels)) % 256], 1)
    names = tuple(f"{label}/{i}" for i, label in enumerate(labels))
    return ImageSet(pixels, labels, tuple(f"class {k}" for k in range(len(counts))), names)


COUNTS = st.lists(st.integers(4, 30), min_size=2, max_size=5)


@given(counts=COUNTS, seed=st.integers(0, 5), data=st.data())
def test_subsets_are_stratified_and_nested(counts: list[int], seed: int, data: st.DataObject) -> None:
    images = some(counts)
    small, large = sorted(data.draw(st.lists(st.integers(1, min(counts)), min_size=2, max_size=2)))
    few, more, everything = (nested_subset(images, n, seed) for n in (small, large, None))
    assert set(few) <= set(more) <= set(everything) == set(range(len(images)))
    for chosen, n in ((few, small), (more, large)):
        assert np.bincount(images.labels[chosen], minlength=len(counts)).tolist() == [n] * len(counts)
        assert chosen.tolist() == sorted(set(chosen)), "in the images' own order"


def test_a_subset_depends_on_its_seed_and_nothing_else() -> None:
    images = some([50, 40, 60])
    np.random.seed(0)  # noqa: NPY002 - what the global generator holds is of no account
    first = nested_subset(images, 20, 3)
    np.random.seed(1)  # noqa: NPY002
    assert np.array_equal(first, nested_subset(images, 20, 3))
    assert not np.array_equal(first, nested_subset(images, 20, 4))
    assert set(first) < set(nested_subset(images, 40, 3)), "the 20 are among the 40"


@given(counts=COUNTS, seed=st.integers(0, 5), count=st.integers(1, 3))
def test_a_test_count_sets_as_many_of_each_class_aside(counts: list[int], seed: int, count: int) -> None:
    images = some(counts)
    pool, test = split(images, count=count, seed=seed)
    assert test.counts().tolist() == [count] * len(counts)
    assert pool.counts().tolist() == [n - count for n in counts]
    assert sorted(pool.names + test.names) == sorted(images.names)
    assert [name for name in images.names if name in set(pool.names)] == list(pool.names)
    again = split(images, count=count, seed=seed)
    assert (pool.digest, test.digest) == (again[0].digest, again[1].digest)


def test_another_seed_sets_others_aside() -> None:
    images = some([50, 50])
    assert set(split(images, count=9, seed=0)[1].names) != set(split(images, count=9, seed=1)[1].names)


@pytest.mark.parametrize(("fraction", "expected"), [(0.25, [5, 10, 1]), (0.5, [10, 20, 2]), (0.01, [1, 1, 1])])
def test_a_test_fraction_is_of_each_class_and_at_least_one(fraction: float, expected: list[int]) -> None:
    pool, test = split(some([20, 40, 4]), fraction=fraction)
    assert test.counts().tolist() == expected
    assert pool.counts().tolist() == [a - b for a, b in zip([20, 40, 4], expected, strict=True)]


@pytest.mark.parametrize("how", [{"count": 4}, {"count": 9}, {"fraction": 0.99}], ids=str)
def test_a_class_that_would_have_none_left_is_an_error(how: dict) -> None:
    with pytest.raises(BadData, match=r"class 'class 1' has 4 images; setting \d aside for the test leaves none"):
        split(some([200, 4, 300]), **how)


def test_fewer_images_than_asked_for_is_an_error_that_names_the_shortest_class() -> None:
    with pytest.raises(BadData, match="20 training images of each class asked for, but class 'class 2' has 7"):
        nested_subset(some([30, 12, 7]), 20, 0)


def test_the_digest_is_of_pixels_labels_and_classes_and_not_of_names() -> None:
    images = some([5, 5])
    renamed = ImageSet(images.pixels, images.labels, images.classes, ("x",) * 10)
    assert renamed.digest == images.digest
    pixels = images.pixels.copy()
    pixels[3, 0, 1, 1] += 1
    others = [
        ImageSet(pixels, images.labels, images.classes, images.names),
        ImageSet(images.pixels, images.labels[::-1].copy(), images.classes, images.names),
        ImageSet(images.pixels, images.labels, ("a", "b"), images.names),
        ImageSet(images.pixels.reshape(10, 3, 4, 1), images.labels, images.classes, images.names),
    ]
    assert len({images.digest, *(other.digest for other in others)}) == 5
    assert Split("a", images, others[0]).digest == Split("b", images, others[0]).digest
    assert Split("a", images, others[0]).digest != Split("a", others[0], images).digest


def test_copies_on_both_sides_are_counted_on_the_test_side() -> None:
    images = some([6, 6])
    pool, test = images.take(np.arange(6)), images.take(np.array([6, 7, 8]))
    assert Split("x", pool, test).copies().sum() == 0
    test.pixels[1] = pool.pixels[0]
    test.pixels[2] = pool.pixels[0]
    pool.pixels[4] = pool.pixels[5]  # within one side: no matter
    assert Split("x", pool, test).copies().tolist() == [False, True, True]


def test_taking_keeps_order_and_names() -> None:
    images = some([3, 3])
    taken = images.take(np.array([4, 0]))
    assert taken.names == (images.names[4], images.names[0])
    assert np.array_equal(taken.pixels, images.pixels[[4, 0]])
    assert taken.labels.tolist() == images.labels[[4, 0]].tolist()
    assert len(taken) == 2


def test_the_first_classes_are_kept_on_both_sides_under_a_name_that_says_so() -> None:
    images = some([3, 3, 4])
    whole = Split("shapes", images, images.take(np.array([0, 9, 5, 3])), ("a note",))
    found = whole.first_classes(2)
    assert (found.name, found.notes) == ("shapes (2 classes)", ("a note",))
    assert found.pool.classes == found.test.classes == images.classes[:2]
    assert found.pool.counts().tolist() == [3, 3]
    assert found.test.labels.tolist() == [label for label in whole.test.labels if label < 2]  # in their order
    assert whole.first_classes(3) is whole
    for count in (1, 4):
        with pytest.raises(BadData, match=f"^shapes: classes: from 2 to 3, not {count}$"):
            whole.first_classes(count)
