"""How many folds there are, and what is said where there are fewer than asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from baselines.estimators.folds import make_folds, mean_accuracy
from wdiv.errors import BadInput


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4), st.integers(2, 8), st.integers(0, 50))
def test_every_image_is_held_out_once_and_every_class_is_trained_on(counts: list[int], folds: int, seed: int) -> None:
    """A small class takes no folds from the others."""
    labels = np.repeat(np.arange(len(counts)), counts)
    found = make_folds(labels, folds, seed)
    if sum(count > 1 for count in counts) < 2:
        assert found == ((), "no cross-validation: the smallest class has 1 image")
        return
    parts, note = found
    assert len(parts) == min(folds, max(counts))
    rows = np.flatnonzero(np.repeat(counts, counts) > 1)
    assert found.rows.tolist() == rows.tolist() == sorted(np.concatenate([held for _, held in parts]))
    for train, held in parts:
        assert sorted([*train, *held]) == list(range(len(labels)))
        assert set(labels[train]) == set(labels)
    for label, count in enumerate(counts):
        assert sum(label in labels[held] for _, held in parts) == (min(count, len(parts)) if count > 1 else 0)
    assert (note is None) == (len(parts) == folds <= min(counts))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 11)), min_size=6, max_size=40), st.integers(0, 9))
def test_a_group_is_held_out_together(of: list[tuple[int, int]], seed: int) -> None:
    labels, groups = np.array([label for label, _ in of]), [f"patient {group}" for _, group in of]
    parts, note = make_folds(labels, 4, seed, groups)
    for train, held in parts:
        assert not {groups[i] for i in train} & {groups[i] for i in held}
        assert set(labels[train]) == set(labels)
        assert sorted([*train, *held]) == list(range(len(labels)))
    assert parts or (note and note.startswith("no cross-validation"))


@pytest.mark.parametrize(
    ("counts", "note"),
    [
        ([9, 9], None),
        ([4, 4], "4 folds of the 5 asked: the smallest class has 4 images"),
        ([60, 12, 3], "the smallest class has 3 images: it is held out in 3 of the 5 folds"),
        ([60, 12, 1], "the smallest class has 1 image: it is held out in none, and in all to train on"),
        ([4, 2], "4 folds of the 5 asked; the smallest class has 2 images: it is held out in 2 of the 4 folds"),
    ],
)
def test_what_is_said(counts: list[int], note: str | None) -> None:
    assert make_folds(np.repeat(np.arange(len(counts)), counts), 5).note == note


def test_whole_groups_may_allow_fewer_folds() -> None:
    labels, groups = [0, 0, 1, 1, 0, 1], ["a", "a", "a", "b", "b", "b"]
    assert make_folds(labels, 5, 0, groups).note == "2 folds of the 5 asked: the smallest class has 2 groups"
    pairs = make_folds([0, 0, 1, 1, 2, 2] * 2, 5, 0, ["a", "b", "b", "c", "c", "a"] * 2)
    assert pairs.note == "3 folds of the 5 asked; the smallest class has 2 groups: it is held out in 2 of the 3 folds"


def test_they_are_those_of_scikit_learn() -> None:
    labels = np.array(list("aababbabab"))
    theirs = StratifiedKFold(4, shuffle=True, random_state=7).split(labels, labels)
    for ours, wanted in zip(make_folds(labels, 4, 7).parts, theirs, strict=True):
        np.testing.assert_array_equal(ours[0], wanted[0])
        np.testing.assert_array_equal(ours[1], wanted[1])


def test_the_seed_is_what_shuffles() -> None:
    labels = [0, 1] * 10
    held = [make_folds(labels, 5, seed).parts[0][1].tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_a_class_of_one_image_has_no_folds() -> None:
    assert make_folds([0, 0, 0, 1], 3) == ((), "no cross-validation: the smallest class has 1 image")


@pytest.mark.parametrize("folds", [1, 0, -3, 2.5, True, "5", None])
def test_fewer_than_two_folds_are_refused(folds: object) -> None:
    with pytest.raises(BadInput, match="folds is a whole number of at least 2, not"):
        make_folds([0, 1] * 5, folds)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(0, 7), st.just(7)), min_size=2, max_size=6))
def test_the_order_of_folds_does_not_change_their_mean(pairs: list[tuple[int, int]]) -> None:
    right, sizes = np.array(pairs).T
    means = {float(mean_accuracy(np.roll(right, i), np.roll(sizes, i))) for i in range(len(right))}
    assert len(means) == 1
    assert means.pop() == pytest.approx(np.mean(right / sizes))


def test_the_mean_of_no_folds_is_nan() -> None:
    assert np.isnan(mean_accuracy(np.empty((3, 0), int), np.empty(0, int))).tolist() == [True] * 3
