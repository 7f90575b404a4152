"""How hard each class is: what a linear SVM on the frozen network makes of images of it that it has not seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from baselines.advice.held_out import HeldOut

__all__ = ["OfClass", "confusions_in_words", "difficulty"]


@dataclass(frozen=True)
class OfClass:
    """One class.

    images     to train on;  held_out: of them, in a fold of the cross-validation;  right: answered rightly
    taken_for  the class that the others are taken for most often, and how often; None where none is
    """

    name: str
    images: int
    held_out: int
    right: int
    taken_for: str | None = None
    taken: int = 0

    @property
    def recall(self) -> float:
        """Share that is right; NaN where no image was held out."""
        return self.right / self.held_out if self.held_out else float("nan")


def difficulty(found: HeldOut, classes: Sequence[str], images: Sequence[int] | np.ndarray) -> tuple[OfClass, ...]:
    """Each class, in their order.

    images  (k,) of each to train on

    >>> seen = HeldOut(np.arange(3), np.array([0, 0, 1]), np.array([0, 1, 1]))
    >>> difficulty(seen, ["cat", "dog"], [2, 1])[0]
    OfClass(name='cat', images=2, held_out=2, right=1, taken_for='dog', taken=1)
    """
    table = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(table, (found.labels, found.answers), 1)
    return tuple(_of_class(classes, label, int(images[label]), table[label]) for label in range(len(classes)))


def _of_class(classes: Sequence[str], label: int, images: int, row: np.ndarray) -> OfClass:
    wrong = np.where(np.arange(len(row)) == label, 0, row)
    most = int(wrong.argmax())
    taken = (classes[most], int(wrong[most])) if wrong[most] else (None, 0)
    return OfClass(classes[label], images, int(row.sum()), int(row[label]), *taken)


def confusions_in_words(classes: Iterable[OfClass], most: int = 3) -> Iterator[str]:
    """What is confused most often, of each class the one answer, up to ``most``.

    >>> list(confusions_in_words([OfClass("inclusion", 19, 19, 14, "scratches", 5), OfClass("patches", 19, 19, 19)]))
    ["'inclusion' is taken for 'scratches' (5 of 19)"]
    """
    for one in sorted(classes, key=lambda one: -one.taken)[:most]:
        if one.taken_for is not None:
            yield f"{one.name!r} is taken for {one.taken_for!r} ({one.taken} of {one.held_out})"
