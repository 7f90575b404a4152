"""How a training set is cut into folds, and what is said where it cannot be cut as asked."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import StratifiedKFold

from wdiv.errors import BadInput

__all__ = ["Folds", "make_folds", "mean_accuracy"]


class Folds(NamedTuple):
    """The folds, and in one line what was done in place of what was asked; None where nothing was.

    parts  (rows to train on, rows held out), once a fold; none where a class has a single image
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]
    note: str | None


def make_folds(labels: Any, folds: int, random_state: Any = 0) -> Folds:
    """Stratified, shuffled folds; no more of them than the smallest class has members.

    labels        (n,) anything that sorts
    folds         at least 2, as asked
    random_state  a seed, a ``RandomState`` or None, as everywhere in scikit-learn

    Raises :class:`~wdiv.errors.BadInput` for fewer than 2 folds.

    >>> make_folds(["a"] * 5 + ["b"] * 3, folds=5).note
    '3 folds of the 5 asked: the smallest class has 3 images'
    >>> make_folds(["a"] * 5 + ["b"], folds=5)
    Folds(parts=(), note='no cross-validation: the smallest class has 1 image')
    """
    if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 2:
        raise BadInput(f"folds is a whole number of at least 2, not {folds!r}")
    labels = np.asarray(labels)
    smallest = int(np.unique(labels, return_counts=True)[1].min())
    if smallest < 2:
        return Folds((), "no cross-validation: the smallest class has 1 image")
    possible = min(int(folds), smallest)
    split = StratifiedKFold(possible, shuffle=True, random_state=random_state)
    note = f"{possible} folds of the {folds} asked: the smallest class has {smallest} images"
    return Folds(tuple(split.split(np.zeros(len(labels)), labels)), note if possible < folds else None)


def mean_accuracy(right: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The mean over folds of right / size, each mean correctly rounded, so that equal means are equal floats.

    right  (…, folds) images that were classified rightly
    sizes  (folds,) images of each fold

    NaN where there are no folds.

    >>> mean_accuracy(np.array([[1, 2], [2, 1]]), np.array([3, 3]))
    array([0.5, 0.5])
    """
    right, sizes = np.asarray(right), np.asarray(sizes)
    if not len(sizes):
        return np.full(right.shape[:-1], np.nan)
    rows = right.reshape(-1, len(sizes)).tolist()
    sums = [sum((Fraction(r, s) for r, s in zip(row, sizes.tolist(), strict=True)), Fraction(0)) for row in rows]
    return np.array([float(total / len(sizes)) for total in sums]).reshape(right.shape[:-1])
