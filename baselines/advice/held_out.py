"""What a linear SVM on frozen features answers for images that it has not seen, at the place of the network where it
does best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from baselines.estimators import BASELINES
from baselines.features import features, places_of
from baselines.trials import STAGES, of_length_1
from wdiv.numerics import grouped_interval, wilson
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK
from wdiv.tuning.prefix.feature_store import FeatureStore

__all__ = ["HeldOut", "Parts", "at_each_place", "best_of", "held_out", "some_rows", "with_stages"]

Parts = Sequence[tuple[np.ndarray, np.ndarray]]
"""(rows to train on, rows held out), once a fold."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The images that were held out in a fold, by their place among those looked at.

    rows     (m,) ascending
    labels   (m,) index of each image's class
    answers  (m,) that of the SVM that had not seen it
    """

    rows: np.ndarray
    labels: np.ndarray
    answers: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """(m,) 1.0 where it was answered rightly."""
        return np.asarray(self.answers == self.labels, dtype=np.float64)

    @property
    def accuracy(self) -> float:
        """NaN where no image was held out."""
        return float(self.right.mean()) if len(self.rows) else float("nan")

    def interval(self, groups: Sequence[str] | None = None) -> tuple[float, float]:
        """Of the accuracy, for other images; or for other groups, where those of the images are given, (m,) names."""
        if groups is None:
            found = wilson(self.accuracy, len(self.rows))
        else:
            _, of = np.unique(groups, return_inverse=True)
            sizes = np.bincount(of)
            found = grouped_interval([np.bincount(of, self.right) / sizes], sizes)
        return float(found.low), float(found.high)


def at_each_place(source: Source, images: ImageSet, rows: np.ndarray, *, device: str = "auto") -> dict[str, np.ndarray]:
    """(rows, ·) features of some images at each stage, at the bottleneck, and of all stages side by side, each of
    length 1, as an SVM gets them."""
    size = images.pixels.shape[-1]
    tree = features(source, images, places_of(source, size), rows=rows, device=device, store=FeatureStore())
    return with_stages(tree)


def with_stages(tree: xr.DataTree) -> dict[str, np.ndarray]:
    """The features of each place of a tree, and those of all stages side by side."""
    found = {name: np.asarray(node["features"].values) for name, node in tree.children.items()}
    return found | {STAGES: np.hstack([of_length_1(v) for name, v in found.items() if name != BOTTLENECK])}


def held_out(values: np.ndarray, labels: np.ndarray, parts: Parts, seed: int = 0) -> HeldOut:
    """The answers of the baseline ``svm`` on the features of one place; of no parts, of no image."""
    if not parts:
        return HeldOut(np.arange(0), labels[:0], labels[:0])
    rows, answers = BASELINES["svm"].make(len(parts), seed).held_out(values, labels, parts)
    return HeldOut(rows, labels[rows], answers)


def best_of(places: Mapping[str, np.ndarray], labels: np.ndarray, parts: Parts, seed: int = 0) -> HeldOut:
    """Those of the place where most are right; of equals the deepest."""
    found = [held_out(values, labels, parts, seed) for values in places.values()]
    return max(reversed(found), key=lambda one: one.right.sum())


def some_rows(rows: np.ndarray, labels: np.ndarray, seed: int, most: int) -> np.ndarray:
    """Of each class as many as fit into ``most``, at least two; all of them where they are few."""
    if len(rows) <= most:
        return rows
    found = []
    for label in np.unique(labels[rows]):
        members = rows[labels[rows] == label]
        share = max(2, round(most * len(members) / len(rows)))
        found.append(np.random.default_rng([seed, int(label)]).permutation(members)[:share])
    return np.sort(np.concatenate(found))
