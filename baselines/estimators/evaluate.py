"""How good answers are: accuracy and its kin with intervals, confusion, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from wdiv.errors import BadInput
from wdiv.numerics import wilson
from wdiv.numerics.classification import SCORES, calibration_error, confusion_matrix

__all__ = ["INTERVAL", "Estimate", "Evaluation", "estimates", "evaluate"]

INTERVAL = "wilson"
"""By what name the kind of an evaluation's intervals stands in its JSON. Older ones have none: their bootstrap gave
[1, 1] for 50 of 50."""


class Estimate(NamedTuple):
    """A value, and the interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` finds.

    classes            (k,) as they were given
    confusion          (k, k) int: images of the row's class that were answered with the column's
    accuracy           share of images answered rightly
    balanced_accuracy  mean over the classes that have images of the share answered rightly
    macro_f1           mean of 2·right / (images + answers) over the classes that have either
    calibration_error  :func:`~wdiv.numerics.classification.calibration_error`; NaN without probabilities
    level              of the intervals
    """

    classes: tuple[Any, ...]
    confusion: np.ndarray
    accuracy: Estimate
    balanced_accuracy: Estimate
    macro_f1: Estimate
    calibration_error: float
    level: float

    def to_json(self) -> dict[str, Any]:
        """The same in what JSON has: NaN becomes None, classes become text."""
        return {
            "classes": [str(c) for c in self.classes],
            "confusion": self.confusion.tolist(),
            **{name: getattr(self, name)._asdict() for name in SCORES},
            "calibration_error": None if math.isnan(self.calibration_error) else self.calibration_error,
            "level": self.level,
            "interval": INTERVAL,
        }


def evaluate(
    labels: Any,
    predicted: Any,
    probabilities: Any = None,
    *,
    classes: Sequence[Any],
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Evaluation:
    """The scores of answers to test images.

    labels, predicted  (n,) of each image: its class, the answer
    probabilities      (n, k), columns in the order of ``classes``
    classes            all that there are; one may have no test image, see :class:`Evaluation`
    draws              of the bootstrap (Efron, 1979), which gives the variance of what is no plain share: n test images
                       drawn with replacement. The scores need no more of a draw than its confusion matrix, and that
                       is multinomial
    level              of the intervals, Wilson's (:func:`wdiv.numerics.wilson`), which know that 50 of 50 may be 93 %:
                       of accuracy with n images; of the others with value · (1 − value) / variance, but no more than
                       k² / Σ 1/images of the k classes, which is what their mean is worth if all are alike

    Raises :class:`~wdiv.errors.BadInput` for lengths that differ, no images, labels that are not among the classes, and
    rows that are not probabilities.

    >>> found = evaluate(["a", "a", "b", "b"], ["a", "b", "b", "b"], classes=["a", "b"])
    >>> found.accuracy  # doctest: +ELLIPSIS
    Estimate(value=0.75, low=0.300..., high=0.954...)
    >>> found.confusion
    array([[1, 1],
           [0, 2]])
    """
    if draws < 1 or not 0 < level < 1:
        raise BadInput(f"draws is at least 1 and level between 0 and 1, not {draws!r} and {level!r}")
    true, answers = _indices("labels", labels, classes), _indices("predicted", predicted, classes)
    n, k = len(true), len(classes)
    if n == 0 or len(answers) != n:
        raise BadInput(f"labels and predicted are of the same images, at least one; not {n} and {len(answers)}")
    confusion = confusion_matrix(true, answers, k)
    found = estimates(confusion, seed=seed, draws=draws, level=level)
    error = np.nan if probabilities is None else calibration_error(_checked(probabilities, n, k), true)
    return Evaluation(tuple(classes), confusion, **found, calibration_error=error, level=level)


def estimates(confusion: np.ndarray, *, seed: int = 0, draws: int = 2000, level: float = 0.95) -> dict[str, Estimate]:
    """Of :func:`evaluate`, what the confusion matrix alone tells: each score by name, with its interval."""
    right, images, given = (x[None] for x in (np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)))
    drawn = _draws(confusion, draws, np.random.default_rng(seed))
    alike = (images > 0).sum() ** 2 / (1.0 / images[images > 0]).sum()
    found = {}
    for name, score in SCORES.items():
        value = float(score(right, images, given)[0])
        plain = name == "accuracy"
        worth = images.sum() if plain else _worth(value, float(score(*drawn).var()), float(alike))
        found[name] = Estimate(*map(float, wilson(value, worth, level)))
    return found


def _draws(confusion: np.ndarray, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws, k) each: images answered rightly, images, answers, of every class in every draw."""
    rows, columns = np.nonzero(confusion)
    counts = confusion[rows, columns]
    drawn = rng.multinomial(counts.sum(), counts / counts.sum(), size=draws).astype(np.float64)
    of_row, of_column = (np.eye(len(confusion))[index] for index in (rows, columns))
    return drawn @ (of_row * of_column), drawn @ of_row, drawn @ of_column


def _worth(value: float, variance: float, most: float) -> float:
    """How many images, drawn one by one, would tell as much of a share."""
    return min(most, value * (1.0 - value) / variance) if variance > 0 else most


def _indices(what: str, labels: Any, classes: Sequence[Any]) -> np.ndarray:
    index = {c: i for i, c in enumerate(classes)}
    if len(index) < len(classes):
        raise BadInput("classes: one stands twice")
    if np.ndim(labels) != 1:
        raise BadInput(f"{what} is a row of classes, not of shape {np.shape(labels)}")
    given = np.asarray(labels).tolist()
    unknown = [c for c in given if c not in index]
    if unknown:
        raise BadInput(f"{what} holds {unknown[0]!r}, which is not among the {len(index)} classes")
    return np.array([index[c] for c in given], dtype=int)


def _checked(probabilities: Any, n: int, k: int) -> np.ndarray:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.shape != (n, k):
        raise BadInput(f"probabilities of {n} images and {k} classes are ({n}, {k}), not {p.shape}")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(axis=1), 1.0, rtol=0, atol=1e-4)):
        raise BadInput("probabilities: each row is finite, at least 0 and adds up to 1")
    return p
