"""Is what a doubling of the training images is said to gain what it gains? Of halves of a pool that is all there.

    python -m benchmarks.doubling CARD [DATA ...]

prints a table: of each data set and number of images a class, what :func:`baselines.advice.more_images` says of twice
as many, what the same SVM gains with them, both means over seeds, and how many of the intervals hold the mean gain.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from baselines.advice.gains import more_images
from baselines.advice.held_out import at_each_place, best_of
from baselines.estimators.folds import make_folds
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import Split, nested_subset
from wdiv.tuning.networks.sources import Source, resolve

SIZES, SEEDS, PIXELS = (3, 5, 10, 20, 40), range(6), 32


def gained(source: Source, split: Split, per_class: int, seed: int) -> float:
    """Accuracy in cross-validation with twice as many images of each class, less with so many, in as many folds."""
    found = []
    for size in (per_class, 2 * per_class):
        rows = nested_subset(split.pool, size, seed)
        labels = split.pool.labels[rows]
        parts, _ = make_folds(labels, min(5, per_class), seed)
        found.append(best_of(at_each_place(source, split.pool, rows), labels, parts, seed).accuracy)
    return found[1] - found[0]


def rows(source: Source, name: str) -> Iterator[str]:
    """A line for each number of images of a class."""
    split = open_split(name, PIXELS)
    for per_class in (n for n in SIZES if 2 * n <= split.pool.counts().min()):
        said = [more_images(source, split, per_class=per_class, seed=seed) for seed in SEEDS]
        true = float(np.mean([gained(source, split, per_class, seed) for seed in SEEDS]))
        value, low, high = (100 * np.mean([getattr(one, end) for one in said]) for end in ("value", "low", "high"))
        held = sum(one.low <= true <= one.high for one in said)
        yield (
            f"| {Path(name).name} | {per_class} | {value:+.1f} | {low:+.0f} to {high:+.0f} "
            f"| {100 * true:+.1f} | {held} of {len(said)} |"
        )


def main(card: str, *names: str) -> None:
    head = "| data | a class | said | interval | gained | held, of seeds |\n| --- | ---: | ---: | --- | ---: | ---: |"
    sys.stdout.write(f"{head}\n")
    for name in names or ("digits",):
        for row in rows(resolve(card), name):
            sys.stdout.write(f"{row}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
