"""Classes of few images: refused where they are too few, kept, left out, or made one class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.registry import Registry
from wdiv.tuning.data.images import ImageSet

__all__ = ["LEAST", "SMALL_CLASSES", "SmallClasses", "without_small"]

LEAST = 5
"""Images that a class needs so that it is not small, unless another number is given."""


@dataclass(frozen=True)
class SmallClasses:
    """What is done with classes of few images."""

    name: str
    long_name: str


SMALL_CLASSES: Registry[SmallClasses] = Registry(
    "way with small classes",
    [
        SmallClasses("refuse", "a class with fewer images than asked for is an error"),
        SmallClasses("keep", "all images of a class with fewer than asked for are taken; a single one is trained on"),
        SmallClasses("drop", "classes of fewer than --least images are left out"),
        SmallClasses("merge", "classes of fewer than --least images become one class, 'other'"),
    ],
)


def without_small(parts: Sequence[ImageSet], how: str, least: int = LEAST) -> tuple[tuple[ImageSet, ...], str | None]:
    """The parts of a data set, which have the same classes, treated as ``how`` of :data:`SMALL_CLASSES` says, and in a
    line what was left out or made one class; None where nothing was.

    least  images, in all parts together, from which on a class is not small: for ``drop`` and ``merge``

    Raises :class:`~wdiv.errors.BadData` where fewer than two classes would be left.

    >>> one = ImageSet(np.zeros((9, 3, 1, 1), np.uint8), np.array([0] * 6 + [1] + [2] * 2), ("a", "b", "c"), ("",) * 9)
    >>> (merged,), note = without_small([one], "merge")
    >>> merged.classes, merged.counts().tolist(), note
    (('a', 'other'), [6, 3], "classes of fewer than 5 images are one class, 'other': b (1), c (2)")
    """
    SMALL_CLASSES[how]
    if isinstance(least, bool) or not isinstance(least, int) or least < 1:
        raise BadInput(f"least: a whole number of images, at least 1, not {least!r}")
    if how == "keep":
        return tuple(replace(part, small_classes="keep") for part in parts), None
    counts, classes = np.sum([part.counts() for part in parts], axis=0), parts[0].classes
    small = counts < least
    if how == "refuse" or not small.any():
        return tuple(parts), None
    told = ", ".join(f"{name} ({count})" for name, count, few in zip(classes, counts, small, strict=True) if few)
    large = tuple(name for name, few in zip(classes, small, strict=True) if not few)
    names, numbers = large, np.cumsum(~small) - 1  # of the large ones
    if how == "merge":
        names, numbers = (*large, _free("other", large)), np.where(small, len(large), numbers)
    if len(names) < 2:
        raise BadData(f"fewer than two classes have {least} images ({told} have not); lower --least")
    found = []
    for part in parts:
        kept = part if how == "merge" else part.take(np.flatnonzero(~small[part.labels]))
        found.append(replace(kept, labels=numbers[kept.labels], classes=names))
    what = f"one class, {names[-1]!r}" if how == "merge" else "left out"
    return tuple(found), f"classes of fewer than {least} images are {what}: {told}"


def _free(name: str, taken: Sequence[str]) -> str:
    return name if name not in taken else _free(f"{name} ones", taken)
