"""Baselines on frozen features over a study's grid: which trials there are, and their outcomes kept beside its runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from baselines import trials
from baselines.features import features, places_of
from baselines.trials import Outcome, Trial
from studies.grid.planning import notes_on, open_data, sources_of
from studies.spec.study import Study
from wdiv.cache import formats
from wdiv.errors import BadInput
from wdiv.tuning.data.images import Split, nested_subset
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.prefix.feature_extractor import BOTTLENECK
from wdiv.tuning.prefix.feature_store import FeatureStore

__all__ = ["ALL", "Frozen", "open_frozen", "run", "write_features"]

ALL = "all"
"""In place of a layer: every stage and the bottleneck, each for itself."""


@dataclass(frozen=True)
class Frozen:
    """A study's images and its one source, whose network stays as it is.

    size   of the images, in pixels;  notes: what to know of them
    """

    source: Source
    split: Split
    size: int
    notes: tuple[str, ...]


def open_frozen(study: Study) -> Frozen:
    """Find the weights and read the images. Raises any of wdiv's errors."""
    found = sources_of(study)
    if len(found) > 1:
        raise BadInput(f"one network at a time, not {len(found)}; give one --model")
    (source,) = found
    size = source.input.at(study.image_size).size
    split = open_data(study, size)
    return Frozen(source, split, size, notes_on(study, split))


def run(
    study: Study, baselines: Sequence[str], layers: Sequence[str], *, cv: int = 5, pooling: str = "avg",
    device: str = "auto", out: Path | None = None, frozen: Frozen | None = None,
) -> list[Outcome]:  # fmt: skip
    """Every baseline on every layer, for each data size and seed of the study.

    layers  as in a :class:`~baselines.trials.Trial`; or ``all``
    out     a store to keep the outcomes in, beside its runs; features that do not fit in memory go there too
    frozen  what :func:`open_frozen` made of the study, where that is at hand
    """
    frozen = frozen or open_frozen(study)
    if out is not None:
        trials.check_held(out, frozen.source, frozen.split)
    spelled = _spread(layers or (trials.STAGES,), frozen)
    wanted = [
        Trial(baseline, layer, size, seed, cv, pooling, fold)
        for size, baseline, layer, seed in itertools.product(study.per_class, baselines, spelled, study.drawn_seeds)
        for fold in study.folds_of(seed)
    ]
    found = []
    store = FeatureStore(None if out is None else out / "features")
    for outcome in trials.run(frozen.source, frozen.split, wanted, device=device, store=store):
        if out is not None:
            trials.save(outcome, out)
        found.append(outcome)
    return found


def _spread(layers: Sequence[str], frozen: Frozen) -> list[str]:
    """Each layer once, ``all`` spelled out."""
    known = places_of(frozen.source, frozen.size)
    return list(dict.fromkeys(place for layer in layers for place in (known if layer == ALL else (layer,))))


def write_features(
    study: Study, layers: Sequence[str], out: Path, *, pooling: str = "avg", device: str = "auto"
) -> xr.DataTree:
    """Write the features of a study's images, those that its one size and seed draw and the test set's. Returns them.

    ``part`` on ``sample`` is ``pool`` or ``test``.
    """
    frozen = open_frozen(study)
    wanted = _spread(layers or (BOTTLENECK,), frozen)
    pool, test = frozen.split.pool, frozen.split.test
    parts = {
        name: features(frozen.source, images, wanted, rows=rows, pooling=pooling, device=device)
        for name, images, rows in (
            ("pool", pool, nested_subset(pool, study.per_class[0], study.seeds[0])),
            ("test", test, np.arange(len(test))),
        )
    }
    nodes = {
        path: xr.concat(
            [tree[path].to_dataset().assign_coords(part=("sample", np.full(tree.sizes["sample"], name, dtype=object)))
             for name, tree in parts.items()],
            dim="sample", combine_attrs="override",
        )
        for path in ("/", *(f"/{name}" for name in parts["pool"].children))
    }  # fmt: skip
    tree = xr.DataTree.from_dict(nodes)
    formats.save(tree, out)
    return tree
