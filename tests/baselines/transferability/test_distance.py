"""Distances beside SciPy's matrix root, beside one another, and of sets that are alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from baselines.transferability import frechet_diagonal, frechet_distance, mmd
from tests.baselines.transferability.facts import CALLS, Given, given_to


def test_is_the_formula_with_the_root_of_a_dense_matrix() -> None:
    x, s = CALLS["source"](np.random.default_rng(0), 60, 10, 9)
    one, other = np.cov(x.T), np.cov(s.T)
    wanted = np.sum((x.mean(0) - s.mean(0)) ** 2) + np.trace(one + other - 2 * np.real(sqrtm(one @ other)))
    assert frechet_distance(x, s) == pytest.approx(wanted, rel=1e-9)


@given(given_to("frechet_distance"))
def test_a_set_is_at_no_distance_from_itself(given: Given) -> None:
    x, _ = given
    assert 0 <= frechet_distance(x, x[::-1]) < 1e-12
    assert frechet_distance(x, x + 3.0) == pytest.approx(9 * x.shape[1])


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40)])
def test_small_distances_keep_their_digits(n: int, d: int) -> None:
    """The root of a common factor 1 + e: (e √λ)² summed, where the traces cancel but for e²."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, d))
    x -= x.mean(axis=0)
    wanted = 1e-14 * np.trace(np.cov(x.T))
    assert frechet_distance(x, (1 + 1e-7) * x) == pytest.approx(wanted, rel=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_the_diagonal_distance_is_that_of_the_columns_one_by_one(seed: int, d: int) -> None:
    x, s = CALLS["source"](np.random.default_rng(seed), 8, d, 3)
    columns = sum(frechet_distance(x[:, [j]], s[:, [j]]) for j in range(d))
    found = frechet_diagonal(x.mean(0), x.var(0, ddof=1), s.mean(0), s.var(0, ddof=1))
    assert type(found) is float
    assert found == pytest.approx(columns)
    assert found <= frechet_distance(x, s) + 1e-9  # what is not on the diagonal can only add to it


def test_the_diagonal_distance_takes_running_statistics_as_they_are() -> None:
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    assert frechet_diagonal(mean, var, mean, var) == 0
    assert frechet_diagonal(mean, var * 0, mean, var * 4) == 12


def test_mmd_is_zero_on_average_between_samples_of_one_distribution() -> None:
    rng = np.random.default_rng(2)
    found = [mmd(rng.normal(size=(10, 3)), rng.normal(size=(15, 3))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)
    assert min(found) < 0 < max(found)
    assert 10 * np.std(found) / np.sqrt(300) < 1 / 10, "as far up as that a biased estimate would lie"
