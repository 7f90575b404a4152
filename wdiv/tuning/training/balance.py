"""Classes of unequal size while training: how much an image counts by its class, and how often it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wdiv.registry import Registry

__all__ = ["CLASS_WEIGHTS", "SAMPLINGS", "ClassWeights", "Sampling"]


@dataclass(frozen=True)
class ClassWeights:
    """``of(counts)``: the weight of each class's loss, (k,), by its training images; None where all count alike. The
    mean over the images is 1."""

    name: str
    long_name: str
    formula: str
    of: Callable[[np.ndarray], np.ndarray | None]


@dataclass(frozen=True)
class Sampling:
    """``of(labels, draws, rng)``: which images are drawn in an epoch, in their order."""

    name: str
    long_name: str
    of: Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


def _balanced_weights(counts: np.ndarray) -> np.ndarray:
    """As scikit-learn's ``compute_class_weight``; a class without images, which it refuses, has weight 0.

    >>> _balanced_weights(np.array([6, 2, 0])).round(3).tolist()
    [0.667, 2.0, 0.0]
    """
    present = counts > 0
    return np.asarray(present * counts.sum() / (present.sum() * np.maximum(counts, 1)))


def _shuffled(labels: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Pass after pass."""
    return _passes(np.arange(len(labels)), draws, rng)


def _balanced(labels: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Each class as often as another, one more where they do not divide; its images pass after pass.

    >>> order = _balanced(np.array([0] * 9 + [1] * 2), 8, np.random.default_rng(0))
    >>> sorted(order.tolist())  # four of the nine, and each of the two twice
    [2, 4, 5, 6, 9, 9, 10, 10]
    """
    classes = rng.permutation(np.unique(labels))
    each, more = divmod(draws, len(classes))
    found = [
        _passes(np.flatnonzero(labels == label), each + (place < more), rng) for place, label in enumerate(classes)
    ]
    return rng.permutation(np.concatenate(found))


def _passes(rows: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    passes = [rng.permutation(rows) for _ in range(-(-draws // len(rows)))]
    return np.concatenate([*passes, rows[:0]])[:draws]


CLASS_WEIGHTS: Registry[ClassWeights] = Registry(
    "way to weigh classes",
    [
        ClassWeights("none", "every image counts alike", "1", lambda counts: None),
        ClassWeights(
            "balanced",
            "every class counts alike, in the validation loss too; accuracies are of images as they are",
            "n / (k n_c): scikit-learn's",
            _balanced_weights,
        ),
    ],
)
SAMPLINGS: Registry[Sampling] = Registry(
    "sampling",
    [
        Sampling("shuffled", "every image as often as another", _shuffled),
        Sampling("balanced", "every class as often as another; images of a rare one several times", _balanced),
    ],
)
