"""Gram matrices and what is made of them, against definitions written out in loops and in 50 digits."""

from __future__ import annotations

import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf, workdps

from wdiv.numerics.gram import bures_squared, gram, inner, u_centre


def hsic_unbiased(k: np.ndarray, l: np.ndarray) -> np.ndarray:  # noqa: E741
    """HSIC₁ from U-centred matrices, as the metrics of features use them."""
    a, b = u_centre(k), u_centre(l)
    return inner(a, b) / (a.shape[-1] * (a.shape[-1] - 3))


def by_quadruples(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """HSIC₁ as the U-statistic that it is: the mean over all ordered quadruples of different images."""
    quadruples = list(permutations(range(len(k)), 4))
    with workdps(50):
        terms = (mpf(k[i, j]) * (mpf(l[i, j]) + mpf(l[q, r]) - 2 * mpf(l[i, q])) for i, j, q, r in quadruples)
        return float(mp.fsum(terms) / len(quadruples))


def by_three_terms(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """HSIC₁ as Song et al. (2012) write it."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    ones = np.ones(n)
    middle = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l) + middle - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3)))


def features(seed: int, n: int = 6, width: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.7, 1.0, (n, width))


# --------------------------------------------------------------------------------------------------------------- gram


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6, 6), (7, 40_000), (6, 1), (5,), (4, 0)])
def test_gram_is_the_product_of_centred_columns(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(3.0, 1.0, shape).astype(np.float32)
    columns = x.reshape(len(x), -1).astype(np.float64) if x.size else np.zeros((len(x), 0))
    centred = columns - columns.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(gram(x), centred @ centred.T, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
def test_constant_columns_add_exactly_nothing(dtype: type) -> None:
    x = np.broadcast_to(np.array([0.1, 3.3, 1e4, -7.7]).astype(dtype), (7, 4))
    assert not gram(x).any()


def test_the_layout_in_memory_does_not_matter() -> None:
    x = np.random.default_rng(1).normal(size=(6, 8, 5, 3)).astype(np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for other in (last, x[:, ::-1], np.asfortranarray(x)):
        np.testing.assert_allclose(gram(other), gram(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_no_float64_copy_of_all_features_is_made(channels_last: bool) -> None:
    x = np.ones((16, 64, 100, 100), np.float32)  # 41 MB
    if channels_last:
        x = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    tracemalloc.start()
    gram(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6e6


def test_what_is_not_finite_stays_visible() -> None:
    for hole in (np.nan, np.inf):
        x = features(0)
        x[2, 1] = hole
        assert np.isnan(gram(x)).any()


def test_near_duplicates_keep_their_digits() -> None:
    """Images whose features agree to eight digits: what they differ by is all there is."""
    base = features(3, 1, 50)
    change = np.random.default_rng(4).integers(-8, 9, (6, 50)) * 2.0**-30
    x = base.round(3) + change
    exact = x - x[0]  # exact by Sterbenz's lemma
    np.testing.assert_allclose(gram(x), gram(exact), rtol=1e-12)


# --------------------------------------------------------------------------------------------------------------- HSIC


@pytest.mark.parametrize("n", [4, 5, 7])
@pytest.mark.parametrize("seed", range(3))
def test_hsic_is_the_u_statistic(n: int, seed: int) -> None:
    k, l = gram(features(seed, n)), gram(features(seed + 50, n))  # noqa: E741
    for other in (k, l):
        assert float(hsic_unbiased(k, other)) == pytest.approx(by_quadruples(k, other), rel=1e-11, abs=1e-14)


def test_hsic_is_the_formula_of_the_paper() -> None:
    k, l = gram(features(0, 40, 9)), gram(features(1, 40, 100))  # noqa: E741
    assert float(hsic_unbiased(k, l)) == pytest.approx(by_three_terms(k, l), rel=1e-9)


def test_hsic_does_not_see_whether_columns_are_centred() -> None:
    x, y = features(0), features(1)
    assert float(hsic_unbiased(x @ x.T, y @ y.T)) == pytest.approx(float(hsic_unbiased(gram(x), gram(y))), rel=1e-11)


def test_hsic_is_unbiased() -> None:
    """Over many draws of independent features it averages to nothing; the plain estimate does not."""
    rng = np.random.default_rng(0)
    k, l = (np.stack([gram(x) for x in rng.normal(size=(2000, 6, 8))]) for _ in range(2))  # noqa: E741
    found = hsic_unbiased(k, l)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert (k * l).sum(axis=(1, 2)).mean() > 100


def test_all_pairs_at_once_are_the_pairs_one_by_one() -> None:
    k, l = (np.stack([gram(features(s + t, 9)) for s in range(n)]) for t, n in ((0, 5), (20, 4)))  # noqa: E741
    for function in (hsic_unbiased, bures_squared):
        pairs = function(k[:, None], l[None])
        assert pairs.shape == (5, 4)
        np.testing.assert_array_equal(pairs, [[function(x, y) for y in l] for x in k])


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_three_images_are_too_few(n: int) -> None:
    with pytest.raises(ValueError, match="at least 4 images"):
        hsic_unbiased(np.eye(n), np.eye(n))
    with pytest.raises(ValueError, match="not of shape"):
        u_centre(np.ones((4, 5)))


@given(st.integers(4, 30), st.integers(0, 10**6))
def test_rounding_alone_is_nothing(n: int, seed: int) -> None:
    """Off the diagonal, a matrix aᵢ + aⱼ holds nothing; left as noise, it would be divided by itself."""
    effect = np.random.default_rng(seed).normal(size=n) * 10.0 ** (seed % 9 - 4)
    assert not u_centre(effect[:, None] + effect + np.diag(np.arange(n))).any()


@given(st.integers(4, 30), st.integers(0, 10**6))
def test_rows_sum_to_zero(n: int, seed: int) -> None:
    a = u_centre(gram(features(seed, n)))
    assert np.abs(a.sum(axis=0)).max() <= 1e-12 * np.abs(a).max()
    assert not np.diag(a).any()


# -------------------------------------------------------------------------------------------------------------- Bures


def precise_procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """‖X‖² + ‖Y‖² − 2‖XᵀY‖_* of features, in 50 digits."""
    with workdps(50):
        a, b = mp.matrix(x.tolist()), mp.matrix(y.tolist())
        nuclear = mp.fsum(mp.svd_r(a.T * b, compute_uv=False))
        return float(mp.norm(a, 2) ** 2 + mp.norm(b, 2) ** 2 - 2 * nuclear)


@pytest.mark.parametrize("width", [3, 6, 12])
def test_bures_is_the_distance_under_the_best_rotation(width: int) -> None:
    x, y = features(0, 6, width), features(1, 6, width)
    assert float(bures_squared(x @ x.T, y @ y.T)) == pytest.approx(precise_procrustes(x, y), rel=1e-12)


@pytest.mark.parametrize("change", [1e-1, 1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("width", [3, 12])
def test_bures_keeps_its_digits_for_small_changes(width: int, change: float) -> None:
    """What the textbook form loses at 1e-8: what it says of its relative error."""
    x = features(2, 6, width)
    y = x + change * features(3, 6, width)
    # the Gram matrices are rounded before they are compared, which is the error that remains
    assert float(bures_squared(x @ x.T, y @ y.T)) == pytest.approx(
        precise_procrustes(x, y), rel=max(1e-11, 1e-14 / change)
    )


def test_bures_of_equal_matrices_is_exactly_zero() -> None:
    for k in (gram(features(0)), gram(features(0, 6, 2)), np.zeros((4, 4))):
        assert bures_squared(k, k.copy()) == 0.0


def test_bures_of_what_lacks_a_direction() -> None:
    x = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    y = np.array([[1.0], [0.0], [0.0], [0.0]])
    assert float(bures_squared(x @ x.T, y @ y.T)) == pytest.approx(1.0, rel=1e-12)
