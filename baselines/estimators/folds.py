"""How a training set is cut into folds, and what is said where it cannot be cut as asked."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.tuning.data.folds import fold_numbers

__all__ = ["Folds", "make_folds", "mean_accuracy"]


class Folds(NamedTuple):
    """The folds, and in one line what was done in place of what was asked; None where nothing was.

    parts  (rows to train on, rows held out), once a fold. What holds all of a class, a single image or group, is held
           out in none, and in all to train on; no parts where that leaves fewer than two classes to hold out
    """

    parts: tuple[tuple[np.ndarray, np.ndarray], ...]
    note: str | None

    @property
    def rows(self) -> np.ndarray:
        """Those that are held out in a fold, ascending."""
        return np.sort(np.concatenate([held for _, held in self.parts])) if self.parts else np.arange(0)


def make_folds(labels: Any, folds: int, random_state: Any = 0, groups: Sequence[str] | None = None) -> Folds:
    """Stratified, shuffled folds, each with all classes to train on.

    labels        (n,) anything that sorts
    folds         at least 2, as asked. A class with fewer images is held out in as many of them as it has images
    random_state  a seed, a ``RandomState`` or None, as everywhere in scikit-learn
    groups        (n,) names, if there are any: the images of one are held out together

    They are those of :func:`~wdiv.tuning.data.folds.fold_numbers`, and fewer than asked where the largest class has
    fewer images, or groups allow no more. Raises :class:`~wdiv.errors.BadInput` for fewer than 2 folds.

    >>> parts, note = make_folds(["a"] * 8 + ["b"] * 6 + ["c"] * 3, folds=5)
    >>> len(parts), note
    (5, 'the smallest class has 3 images: it is held out in 3 of the 5 folds')
    >>> make_folds(["a"] * 5 + ["b"], folds=5)
    Folds(parts=(), note='no cross-validation: the smallest class has 1 image')
    """
    if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 2:
        raise BadInput(f"folds is a whole number of at least 2, not {folds!r}")
    what = "groups" if groups else "images"
    _, numbers = np.unique(labels, return_inverse=True)
    units = np.unique(groups, return_inverse=True)[1] if groups else np.arange(len(numbers))
    classes, members = np.unique(np.column_stack([numbers, units]), axis=0).T
    sizes = np.bincount(classes)  # in images, or groups
    rest = np.flatnonzero(~np.isin(units, members[sizes[classes] == 1]))
    if len(np.unique(numbers[rest])) < 2:
        return Folds((), f"no cross-validation: the smallest class has 1 {what[:-1]}")
    names = [str(unit) for unit in units[rest]] if groups else None
    for possible in range(int(folds), 1, -1):
        try:
            held_in = fold_numbers(np.unique(numbers[rest], return_inverse=True)[1], possible, random_state, names)
        except BadData:  # there are not so many images, or groups
            continue
        held = [rest[held_in == number] for number in range(possible)]
        parts = tuple((np.setdiff1d(np.arange(len(numbers)), rows), rows) for rows in held)
        if all(len(np.unique(numbers[train])) == len(sizes) for train, _ in parts):
            return Folds(parts, _note(int(sizes.min()), what, possible, int(folds)))
    return Folds((), "no cross-validation: no folds of whole groups have every class to train on")


def _note(smallest: int, what: str, possible: int, asked: int) -> str | None:
    fewer = f"{possible} folds of the {asked} asked" if possible < asked else None
    if smallest >= possible:
        return None if fewer is None else f"{fewer}: the smallest class has {smallest} {what}"
    held = f"it is held out in {smallest} of the {possible} folds"
    if smallest == 1:
        held = "it is held out in none, and in all to train on"
    one = f"the smallest class has {smallest} {what[:-1] if smallest == 1 else what}: {held}"
    return one if fewer is None else f"{fewer}; {one}"


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
