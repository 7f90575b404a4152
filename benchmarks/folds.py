"""How often the interval that is told of a cross-validation holds the accuracy that it is of.

Images are normal in 20 dimensions, of two classes; a classifier answers the nearer mean of its training images, so that
its true accuracy is known: Phi. Two true values are asked for: that of the networks of these very folds, on other
images; and that of networks trained on other images too, as many. Folds share training images, which the interval does
not count (Nadeau and Bengio 2003; Bates, Hastie and Tibshirani 2024): it is of the former.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from wdiv.numerics import share_interval
from wdiv.tuning.data.folds import fold_numbers

__all__ = ["coverage", "table"]

DIMENSIONS, APART = 20, 2.2
"""Of images; how far the means of the two classes lie apart, in standard deviations."""
DRAWS, IMAGES = 1000, (40, 100, 300)


def coverage(images: int, folds: int, repeats: int, draws: int, seed: int = 0) -> dict[str, float]:
    """Shares of draws in which the 95 % interval holds the true accuracy; and means of what was found and is true.

    images   all of them, each tested once a repeat
    """
    rng, labels = np.random.default_rng(seed), np.arange(images) % 2
    true, found, low, high = (np.empty(draws) for _ in range(4))
    for draw in range(draws):
        x = rng.normal(size=(images, DIMENSIONS))
        x[:, 0] += APART * (labels - 0.5)
        shares, trues = [], []
        for repeat in range(repeats):
            number, right = fold_numbers(labels, folds, draw + repeat), 0
            for fold in range(folds):
                at, here = number != fold, number == fold
                weights, middle = _fitted(x[at], labels[at])
                right += int(((x[here] @ weights > middle) == labels[here]).sum())
                trues.append(_true(weights, middle))
            shares.append(right / images)
        told = share_interval(shares, images)
        true[draw], found[draw], low[draw], high[draw] = np.mean(trues), told.value, told.low, told.high
    return {
        "these networks": float(((low <= true) & (true <= high)).mean()),
        "other networks": float(((low <= true.mean()) & (true.mean() <= high)).mean()),
        "found": float(found.mean()),
        "true": float(true.mean()),
        "width": float((high - low).mean()),
    }


def _fitted(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    one, two = (x[labels == label].mean(axis=0) for label in (0, 1))
    return two - one, float((two - one) @ (one + two) / 2)


def _true(weights: np.ndarray, middle: float) -> float:
    """The share of all images that lie on their side."""
    length, mean = float(np.linalg.norm(weights)), APART / 2 * weights[0]
    z = ((mean - middle) / length, (mean + middle) / length)
    return float(np.mean([0.5 * (1 + math.erf(one / math.sqrt(2))) for one in z]))


def table() -> Iterator[str]:
    """Lines of Markdown: a row for each number of images, folds and repeats."""
    yield (
        f"Share of {DRAWS:,} draws in which the interval of 95 % holds the true accuracy: of the networks of these "
        "folds, and of networks of other images."
    )
    yield ""
    yield "| images | folds | repeats | these networks | other networks | found | true | width |"
    yield "| ---: |" + " ---: |" * 7
    for images in IMAGES:
        for folds, repeats in ((5, 1), (10, 1), (5, 3)):
            found = coverage(images, folds, repeats, DRAWS)
            yield f"| {images} | {folds} | {repeats} | " + " | ".join(f"{one:.1%}" for one in found.values()) + " |"
