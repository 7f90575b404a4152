"""LogME beside the published algorithm, the evidence as a density, and its maximum found by a search."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from baselines.transferability import logme
from benchmarks.logme import images, original
from tests.baselines.transferability.oracles import ORACLES


@pytest.mark.parametrize(("n", "d", "classes"), [(60, 12, 3), (40, 100, 4), (50, 50, 2), (80, 400, 10), (300, 20, 5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_is_the_score_of_the_published_algorithm(n: int, d: int, classes: int, seed: int) -> None:
    x, y = images(n, d, classes, seed)
    assert logme(x, y) == pytest.approx(original(x, y), abs=1e-8)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 20)])
def test_iterated_to_the_end_it_is_the_maximum(n: int, d: int) -> None:
    """Of the density of the labels, N(0, I/β + FFᵀ/α), searched over log α and log β."""
    rng = np.random.default_rng(2)
    y = np.arange(n) % 3
    x = np.maximum(rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(3, d))[y], 0)

    def unlikely(logs: np.ndarray, target: np.ndarray) -> float:
        spread = np.exp(-logs[1]) * np.eye(n) + np.exp(-logs[0]) * x @ x.T
        return (np.linalg.slogdet(2 * np.pi * spread)[1] + target @ np.linalg.solve(spread, target)) / 2

    found = [minimize(unlikely, [1.0, 1.0], (y == c) * 1.0, method="Nelder-Mead", tol=1e-10).fun for c in range(3)]
    highest = logme(x, y, tolerance=0, steps=5000)
    assert highest == pytest.approx(-np.mean(found) / n, abs=1e-9)
    assert logme(x, y) <= highest + 1e-12


@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_keeps_its_digits_where_the_labels_are_fitted_without_noise(unit: float) -> None:
    """Classes far apart, fewer images than features: n − γ is a small difference of large numbers, or a sum."""
    rng = np.random.default_rng(0)
    y = np.arange(9) % 3
    x = unit * (rng.normal(size=(9, 14)) + 20 * rng.normal(size=(3, 14))[y])
    assert logme(x, y) == pytest.approx(ORACLES["logme"](x, y), abs=1e-9)


def test_a_model_without_noise_is_the_limit_of_those_with_little() -> None:
    """Of class 0 the best is y ~ N(0, FFᵀ/α), and α/β falls fiftyfold a step; of class 1 α/β grows without end."""
    x, y = np.diag([10.0, 1.0]), [0, 1]
    without_noise = -(np.log(np.linalg.det(2 * np.pi * x @ x.T)) - 2 * np.log(2 * 100) + 2) / 2
    without_features = np.log(2 / (2 * np.pi)) - 1
    found = logme(x, y, tolerance=0, steps=5000)
    assert found == pytest.approx((without_noise + without_features) / 4, abs=1e-9)


def test_more_steps_bring_it_nearer_to_the_maximum() -> None:
    x, y = images(40, 60, 4)
    falling = [logme(x, y, tolerance=0, steps=2000) - logme(x, y, tolerance=0, steps=steps) for steps in (1, 5, 25)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > 10 * abs(falling[2])
