"""What an image is of, a patient, a part, a plate: its group, by its name; and which groups are set aside together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from wdiv.errors import BadData, BadInput

__all__ = ["choose_groups", "groups_of"]

EXACT = 12
"""Groups of which every choice is tried."""
FEWER = 1e-6
"""Of the cost: what decides between as many too few and too many."""
STARTS = 4
"""From which a choice of more groups is improved;"""
MANY = 300
"""of more than so many, from one: there is a nearest choice almost anywhere."""


def groups_of(names: Sequence[str], pattern: str) -> tuple[str, ...]:
    """The group of each image.

    names    of the images, relative to the folder of classes: ``class/…/file``
    pattern  a regular expression, searched for in each name; the group is what its first parentheses hold, or all that
             it matches where it has none. Images of several classes are of one group unless it holds the class too

    Raises :class:`~wdiv.errors.BadInput` for what is no regular expression and :class:`~wdiv.errors.BadData` where it
    finds nothing in a name.

    >>> groups_of(["a/plate3_0.png", "b/plate3_1.png"], r"plate(\\d+)"), groups_of(["a/p3_0.png"], r"^\\w+/p\\d+")
    (('3', '3'), ('a/p3',))
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise BadInput(f"--group: {pattern!r} is no regular expression: {error}") from None
    found = [_group(compiled.search(name)) for name in names]
    lacking = [name for name, group in zip(names, found, strict=True) if not group]
    if lacking:
        shown = ", ".join(map(repr, lacking[:3])) + (", …" if len(lacking) > 3 else "")
        raise BadData(
            f"--group: {pattern!r} finds no group in {len(lacking)} of {len(names)} names ({shown}); it is searched "
            "for in class/file, and (…) in it is the group"
        )
    return tuple(found)


def _group(match: re.Match[str] | None) -> str:
    if match is None:
        return ""
    return next((held for held in match.groups() if held is not None), match[0])


def choose_groups(
    labels: NDArray[np.int64], groups: Sequence[str], wanted: NDArray[np.int64], seed: int
) -> NDArray[np.bool_]:
    """(n,) True for the images that are set aside: whole groups, so that as nearly as can be the ``wanted`` number of
    each class is.

    labels  (n,) from 0;  groups: (n,) names;  wanted: (k,) images of each class; 0: none, not one of its groups

    First of all each class of which any are wanted has images on both sides, where that can be; then Σ over classes of
    ((set aside − wanted) / images)² is least; of equals fewer are set aside. Of up to 12 groups that share classes
    every choice is tried, of more some are improved group by group and pair by pair. ``seed`` decides between choices
    that are equally good.

    >>> labels, groups = np.array([0, 0, 0, 0, 1, 1, 1]), ["a", "a", "b", "c", "d", "d", "e"]
    >>> choose_groups(labels, groups, np.array([2, 1]), seed=0).tolist()
    [False, False, True, True, False, False, True]
    """
    _, of = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    counts = np.zeros((of.max() + 1, len(wanted)), dtype=np.int64)
    np.add.at(counts, (of, labels), 1)
    chosen = np.zeros(len(counts), dtype=bool)
    free = np.asarray(~counts[:, wanted == 0].any(axis=1))
    rng = np.random.default_rng([seed, len(wanted)])
    for part in _apart(counts, free):
        classes = counts[part].any(axis=0)
        chosen[part] = _choice(counts[np.ix_(part, classes)], counts[:, classes].sum(axis=0), wanted[classes], rng)
    return chosen[of]


def _apart(counts: NDArray[np.int64], free: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """The free groups, those together that share a class, directly or by others."""
    left = free.copy()
    while left.any():
        part = np.zeros_like(left)
        part[left.argmax()] = True
        while True:
            more = left & counts[:, counts[part].any(axis=0)].any(axis=1)
            if (more == part).all():
                break
            part = more
        yield np.flatnonzero(part)
        left &= ~part


def _choice(
    counts: NDArray[np.int64], have: NDArray[np.int64], wanted: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """(groups,) of (groups, classes) counts. have: images of each class, those of other groups too."""

    def cost(sums: NDArray[np.int64]) -> NDArray[np.float64]:
        """(…, classes) -> (…)"""
        one_sided = ((sums == 0) + 2.0 * len(have) * (sums == have)).sum(axis=-1)
        away = (((sums - wanted) / have) ** 2).sum(axis=-1)
        return np.asarray(one_sided * (1.0 + len(have)) + away + FEWER * (sums / have).sum(axis=-1))

    size = len(counts)
    if size <= EXACT:
        choices = (np.arange(2**size)[:, None] >> np.arange(size) & 1).astype(bool)
        found = cost(choices.astype(np.int64) @ counts)
        return np.asarray(choices[rng.choice(np.flatnonzero(found <= found.min() + 1e-12))])
    best, least = np.zeros(size, dtype=bool), np.inf
    for _ in range(STARTS if size <= MANY else 1):
        chosen = _improved(counts, cost, rng.permutation(size), float(cost(wanted)))
        value = float(cost(counts[chosen].sum(axis=0)))
        if value < least - 1e-12:
            best, least = chosen, value
    return best


def _improved(
    counts: NDArray[np.int64], cost: Callable[[NDArray[np.int64]], NDArray[np.float64]], order: NDArray[np.int64],
    best: float,
) -> NDArray[np.bool_]:  # fmt: skip
    """A choice that no group more, no group less and no pair exchanged makes better. best: what none can be below."""
    chosen, sums = np.zeros(len(counts), dtype=bool), np.zeros(counts.shape[1], dtype=np.int64)
    value, better = float(cost(sums)), True
    for group in order:
        if (more := float(cost(sums + counts[group]))) < value:
            chosen[group], sums, value = True, sums + counts[group], more
    while better:
        better = False
        for group in order:
            if value <= best:
                return chosen
            sign = -1 if chosen[group] else 1
            without = sums + sign * counts[group]
            partners = np.flatnonzero(chosen != chosen[group])
            new = np.concatenate([without[None], without - sign * counts[partners]])
            found = cost(new)
            at = int(found.argmin())
            if found[at] < value - 1e-12:
                chosen[group] = not chosen[group]
                if at:
                    chosen[partners[at - 1]] = not chosen[partners[at - 1]]
                sums, value, better = new[at], float(found[at]), True
    return chosen
