"""How many folds there are, and what is said where there are fewer than asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold

from baselines.estimators.folds import make_folds, mean_accuracy
from wdiv.errors import BadInput


@given(st.lists(st.integers(2, 9), min_size=2, max_size=4), st.integers(2, 8), st.integers(0, 50))
def test_every_image_is_held_out_once_and_every_class_is_in_every_part(
    counts: list[int], folds: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts, note = make_folds(labels, folds, seed)
    assert len(parts) == min(folds, *counts)
    assert sorted(np.concatenate([held for _, held in parts])) == list(range(len(labels)))
    for train, held in parts:
        assert not set(train) & set(held)
        assert set(labels[train]) == set(labels[held]) == set(labels)
    assert (note is None) == (len(parts) == folds)
    if note:
        assert note == f"{len(parts)} folds of the {folds} asked: the smallest class has {min(counts)} images"


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
