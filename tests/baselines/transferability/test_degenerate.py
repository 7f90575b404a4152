"""What the docstrings say of constant features, of two images, and of very large and very small numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from baselines.transferability import SCORES, frechet_distance, h_score, h_score_shrunk, logme, mmd
from tests.baselines.transferability.facts import example

LABELS = np.array([0, 0, 0, 1, 1, 2])


def noise_alone() -> float:
    """Log density per image of one-hot labels under N(0, I/β), β the best for each class."""
    n, counts = len(LABELS), np.bincount(LABELS)
    return float(np.mean([(math.log(n / (2 * math.pi * count)) - 1) / 2 for count in counts]))


@pytest.mark.parametrize("d", [1, 3, 20])
def test_constant_features(d: int) -> None:
    constant, zero = np.full((6, d), 0.1), np.zeros((6, d))
    assert h_score(constant, LABELS) == h_score(zero, LABELS) == 0
    assert h_score_shrunk(constant, LABELS) == h_score_shrunk(zero, LABELS) == 0
    assert math.isfinite(logme(constant, LABELS))
    assert logme(zero, LABELS) == pytest.approx(noise_alone(), abs=1e-12)
    assert frechet_distance(constant, zero[:4]) == pytest.approx(0.01 * d)
    assert frechet_distance(constant, constant) == 0
    assert math.isnan(mmd(constant, constant))


def test_features_at_right_angles_to_every_class_are_as_good_as_none() -> None:
    across = np.array([[1.0], [-1.0], [0.0], [1.0], [-1.0], [0.0]])
    assert logme(across, LABELS, steps=50) == pytest.approx(noise_alone(), abs=1e-9)


def test_a_constant_column_beside_others() -> None:
    x, labels = example("h_score", n=20, d=4)
    more = np.hstack([x, np.full((20, 1), 0.1)])
    assert h_score(more, labels) == pytest.approx(h_score(x, labels), rel=1e-10)
    assert h_score_shrunk(more, labels) != pytest.approx(h_score_shrunk(x, labels), rel=1e-3)
    x, source = example("mmd", n=20, d=4)
    more, beside = (np.hstack([rows, np.full((len(rows), 1), 7.0)]) for rows in (x, source))
    assert mmd(more, beside) == pytest.approx(mmd(x, source), rel=1e-10)
    assert frechet_distance(more, beside) == pytest.approx(frechet_distance(x, source), rel=1e-10)


def test_mostly_alike_rows_have_no_bandwidth() -> None:
    x = np.zeros((8, 2))
    x[0] = 1
    assert math.isnan(mmd(x, np.zeros((4, 2))))


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("name", SCORES)
def test_two_images_are_enough(name: str, d: int) -> None:
    assert math.isfinite(SCORES[name].function(*example(name, n=2, d=d, classes=2)))


@pytest.mark.parametrize("unit", [1e-250, 1e-60, 1e60])
@pytest.mark.parametrize("shape", [(12, 4), (6, 20)])
@pytest.mark.parametrize("name", [name for name in SCORES if SCORES[name].takes != "probabilities"])
def test_no_number_is_too_large_or_too_small(name: str, shape: tuple[int, int], unit: float) -> None:
    x, y = example(name, *shape)
    found = SCORES[name].function(x * unit, y * unit if y.ndim == 2 else y)
    assert math.isfinite(found) or (name == "mmd" and unit == 1e-250)  # whose squared distances are 0


@pytest.mark.parametrize("name", ["logme", "h_score", "h_score_shrunk", "leep", "nce"])
def test_a_class_of_one_image_and_classes_that_skip_numbers(name: str) -> None:
    x, _ = example(name, n=6, d=3)
    found = SCORES[name].function(x, LABELS)
    assert math.isfinite(found)
    assert SCORES[name].function(x, LABELS * 10 - 7) == found
    assert SCORES[name].function(x, np.array(["a", "b", "c"])[LABELS]) == found


def test_labels_that_are_true_or_false() -> None:
    x, _ = example("logme", n=6, d=3)
    assert logme(x, LABELS > 0) == logme(x, (LABELS > 0).astype(int))
