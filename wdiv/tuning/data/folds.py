"""Which images are held out together: folds that keep the shares of the classes, and each group on one side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdiv.errors import BadData, BadInput

__all__ = ["Fold", "CrossValidation", "fold_numbers"]


@dataclass(frozen=True)
class Fold:
    """Which part of the images is held out to test, both counted from 1.

    of      in how many they are divided
    repeat  which division;  seed: that draws it
    """

    number: int
    of: int
    repeat: int = 1
    seed: int = 0

    @property
    def ending(self) -> str:
        """Of a run's name.

        >>> Fold(2, 5).ending
        '-f2of5'
        """
        return f"-f{self.number}of{self.of}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class CrossValidation:
    """Cross-validation: every image is held out once in each of some ``repeats`` of a division into ``count`` folds.

    Repeat r, from 1, is :func:`fold_numbers` with ``seed`` + r - 1. Raises :class:`~wdiv.errors.BadInput`.

    >>> CrossValidation(2, repeats=2).of_seed(3)
    (Fold(number=1, of=2, repeat=2, seed=1), Fold(number=2, of=2, repeat=2, seed=1))
    """

    count: int
    repeats: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (("folds", self.count, 2), ("repeats", self.repeats, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise BadInput(f"{name}: a whole number of at least {least}, not {value!r}")

    def repeat(self, number: int) -> tuple[Fold, ...]:
        """The folds of a division, counted from 1."""
        return tuple(Fold(fold, self.count, number, self.seed + number - 1) for fold in range(1, self.count + 1))

    def of_seed(self, seed: int) -> tuple[Fold, ...]:
        """Those that runs of a seed are tested on: seed s has repeat s mod ``repeats`` + 1."""
        return self.repeat(seed % self.repeats + 1)


def fold_numbers(
    labels: NDArray[np.int64], folds: int, seed: int = 0, groups: Sequence[str] | None = None
) -> NDArray[np.int64]:
    """(n,) the fold, from 0, in which each image is held out. Each is held out once.

    labels  (n,) whole numbers
    folds   at least 2. A class with fewer images than that has one in each of as many folds, and no other class has
            fewer folds for it
    groups  (n,) names, if there are any: images of one stay in one fold

    scikit-learn's ``StratifiedKFold``, and ``StratifiedGroupKFold`` where there are groups; both shuffled by ``seed``.
    Raises :class:`~wdiv.errors.BadInput` for fewer than 2 folds and :class:`~wdiv.errors.BadData` where some would be
    empty.

    >>> fold_numbers(np.array([0, 0, 0, 0, 1, 1]), 2).tolist()
    [1, 1, 0, 0, 0, 1]
    >>> fold_numbers(np.array([0, 0, 0, 0]), 2, groups=["a", "b", "a", "b"]).tolist()
    [1, 0, 1, 0]
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if isinstance(folds, bool) or not isinstance(folds, (int, np.integer)) or folds < 2:
        raise BadInput(f"folds: a whole number of at least 2, not {folds!r}")
    labels, folds = np.asarray(labels), int(folds)
    units = len(set(groups)) if groups else len(labels)
    if units < folds:
        raise BadData(f"{folds} folds asked for, but there are only {units} {'groups' if groups else 'images'}")
    largest = int(np.bincount(labels).max())
    if largest < folds:
        raise BadData(f"{folds} folds asked for, but the largest class has {largest} images")
    numbers = np.full(len(labels), -1, dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with fewer images than folds
        if groups:
            parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups)
        else:
            parts = StratifiedKFold(folds, shuffle=True, random_state=seed).split(labels, labels)
        for number, (_, held_out) in enumerate(parts):
            numbers[held_out] = number
    empty = folds - len(np.unique(numbers))
    if empty:
        raise BadData(f"{folds} folds asked for, but {empty} would be empty: the groups are too large; ask for fewer")
    return numbers
