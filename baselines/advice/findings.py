"""What a frozen network shows of some images in a minute: how many, how unlike the source's, how well told apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from baselines.drift import drift, source_probabilities
from baselines.estimators import BASELINES
from baselines.features import features, label_of, places_of
from baselines.transferability import SCORES
from baselines.trials import STAGES, of_length_1
from wdiv.errors import BadData
from wdiv.numerics.proportion import in_words
from wdiv.tuning.data.images import ImageSet, Split, nested_subset
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK
from wdiv.tuning.prefix.feature_store import FeatureStore

__all__ = ["MOST", "Findings", "Place", "look"]

MOST = 1000
"""Images that are looked at: as many of each class as make about so many."""


@dataclass(frozen=True)
class Place:
    """What one place of the network shows.

    folds   mean accuracy of a linear SVM over the folds of a cross-validation; None where there are too few images
    drift   mean over the BatchNorm layers of this stage (:func:`~baselines.drift.drift`); None where there are none
    scores  of :data:`~baselines.transferability.SCORES`, those that take features; NaN where undefined. With images of
            the source's at hand, also how far from theirs the features lie
    """

    name: str
    features: int
    folds: float | None
    drift: float | None
    scores: dict[str, float]


@dataclass(frozen=True)
class Findings:
    """``scores`` are those of the source's own classifier on these images; empty where it has none."""

    dataset: str
    model: str
    source: str
    image_size: int
    classes: int
    images: int
    scarcest: int
    richest: int
    looked_at: int
    majority: float
    statistics: bool
    places: tuple[Place, ...]
    scores: dict[str, float]
    fallback: str
    seconds: float

    @property
    def best(self) -> Place:
        """The place whose SVM does best in cross-validation; of equals the deepest."""
        return max(self.places, key=lambda place: (place.folds or 0.0, self.places.index(place)))

    @property
    def drift(self) -> float | None:
        """Mean over the stages."""
        known = [place.drift for place in self.places if place.drift is not None]
        return float(np.mean(known)) if known else None

    def in_folds(self, place: Place) -> str | None:
        """A place's accuracy in cross-validation, where each image that was looked at is held out once, in words."""
        return None if place.folds is None else in_words(place.folds, self.looked_at)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"best": self.best.name, "drift": self.drift}


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
    seen = _some(rows, pool.labels, seed)
    labels, groups = pool.labels[seen], pool.groups_of(seen)
    tree = features(source, pool, places_of(source, size), rows=seen, device=device, store=FeatureStore())
    away = drift(source, pool, seen, device=device)
    others = None if of_source is None else _features_of(source, of_source, seed, device)
    places, fallback = [], ""
    for name, values in _with_stages(tree).items():
        svm = BASELINES["svm"].make(folds, seed).fit(values, labels, groups=groups)
        fallback = fallback or svm.fallback_ or ""
        stage = None if away is None else away.values[away["stage"].values == name]
        places.append(
            Place(
                name,
                values.shape[1],
                None if np.isnan(svm.cv_score_) else float(svm.cv_score_),
                None if stage is None or not len(stage) else float(stage.mean()),
                {score.name: float(score.function(values, labels)) for score in _taking("features")}
                | {s.name: float(s.function(values, others[name])) for s in _taking("source") if others is not None},
            )
        )
    return Findings(
        dataset=split.name, model=label_of(source), source=source.name, image_size=size,
        classes=len(pool.classes), images=len(rows), scarcest=int(counts.min()), richest=int(counts.max()),
        looked_at=len(seen), majority=float(counts.max() / counts.sum()), statistics=away is not None,
        places=tuple(places), scores=_of_classifier(source, split, seen, device), fallback=fallback,
        seconds=time.perf_counter() - began,
    )  # fmt: skip


def _features_of(source: Source, images: ImageSet, seed: int, device: str) -> dict[str, np.ndarray]:
    rows, size = _some(np.arange(len(images)), images.labels, seed), images.pixels.shape[-1]
    return _with_stages(features(source, images, places_of(source, size), rows=rows, device=device))


def _with_stages(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """The features of each place, and those of all stages side by side, as an SVM gets them."""
    found = {name: np.asarray(node["features"].values) for name, node in tree.children.items()}
    return found | {STAGES: np.hstack([of_length_1(v) for name, v in found.items() if name != BOTTLENECK])}


def _some(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """Of each class as many as fit into :data:`MOST`, at least two; all of them where they are few."""
    if len(rows) <= MOST:
        return rows
    found = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        share = max(2, round(MOST * len(members) / len(rows)))
        found.append(np.random.default_rng([seed, int(label)]).permutation(members)[:share])
    return np.sort(np.concatenate(found))


def _of_classifier(source: Source, split: Split, rows: np.ndarray, device: str) -> dict[str, float]:
    probabilities = source_probabilities(source, split.pool, rows, device=device)
    if probabilities is None:
        return {}
    labels = split.pool.labels[rows]
    return {score.name: float(score.function(probabilities, labels)) for score in _taking("probabilities")}


def _taking(what: str) -> Sequence[Any]:
    return [score for score in SCORES.values() if score.takes == what]
