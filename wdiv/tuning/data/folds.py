"""Which images are held out together: folds that keep the shares of the classes, and each group on one side."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdiv.errors import BadData, BadInput

__all__ = ["fold_numbers"]


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
