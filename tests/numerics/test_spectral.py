"""Spectra against NumPy's own decomposition: wide, tall, in stacks, of nothing, and not finite."""

from __future__ import annotations

import numpy as np
import pytest

from wdiv.numerics import Spectrum, spectrum
from wdiv.numerics.spectral import DIRECTIONS

SHAPES = {"wide": (6, 40), "tall": (40, 6), "square": (20, 20), "row": (1, 9), "column": (9, 1), "one": (1, 1)}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def matrix(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 1.0, shape)


@every_shape
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_and_directions_are_numpy_s(shape: tuple[int, int], dtype: type) -> None:
    w = matrix(shape).astype(dtype)
    _, values, rows = np.linalg.svd(w.astype(np.float64), full_matrices=False)
    found, k = spectrum(w), min(DIRECTIONS, *shape, max(1, shape[1] // 2))
    np.testing.assert_allclose(found.values, values, rtol=1e-12)
    assert found.directions.shape == (shape[1], k)
    np.testing.assert_allclose(np.abs(rows[:k] @ found.directions), np.eye(k), atol=1e-10)
    assert float(found.frobenius) == pytest.approx((w.astype(np.float64) ** 2).sum(), rel=1e-14)


@every_shape
def test_values_alone_are_the_same_values(shape: tuple[int, int]) -> None:
    w = matrix(shape)
    both, alone = spectrum(w), spectrum(w, directions=False)
    np.testing.assert_allclose(alone.values, both.values, rtol=1e-12)
    assert alone.frobenius == both.frobenius
    assert alone.directions.shape == (shape[1], 0)


@every_shape
@pytest.mark.parametrize("directions", [True, False])
def test_a_stack_is_its_matrices_one_by_one_to_the_bit(shape: tuple[int, int], directions: bool) -> None:
    stack = matrix((3, 2, *shape))
    together = spectrum(stack, directions)
    for place in np.ndindex(3, 2):
        assert_same(Spectrum(*(field[place] for field in together)), spectrum(stack[place], directions))


@pytest.mark.parametrize("shape", [(64, 576), (256, 64), (96, 27)])
def test_stacks_of_real_sizes_too(shape: tuple[int, int]) -> None:
    stack = matrix((5, 1, *shape), 1)
    together = spectrum(stack)
    for epoch in range(5):
        assert_same(Spectrum(*(field[epoch] for field in together)), spectrum(stack[epoch]))
    assert_same(spectrum(stack[1:3]), Spectrum(*(field[1:3] for field in together)))


def assert_same(found: Spectrum, wanted: Spectrum) -> None:
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@every_shape
def test_a_zero_matrix_has_no_direction(shape: tuple[int, int]) -> None:
    found = spectrum(np.zeros(shape))
    assert all(not field.any() for field in found)


@every_shape
@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_spoils_its_own_matrix_only(shape: tuple[int, int], hole: float) -> None:
    stack = np.stack([matrix(shape)] * 2)
    stack[1, -1, 0] = hole
    found = spectrum(stack)
    for field in found:
        assert np.isfinite(field[0]).all()
        assert np.isnan(field[1]).all()
    assert_same(Spectrum(*(field[0] for field in found)), spectrum(matrix(shape)))


@pytest.mark.parametrize("shape", [(30, 12), (12, 30)])
def test_directions_stop_where_the_rank_ends(shape: tuple[int, int]) -> None:
    """What lies below is the root of rounding; in a tall matrix it would look like a direction as good as any."""
    w = matrix((shape[0], 3)) @ matrix((3, shape[1]), 1)
    found = spectrum(w)
    lengths = np.linalg.norm(found.directions, axis=0)
    np.testing.assert_allclose(lengths, [1.0] * 3 + [0.0] * (min(8, shape[1] // 2) - 3), atol=1e-12)
    assert (found.values[3:] < 1e-7 * found.values[0]).all()


def test_directions_are_orthonormal() -> None:
    v = spectrum(matrix((16, 90))).directions
    np.testing.assert_allclose(v.T @ v, np.eye(8), atol=1e-11)
