"""LEEP and NCE at their ends, and beside one another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from baselines.transferability import leep, nce
from tests.baselines.transferability.facts import Given, example, given_to


@given(given_to("leep"))
def test_neither_is_above_zero_nor_infinite(given: Given) -> None:
    theta, labels = given
    assert -np.log(theta.size) <= leep(theta, labels) <= 0
    assert -np.log(len(set(labels))) - 1e-12 <= nce(theta, labels) <= 0


@given(given_to("leep"))
def test_of_a_source_that_is_always_sure_both_are_one(given: Given) -> None:
    theta, labels = given
    sure = np.eye(theta.shape[1])[theta.argmax(axis=1)]
    assert leep(sure, labels) == pytest.approx(nce(sure, labels), abs=1e-12)
    assert nce(sure, labels) == nce(theta, labels)


@given(st.permutations(range(5)), st.integers(0, 1000))
def test_of_a_source_that_knows_the_labels_both_are_zero(names: list[int], seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.arange(11) % 4)
    perfect = np.eye(5)[np.asarray(names)[labels]]
    assert leep(perfect, labels) == nce(perfect, labels) == 0


def test_of_a_source_that_says_the_same_of_all_images_it_is_the_entropy_of_the_labels() -> None:
    labels = np.array([0] * 6 + [1] * 2)
    entropy = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    for row in ([0.2, 0.3, 0.5], [1.0, 0.0, 0.0]):
        theta = np.tile(row, (8, 1))
        assert leep(theta, labels) == pytest.approx(-entropy)
        assert nce(theta, labels) == pytest.approx(-entropy)


def test_the_first_of_equally_likely_classes_is_the_predicted_one() -> None:
    assert nce([[0.5, 0.5], [0.4, 0.6]], [0, 1]) == 0


def test_of_a_source_that_knows_the_labels_by_several_names_it_is_zero_and_never_more() -> None:
    for seed in range(100):
        rng = np.random.default_rng(seed)
        names = [np.pad(rng.dirichlet(np.ones(3), 4), ((0, 0), (3 * k, 3 - 3 * k))) for k in range(2)]
        assert -1e-15 < leep(np.vstack(names), [0] * 4 + [1] * 4) <= 0


def test_tiny_probabilities_are_no_zeros_and_zeros_no_errors() -> None:
    tiny = np.array([[1.0, 5e-324, 0.0], [1.0, 0.0, 0.0], [0.0, 1e-200, 1.0]])
    assert leep(tiny, [0, 1, 1]) == pytest.approx(-2 / 3 * np.log(2))


def test_rows_need_to_sum_to_one_in_their_own_precision_only() -> None:
    theta, labels = example("leep", n=20, d=7)
    assert leep(theta.astype(np.float16), labels) == pytest.approx(leep(theta, labels), abs=1e-3)
    assert leep(theta * 1.0005, labels) == pytest.approx(leep(theta, labels), abs=1e-12)
