"""What a frozen network shows of some images in a minute: how many, how unlike the source's, how well told apart."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from baselines.advice.difficulty import OfClass, difficulty
from baselines.advice.gains import Gain
from baselines.advice.held_out import at_each_place, held_out, some_rows
from baselines.drift import drift, source_probabilities
from baselines.estimators.folds import make_folds
from baselines.features import label_of
from baselines.transferability import SCORES
from wdiv.errors import BadData
from wdiv.numerics.comparison import images_needed, smallest_difference
from wdiv.numerics.proportion import wilson
from wdiv.tuning.data.images import ImageSet, Split, nested_subset
from wdiv.tuning.networks.sources import Source

__all__ = ["FEW", "FEW_HELD_OUT", "MOST", "POINTS", "Findings", "Place", "look"]

MOST = 1000
"""Images that are looked at: as many of each class as make about so many."""
FEW = 5
"""Training images of a class; of fewer, cross-validation says little,"""
FEW_HELD_OUT = 30
"""and where fewer images than these are held out."""
POINTS = 0.05
"""A difference between two networks that one would like to see."""


@dataclass(frozen=True)
class Place:
    """What one place of the network shows.

    folds   share of the held-out images of a cross-validation that a linear SVM is right on; None where there are too
            few images
    drift   mean over the BatchNorm layers of this stage (:func:`~baselines.drift.drift`); None where there are none
    scores  of :data:`~baselines.transferability.SCORES`, those that take features; NaN where undefined. With images of
            the source's at hand, also how far from theirs the features lie
    ends    of the interval of ``folds``: for other images, or other groups where groups are known
    """

    name: str
    features: int
    folds: float | None
    drift: float | None
    scores: dict[str, float]
    ends: tuple[float, float] | None = None

    @property
    def in_words(self) -> str | None:
        """Its accuracy in cross-validation and the interval, in percent; None where there was none."""
        if self.folds is None or self.ends is None:
            return None
        low, high = self.ends
        return f"{100 * self.folds:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


@dataclass(frozen=True)
class Findings:
    """``images`` are those to train on, of which the scarcest and the richest class have so many.

    looked_at   of them;  held_out: of these, in a fold of the cross-validation
    test_images that there will be;  test_groups: that they are of, 0 where none are known
    majority    share of the largest class among ``images``;  statistics: the network has BatchNorm
    by_class    how hard each class is, by the SVM at the best place
    scores      of the source's own classifier on these images; empty where it has none
    outlook     what larger images, and more of them, would gain, where that was measured
    """

    dataset: str
    model: str
    source: str
    image_size: int
    classes: int
    images: int
    scarcest: int
    richest: int
    looked_at: int
    held_out: int
    test_images: int
    test_groups: int
    majority: float
    statistics: bool
    places: tuple[Place, ...]
    by_class: tuple[OfClass, ...]
    scores: dict[str, float]
    fallback: str
    seconds: float
    outlook: tuple[Gain, ...] = ()

    @property
    def best(self) -> Place:
        """The place whose SVM does best in cross-validation; of equals the deepest."""
        return max(self.places, key=lambda place: (place.folds or 0.0, self.places.index(place)))

    @property
    def drift(self) -> float | None:
        """Mean over the stages."""
        known = [place.drift for place in self.places if place.drift is not None]
        return float(np.mean(known)) if known else None

    @property
    def balanced(self) -> float | None:
        """Balanced accuracy in cross-validation, the mean over the classes of which any image was held out."""
        shares = [one.right / one.held_out for one in self.by_class if one.held_out]
        return float(np.mean(shares)) if shares else None

    @property
    def caution(self) -> str:
        """How little it is that is known, where images are fewer than :data:`FEW` and :data:`FEW_HELD_OUT`; empty where
        they are not."""
        few = f"{self.scarcest} training image{'' if self.scarcest == 1 else 's'}"
        whose = f"{few} {'a class' if self.scarcest == self.richest else 'of the scarcest class'}"
        if self.best.in_words is None:
            return f"{whose}: nothing could be held out, and how good it gets is not known"
        if self.scarcest >= FEW and self.held_out >= FEW_HELD_OUT:
            return ""
        return f"{whose}: cross-validation says little: {self.best.in_words} is of {self.held_out} images"

    @property
    def testing(self) -> dict[str, Any]:
        """What the test images there will be can tell, as plain data; None for what is not known.

        images, groups       of the test set
        low, high            ends of the interval that a share like the SVM's has of so many images
        points               a difference between two networks
        images_needed        to decide it (:func:`~wdiv.numerics.comparison.images_needed`)
        smallest_difference  that these decide; None where not even one of 1
        """
        told: dict[str, Any] = {"images": self.test_images, "groups": self.test_groups, "points": POINTS}
        share = self.best.folds
        if share is None or not self.test_images:
            return told | dict.fromkeys(("low", "high", "images_needed", "smallest_difference"))
        _, low, high = wilson(share, self.test_images)
        smallest = smallest_difference(share, self.test_images)
        return told | {
            "low": float(low), "high": float(high), "images_needed": images_needed(share, POINTS),
            "smallest_difference": None if math.isnan(smallest) else smallest,
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        told = {
            "best": self.best.name, "drift": self.drift, "balanced": self.balanced, "caution": self.caution,
            "testing": self.testing,
        }  # fmt: skip
        return asdict(self) | told | {"outlook": [gain.to_json() for gain in self.outlook]}


def look(
    source: Source, split: Split, *, per_class: int | None = None, seed: int = 0, folds: int = 5, device: str = "auto",
    of_source: ImageSet | None = None,
) -> Findings:  # fmt: skip
    """Measure everything that the rules ask for, on the training images alone.

    per_class, seed  which images of the pool, as for runs; of more than :data:`MOST`, some of each class are looked at
    of_source        images such as the source was trained on: then the scores that need them are there too

    Raises :class:`~wdiv.errors.BadData` for one class only, and what :func:`~baselines.features.features` raises.
    """
    began = time.perf_counter()
    pool, size = split.pool, split.pool.pixels.shape[-1]
    if len(pool.classes) < 2:
        raise BadData(f"{split.name}: one class, {pool.classes[0]!r}; at least two are needed")
    rows = nested_subset(pool, per_class, seed)
    counts = np.bincount(pool.labels[rows], minlength=len(pool.classes))
    seen = some_rows(rows, pool.labels, seed, MOST)
    labels, groups = pool.labels[seen], pool.groups_of(seen)
    parts, note = make_folds(labels, folds, seed, groups)
    away = drift(source, pool, seen, device=device)
    others = None if of_source is None else _features_of(source, of_source, seed, device)
    places, answers = [], []
    for name, values in at_each_place(source, pool, seen, device=device).items():
        answers.append(held_out(values, labels, parts, seed))
        stage = None if away is None else away.values[away["stage"].values == name]
        places.append(
            Place(
                name,
                values.shape[1],
                answers[-1].accuracy if parts else None,
                None if stage is None or not len(stage) else float(stage.mean()),
                {score.name: float(score.function(values, labels)) for score in _taking("features")}
                | {s.name: float(s.function(values, others[name])) for s in _taking("source") if others is not None},
                answers[-1].interval(pool.groups_of(seen[answers[-1].rows])) if parts else None,
            )
        )
    best = max(reversed(answers), key=lambda one: one.right.sum())
    return Findings(
        dataset=split.name, model=label_of(source), source=source.name, image_size=size,
        classes=len(pool.classes), images=len(rows), scarcest=int(counts.min()), richest=int(counts.max()),
        looked_at=len(seen), held_out=len(best.rows), test_images=len(split.test),
        test_groups=len(set(split.test.groups)), majority=float(counts.max() / counts.sum()),
        statistics=away is not None, places=tuple(places),
        by_class=difficulty(best, pool.classes, counts), scores=_of_classifier(source, split, seen, device),
        fallback=note or "", seconds=time.perf_counter() - began,
    )  # fmt: skip


def _features_of(source: Source, images: ImageSet, seed: int, device: str) -> dict[str, np.ndarray]:
    return at_each_place(source, images, some_rows(np.arange(len(images)), images.labels, seed, MOST), device=device)


def _of_classifier(source: Source, split: Split, rows: np.ndarray, device: str) -> dict[str, float]:
    probabilities = source_probabilities(source, split.pool, rows, device=device)
    if probabilities is None:
        return {}
    labels = split.pool.labels[rows]
    return {score.name: float(score.function(probabilities, labels)) for score in _taking("probabilities")}


def _taking(what: str) -> Sequence[Any]:
    return [score for score in SCORES.values() if score.takes == what]
