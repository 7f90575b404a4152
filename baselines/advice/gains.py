"""What would help, told without training: images of more pixels, and more images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from baselines.advice.held_out import Parts, at_each_place, best_of, some_rows
from baselines.estimators.folds import make_folds
from wdiv.errors import BadInput
from wdiv.numerics.proportion import difference_interval, wilson
from wdiv.tuning.data.images import ImageSet, Split, nested_subset, set_aside
from wdiv.tuning.networks.sources import Source

__all__ = ["DRAWS", "MOST", "MOST_PIXELS", "Gain", "gain_of_doubling", "larger_images", "more_images"]

MOST = 400
"""Images that are looked at, as many of each class as make about so many;"""
MOST_PIXELS = 200 * 448**2
"""fewer where they would be more pixels together than these, but not fewer than"""
LEAST = 100
"""so many."""
DRAWS = 3
"""Halves of each fold's training images."""


@dataclass(frozen=True)
class Gain:
    """What is to be gained in accuracy by more of something, as a linear SVM on frozen features tells it.

    of        ``pixels`` (of an image's side) or ``images`` (to train on)
    measured  (how many, accuracy) of the held-out images, from fewer to more
    at        how many the gain is for
    value     the gain in accuracy, from what there is now;  low, high: its 95 % interval for other images
    held_out  images that it is measured on
    why_not   why nothing was measured, in a line; empty where it was
    """

    of: str
    measured: tuple[tuple[int, float], ...] = ()
    at: int = 0
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    held_out: int = 0
    why_not: str = ""

    @property
    def known(self) -> bool:
        return not self.why_not

    @property
    def sure(self) -> bool:
        """It is a gain, beyond what other images would turn over."""
        return self.low > 0

    def to_json(self) -> dict[str, Any]:
        """NaN becomes None."""
        told = {name: None if value != value else value for name, value in asdict(self).items()}
        return told | {"measured": [list(point) for point in self.measured]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Gain:
        """What :meth:`to_json` gave.

        >>> Gain.from_json(Gain("pixels", why_not="one class").to_json()).why_not
        'one class'
        """
        told: dict[str, Any] = {name: math.nan if value is None else value for name, value in data.items()}
        return cls(**told | {"measured": tuple((int(at), float(share)) for at, share in data["measured"])})

    def in_words(self) -> str:
        """One line, in percent and points.

        >>> Gain("pixels", ((64, 0.81), (128, 0.89)), 128, 0.08, 0.04, 0.12, 200).in_words()
        'images of 128 pixels instead of 64: 81 → 89 %, +8 [4, 12]'
        >>> Gain("images", ((60, 0.84), (120, 0.89)), 240, 0.034, 0.009, 0.06, 150).in_words()
        'with half of the images 84 %, with all 89 %: twice as many would help by about +3 [1, 6]'
        """
        if self.why_not:
            return f"{'larger' if self.of == 'pixels' else 'more'} images: not measured, {self.why_not}"
        (few, less), (many, more) = self.measured
        gain = f"{100 * self.value:+.0f} [{_points(self.low)}, {_points(self.high)}]".replace("-0 [", "+0 [")
        if self.of == "pixels":
            return f"images of {many} pixels instead of {few}: {100 * less:.0f} → {100 * more:.0f} %, {gain}"
        told = f"with half of the images {100 * less:.0f} %, with all {100 * more:.0f} %"
        if self.sure:
            return f"{told}: twice as many would help by about {gain}"
        return f"{told}: whether twice as many would help is not sure, {gain}"


def _points(share: float) -> str:
    return f"{round(100 * share)}"


def larger_images(
    source: Source, split: Split, open_at: Callable[[int], Split], side: int, *, per_class: int | None = None,
    seed: int = 0, folds: int = 5, device: str = "auto",
) -> Gain:  # fmt: skip
    """What twice the pixels a side would gain: the same SVM on the same images in the same folds, at both sizes.

    open_at  reads the same split at another size in pixels; called only where something can be gained
    side     of the pictures themselves, in pixels (:func:`wdiv.tuning.data.datasets.side_of`): where they have fewer
             than twice what is taken of them now, larger images would be blown up, and nothing is measured

    At each size the best place of the network counts, chosen among equally many by the same held-out images, and the
    gain is the mean over images of right then less right now
    (:func:`~wdiv.numerics.proportion.difference_interval`). Images of groups are held out together. Of many images
    some are looked at (:data:`MOST`, :data:`MOST_PIXELS`).

    Raises :class:`~wdiv.errors.BadInput` where ``open_at`` gives other images, and what
    :func:`~baselines.features.features` raises.
    """
    size = split.pool.pixels.shape[-1]
    twice = 2 * size
    if side < twice:
        return Gain("pixels", why_not=f"the pictures themselves have {side} pixels a side, and are shown at {size}")
    most = min(MOST, max(LEAST, MOST_PIXELS // twice**2))
    images = split.pool
    seen, parts, why_not = _drawn(images, per_class, seed, folds, most)
    if why_not:
        return Gain("pixels", why_not=why_not)
    larger = open_at(twice).pool
    if larger.names != images.names or not np.array_equal(larger.labels, images.labels):
        raise BadInput(f"{split.name}: open_at({twice}) gives other images than those of {size} pixels")
    now, then = (
        best_of(at_each_place(source, pool, seen, device=device), images.labels[seen], parts, seed)
        for pool in (images, larger)
    )
    low, high = difference_interval(then.right - now.right, images.groups_of(seen[now.rows]))
    measured = ((size, now.accuracy), (twice, then.accuracy))
    return Gain("pixels", measured, twice, then.accuracy - now.accuracy, low, high, len(now.rows))


def more_images(
    source: Source, split: Split, *, per_class: int | None = None, seed: int = 0, folds: int = 5, draws: int = DRAWS,
    device: str = "auto",
) -> Gain:  # fmt: skip
    """What twice the training images would gain: the same SVM with half of each fold's, and with all.

    draws  of the half, over which its answers are averaged; of each class half, rounded up, and of groups whole ones

    The held-out images are the same, and the difference is paired. It is carried on to twice as many by
    :func:`gain_of_doubling`. ``measured`` has the images that a fold trains on, on average; what is to be gained is
    for twice the training images of the split.

    Raises what :func:`~baselines.features.features` raises.
    """
    images = split.pool
    seen, parts, why_not = _drawn(images, per_class, seed, folds, MOST)
    if why_not:
        return Gain("images", why_not=why_not)
    labels, groups = images.labels[seen], images.groups_of(seen)
    halves = [[(_half(rows, labels, groups, seed + draw), held) for rows, held in parts] for draw in range(draws)]
    trained, half = (
        round(float(np.mean([len(rows) for some in several for rows, _ in some]))) for several in ([parts], halves)
    )
    if half >= trained:
        return Gain("images", why_not="no class has two images, or groups, of which to leave one out")
    places = at_each_place(source, images, seen, device=device)
    all_of_them = best_of(places, labels, parts, seed)
    fewer = [best_of(places, labels, some, seed) for some in halves]
    of_half = np.mean([one.right for one in fewer], axis=0)
    step = math.log2(trained / half)
    ends = difference_interval((all_of_them.right - of_half) / step, images.groups_of(seen[all_of_them.rows]))
    wrong = 1.0 - all_of_them.accuracy
    _, *sides = wilson(wrong, len(all_of_them.rows))
    low, high = (gain_of_doubling(d, float(w)) for d, w in zip(ends, sides, strict=True))
    value = gain_of_doubling((all_of_them.accuracy - float(of_half.mean())) / step, wrong)
    measured = ((half, float(of_half.mean())), (trained, all_of_them.accuracy))
    return Gain("images", measured, 2 * len(nested_subset(images, per_class, seed)), value, low, high, len(of_half))


def gain_of_doubling(last: float, wrong: float) -> float:
    """What the next doubling of the training images gains, from what the last one did: wrong · last / (wrong + last).

    last   accuracy with all less that with half, for a whole doubling;  wrong: the share that is wrong with all

    A power law: each doubling leaves the same share of what was wrong, wrong / (wrong + last), so that it gains less
    than the one before, and never more than there is. Where the last one lost, the next is said to lose as much. A
    power law has no floor: with labels that are wrong, or classes that overlap, less is to be gained. Source: Hestness
    et al. (2017), Deep learning scaling is predictable, empirically.

    >>> round(gain_of_doubling(0.05, 0.11), 3), gain_of_doubling(0.05, 0.0), gain_of_doubling(-0.01, 0.2)
    (0.034, 0.0, -0.01)
    """
    if last <= 0:
        return last
    return wrong * last / (wrong + last)


def _drawn(pool: ImageSet, per_class: int | None, seed: int, folds: int, most: int) -> tuple[np.ndarray, Parts, str]:
    """The rows that are looked at, their folds, and why there are none."""
    seen = some_rows(nested_subset(pool, per_class, seed), pool.labels, seed, most)
    if len(np.unique(pool.labels[seen])) < 2:
        return seen, (), "there is one class alone"
    parts, note = make_folds(pool.labels[seen], folds, seed, pool.groups_of(seen))
    return seen, parts, "" if parts else f"{note}"


def _half(rows: np.ndarray, labels: np.ndarray, groups: Sequence[str] | None, seed: int) -> np.ndarray:
    """Half of a fold's training images; of a class of which that would be none, all."""
    _, numbers = np.unique(labels[rows], return_inverse=True)
    wanted = -(-np.bincount(numbers) // 2)
    chosen = set_aside(numbers, wanted, None if groups is None else [groups[row] for row in rows], seed)
    lacking = np.bincount(numbers[chosen], minlength=len(wanted)) == 0
    return rows[chosen | lacking[numbers]]
