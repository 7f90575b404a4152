"""What anyone should know of some images before they believe a number: copies, near copies, unequal classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from wdiv.numerics.resemblance import near_pairs
from wdiv.tuning.data.images import ImageSet, Split

__all__ = ["remarks", "suggested_group"]

UNEQUAL = 1.5
"""Times as many images of one class as of another from which on it is said."""
NAMED = 10
"""Classes that are named at most."""
PATTERNS = (r"([^/]+)[_-][^/_-]+$", r"(.+)[_-][^/_-]+$", r"([^/_-]+)[_-][^/]*$", r"(.*/[^/_-]+)[_-]")
"""Where a group may stand in a file's name: before the last sign that parts words, or the first; without the class, or
with it."""


def remarks(split: Split, per_class: Iterable[int | None] = (None,), *, look: bool = True) -> tuple[str, ...]:
    """A line for each thing to know of a split, its own notes first.

    per_class  images of each class that will be asked for
    look       for near copies, which takes a second for some thousand images; only where no groups are known
    """
    grouped = bool(split.pool.groups)
    found = [*split.notes, *_copies(split, look and not grouped), *_unequal(split), *_lacking(split)]
    found += [_groups(split)] if grouped else []
    asked, pool = max((size for size in per_class if size is not None), default=0), split.pool
    short = [f"{name} {have}" for name, have in zip(pool.classes, pool.counts(), strict=True) if have < asked]
    if short and pool.keeps_small:
        found.append(f"{split.name}: fewer training images than the {asked} asked for, all taken: {', '.join(short)}")
    return tuple(found)


def _copies(split: Split, look: bool) -> Iterable[str]:
    """Test images that are training images too, and those that nearly are."""
    same = split.copies()
    if same.any():
        of = "test images are, pixel for pixel, also training images"
        if split.folds is not None:
            of = "images are, pixel for pixel, also in another fold: tested by what was trained on them"
        yield f"{split.name}: {same.sum()} {of}"
    rest = np.flatnonzero(~same)
    if not look or not len(rest):
        return
    pairs = near_pairs(split.test.pixels[rest], split.pool.pixels)
    pairs[:, 0] = rest[pairs[:, 0]]
    alike = pairs
    if split.folds is not None:
        fold = split.divisions[0]
        alike, pairs = (pairs[numbers[pairs[:, 0]] != numbers[pairs[:, 1]]] for numbers in (np.arange(len(fold)), fold))
    if len(pairs):
        test, pool = split.test.names, split.pool.names
        shown = ", ".join(f"{test[one]} and {pool[other]}" for one, other in _spread(pairs))
        group = suggested_group(alike, split.test, split.pool)
        keeps = "REGEX keeps what belongs together" if group is None else f"'{group}' keeps them"
        others = "training images" if split.folds is None else "images of other folds"
        yield (
            f"{split.name}: {len(np.unique(pairs[:, 0]))} of {len(test)} test images are nearly the same pictures as "
            f"{others} ({shown}), so that the accuracy is too good for new ones; --group {keeps} on one side"
        )


def _spread(pairs: np.ndarray) -> np.ndarray:
    """Up to three pairs of different test images, from the first to the last."""
    _, first = np.unique(pairs[:, 0], return_index=True)
    return np.asarray(pairs[first[np.unique(np.linspace(0, len(first) - 1, 3).astype(int))]])


def suggested_group(pairs: np.ndarray, test: ImageSet, pool: ImageSet) -> str | None:
    """A regular expression by which the two of each pair are of one group; None where file names show none.

    pairs  (n, 2) rows of ``test`` and of ``pool`` that are near copies

    Of :data:`PATTERNS` that put nine in ten pairs together and leave each class two groups, that of which the largest
    share of what it puts together are pairs; at least half.
    """
    found = {pattern: _share(pattern, pairs, test, pool) for pattern in PATTERNS}
    best = max(PATTERNS, key=found.__getitem__)
    return best if found[best] >= 0.5 else None


def _share(pattern: str, pairs: np.ndarray, test: ImageSet, pool: ImageSet) -> float:
    """Of a test and a training image that are of one group by the pattern, how many are pairs; 0 where it is no use."""
    found = [re.search(pattern, name) for name in (*test.names, *pool.names)]
    if None in found:
        return 0.0
    _, numbers = np.unique([match[1] for match in found if match], return_inverse=True)
    of_test, of_pool = numbers[: len(test)], numbers[len(test) :]
    right = int((of_test[pairs[:, 0]] == of_pool[pairs[:, 1]]).sum())
    if right < 0.9 * len(pairs) or not _several(np.concatenate([test.labels, pool.labels]), numbers):
        return 0.0
    together = int(np.bincount(of_test, minlength=len(numbers)) @ np.bincount(of_pool, minlength=len(numbers)))
    return right / max(1, together - (len(test) if test is pool else 0))  # an image is no pair with itself


def _several(labels: np.ndarray, groups: np.ndarray) -> bool:
    """True if each class has images of two groups."""
    classes, _ = np.unique(np.column_stack([labels, groups]), axis=0).T
    return bool(np.bincount(classes)[np.unique(labels)].min() >= 2)


def _groups(split: Split) -> str:
    """How many there are: a regular expression that is wrong finds as many as there are images, or one a class."""
    parts = [Counter(part.groups) for part in ((split.pool, split.test) if split.folds is None else (split.pool,))]
    sizes = sum(parts, Counter()).values()
    each = f"{min(sizes)} to {max(sizes)} images" if min(sizes) < max(sizes) else f"{min(sizes)} images each"
    sides = f"in {split.folds.count} folds" if split.folds else f"{len(parts[0])} to train on, {len(parts[1])} to test"
    return f"{split.name}: {len(sizes)} groups, of {each}: {sides}"


def _unequal(split: Split) -> Iterable[str]:
    counts = split.pool.counts() + (split.test.counts() if split.folds is None else 0)
    order = np.argsort(-counts, kind="stable")
    if counts.max() <= UNEQUAL * counts.min():
        return
    told = [f"{split.pool.classes[label]} {counts[label]}" for label in order]
    if len(told) > NAMED:
        told = [*told[: NAMED // 2], "…", *told[-NAMED // 2 :]]
    yield (
        f"{split.name}: the classes have from {counts.min()} to {counts.max()} images: {', '.join(told)}; "
        f"{split.pool.classes[order[0]]!r} alone is {100 * counts.max() / counts.sum():.0f} % of them"
    )


def _lacking(split: Split) -> Sequence[str]:
    lacking = np.flatnonzero(split.test.counts() == 0)
    names = ", ".join(repr(split.pool.classes[label]) for label in lacking)
    of = "class" if len(lacking) == 1 else "classes"
    return [f"{split.name}: no test image is of {of} {names}, with too few to set one aside"] if len(lacking) else []
