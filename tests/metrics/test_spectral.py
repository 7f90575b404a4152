"""Metrics of kernels as matrices, against NumPy's own decomposition, and what they mean."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.linalg import norm, svd
from scipy.linalg import block_diag

from wdiv.metrics import METRICS
from wdiv.numerics import spectrum

SPECTRAL = [name for name, record in METRICS.items() if record.family == "spectral"]
SHAPES = [(64, 147), (147, 64), (16, 9), (10, 512), (1, 40), (40, 1)]


def value(name: str, a: np.ndarray, b: np.ndarray) -> float:
    return float(METRICS[name].function(spectrum(a), spectrum(b), spectrum(b - a, directions=False)))


def stable_rank(w: np.ndarray) -> float:
    return float(norm(w) ** 2 / norm(w, 2) ** 2)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inputs = a.shape[1]
    k = min(8, *a.shape, max(1, inputs // 2))
    v, w = (svd(x, full_matrices=False)[2][:k] for x in (a, b))
    return float((norm(v @ w.T) ** 2 / k - k / inputs) / (1 - k / inputs)) if k < inputs else 1.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("change", [1.0, 0.1, 1e-3])
def test_kernels_of_every_shape_agree_with_numpy(shape: tuple[int, int], change: float) -> None:
    a, step = np.random.default_rng(5).normal(0.01, 0.05, (2, *shape))
    b = a + change * step
    wanted = {
        "spectral_norm_change": norm(b, 2) / norm(a, 2) - 1,
        "stable_rank_change": stable_rank(b) - stable_rank(a),
        "delta_stable_rank": stable_rank(b - a),
        "subspace_overlap": overlap(a, b),
    }
    assert sorted(wanted) == sorted(SPECTRAL)
    for name, number in wanted.items():
        assert value(name, a, b) == pytest.approx(number, rel=1e-9, abs=1e-11), name


def test_an_update_of_rank_one_is_seen_as_one() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(30, 50))
    b = a + 1e-3 * np.outer(rng.normal(size=30), rng.normal(size=50))
    assert value("delta_stable_rank", a, b) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("transpose", [False, True])
def test_directions_that_a_matrix_lacks_count_as_not_overlapping(transpose: bool) -> None:
    """Whether it is wide or tall."""
    a = np.zeros((20, 12))
    a[[0, 1], [0, 1]] = 2.0, 1.0
    a = a.T if transpose else a
    rotated = np.linalg.qr(np.random.default_rng(1).normal(size=(len(a), len(a))))[0] @ a  # outputs, not inputs
    inputs = a.shape[1]
    k = min(8, inputs // 2)
    for b in (a * 3, rotated):
        assert value("subspace_overlap", a, b) == pytest.approx((2 / k - k / inputs) / (1 - k / inputs))


def test_what_acts_on_other_inputs_does_not_overlap() -> None:
    a, b = np.zeros((8, 40)), np.zeros((8, 40))
    a[:, :8], b[:, 8:16] = np.diag(np.arange(1.0, 9.0)), np.diag(np.arange(1.0, 9.0))
    assert value("subspace_overlap", a, b) == pytest.approx(-8 / 32), "less than by chance"
    assert value("subspace_overlap", a, a[::-1] * 2.0) == pytest.approx(1.0), "outputs in another order, same inputs"


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_rotation_of_the_outputs_changes_no_spectrum(name: str) -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 12, 40))
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0]
    assert value(name, rotation @ a, rotation @ b) == pytest.approx(value(name, a, b), rel=1e-9)


@pytest.mark.parametrize("name", SPECTRAL)
def test_a_stack_is_its_matrices_one_by_one_to_the_bit(name: str) -> None:
    a, *others = np.random.default_rng(4).normal(size=(6, 24, 99))
    together = METRICS[name].function(
        spectrum(a[None]), spectrum(np.stack(others)), spectrum(np.stack(others) - a, directions=False)
    )
    assert together.tolist() == [value(name, a, b) for b in others]


@pytest.mark.parametrize(("out", "inputs", "groups"), [(32, 9, 1), (64, 147, 1), (16, 9, 16), (32, 36, 8), (8, 2, 1)])
def test_unrelated_kernels_overlap_by_nothing_on_average_and_equal_ones_by_all(
    out: int, inputs: int, groups: int
) -> None:
    rng = np.random.default_rng(3)
    a, b = (spectrum(w, groups=groups) for w in rng.normal(size=(2, 300, out, inputs)))
    found = METRICS["subspace_overlap"].function(a, b, a._replace(frobenius=np.ones(300)))
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(300)
    same = METRICS["subspace_overlap"].function(a, a, a._replace(frobenius=np.ones(300)))
    np.testing.assert_allclose(same, 1.0, atol=1e-9)


def test_of_one_input_there_is_one_direction() -> None:
    assert value("subspace_overlap", np.ones((4, 1)), np.full((4, 1), -2.0)) == 1.0


@pytest.mark.parametrize(("out", "fan", "groups"), [(6, 9, 6), (12, 9, 6), (24, 9, 2), (32, 36, 8), (4, 1, 4)])
def test_a_grouped_kernel_is_the_block_diagonal_matrix_that_it_acts_as(out: int, fan: int, groups: int) -> None:
    rng = np.random.default_rng(7)
    a, b = rng.normal(size=(2, out, fan))

    def whole(w: np.ndarray) -> np.ndarray:
        return block_diag(*w.reshape(groups, out // groups, fan))

    for name in SPECTRAL:
        record = METRICS[name].function
        sides = (spectrum(a, groups=groups), spectrum(b, groups=groups), spectrum(b - a, False, groups))
        assert float(record(*sides)) == pytest.approx(value(name, whole(a), whole(b)), rel=1e-9, abs=1e-9), name
