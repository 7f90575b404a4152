"""How far a study's target lies from its source, by the features that the source network makes of both.

Measured once, and kept beside the runs of each condition: a report needs no images.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from studies.grid.conditions import Part
from studies.spec.columns import SCORED
from studies.spec.study import Study
from wdiv.errors import BadStore
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.tuning.data.images import ImageSet, Split, nested_subset
from wdiv.tuning.networks.sources import Source

if TYPE_CHECKING:
    from studies.grid.planning import StudyGrid

__all__ = ["AGAINST", "FILE", "Distance", "asked", "load", "measure"]

FILE = "distance.json"
"""Of a condition's store."""
FORMAT = 2
"""Raised when the distances of an older wdiv could no longer be read."""
AGAINST = "source"
"""What observations of a distance say it is measured ``against``."""


@dataclass(frozen=True)
class Distance:
    """Between the training images of one size and seed, and images of the source which its network has not seen.

    per_class  None: all;  n_train: the images of the target, as many as the runs of that size and seed train on
    n_source   images of the source, as many or all there are: distances of few images are too large, so that only those
               of like numbers can be compared
    weights, source_digest, data_digest   SHA-256 of what it was measured with
    """

    model: str
    source: str
    dataset: str
    per_class: int | None
    seed: int
    n_train: int
    n_source: int
    weights: str
    source_digest: str
    data_digest: str
    frechet_distance: float
    mmd: float

    @property
    def cell(self) -> tuple[str, int | None, int]:
        return self.model, self.per_class, self.seed

    @property
    def digests(self) -> tuple[str, str, str]:
        return self.weights, self.source_digest, self.data_digest


def asked(study: Study) -> bool:
    """True if a claim or a table of the study is about distances."""
    named = [measure for claim in study.claims for side in ("left", "right") for measure in claim.side(side)["measure"]]
    named += [measure for table in study.tables for measure in table.measure]
    return not set(SCORED).isdisjoint(named)


def measure(grid: StudyGrid, part: Part, *, device: str = "auto") -> Path | None:
    """Measure what is missing of a condition, for each size and seed of its grid. Returns the file.

    The source networks must have been trained. None where the weights come from elsewhere: their images are not known.
    Raises any of wdiv's errors.
    """
    from studies.grid.planning import trained_sources

    if grid.source is None:
        return None
    found = {one.cell: one for one in load(part.out)}
    for source in trained_sources(grid, part.sources).values():
        found |= {one.cell: one for one in _new(source, grid.split, grid.source.split, grid.study, found, device)}
    return write_sealed(part.out / FILE, {"format": FORMAT, "distances": [asdict(one) for one in found.values()]})


def load(out: Path) -> list[Distance]:
    """The distances that a store keeps. Raises :class:`~wdiv.errors.BadStore` for a file that holds none."""
    file = out / FILE
    if not file.exists():
        return []
    data = read_sealed(file, FORMAT, before=1)
    try:
        return [Distance(**row) for row in data["distances"]]
    except (KeyError, TypeError) as error:
        raise BadStore(f"{file}: not the distances of a study ({error})") from None


def _new(
    source: Source, split: Split, source_split: Split, study: Study, kept: Mapping[Any, Distance], device: str
) -> Iterator[Distance]:
    """The distances that are kept nowhere yet, or were measured with other weights or images."""
    from baselines.features import features, label_of
    from baselines.transferability import SCORES
    from studies.grid.planning import seeds_of
    from wdiv.tuning.prefix.feature_extractor import BOTTLENECK

    def seen(images: ImageSet, rows: np.ndarray) -> np.ndarray:
        return np.asarray(features(source, images, rows=rows, device=device)[BOTTLENECK].features.values)

    label, digests = label_of(source), (source.content, source_split.digest, split.digest)
    drawn = {
        (size, seed): nested_subset(split.pool, size, seed)
        for size, seed in itertools.product(study.per_class, seeds_of(study, source))
        if (label, size, seed) not in kept or kept[label, size, seed].digests != digests
    }
    if not drawn:
        return
    used = np.unique(np.concatenate(list(drawn.values())))
    ours, theirs = seen(split.pool, used), seen(source_split.test, np.arange(len(source_split.test)))
    for (size, seed), rows in drawn.items():
        here = ours[np.searchsorted(used, rows)]
        there = theirs[np.random.default_rng(seed).permutation(len(theirs))[: len(here)]]
        values = (SCORES[name].function(here, there) for name in SCORED)  # the last fields, in this order
        yield Distance(label, source.name, split.name, size, seed, len(here), len(there), *digests, *values)
