"""Baselines on frozen features over a study's grid: which trials there are, and their outcomes kept beside its runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from baselines.features import features, places_of
from baselines.trials import Outcome, Trial
from studies.runner import open_data, sources_of
from studies.study import Study
from wdiv import formats
from wdiv.errors import BadInput
from wdiv.tuning.features import FeatureStore
from wdiv.tuning.images import Split, nested_subset
from wdiv.tuning.sources import Source
from wdiv.tuning.taps import BOTTLENECK

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ALL", "Frozen", "draw", "open_frozen", "run", "write_features"]

ALL = "all"
"""In place of a layer: every stage and the bottleneck, each for itself."""


@dataclass(frozen=True)
class Frozen:
    """A study's images and its one source, whose network stays as it is; ``size`` of the images, in pixels."""

    source: Source
    split: Split
    size: int


def open_frozen(study: Study) -> Frozen:
    """Find the weights and read the images. Raises any of wdiv's errors."""
    found = sources_of(study)
    if len(found) > 1:
        raise BadInput(f"one network at a time, not {len(found)}; give one --model")
    (source,) = found
    size = source.input.at(study.image_size).size
    return Frozen(source, open_data(study, size), size)


def run(
    study: Study, baselines: Sequence[str], layers: Sequence[str], *, folds: int = 5, pooling: str = "avg",
    device: str = "auto", out: Path | None = None,
) -> list[Outcome]:  # fmt: skip
    """Every baseline on every layer, for each data size and seed of the study.

    layers  as in a :class:`~baselines.trials.Trial`; or ``all``
    out     a store to keep the outcomes in, beside its runs; features that do not fit in memory go there too
    """
    frozen = open_frozen(study)
    spelled = _spread(layers or (trials.STAGES,), frozen)
    wanted = [
        Trial(baseline, layer, size, seed, folds, pooling)
        for size, baseline, layer, seed in itertools.product(study.per_class, baselines, spelled, study.seeds)
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


def draw(outcomes: Sequence[Outcome], out: Path) -> Path:
    """A figure (.png, .pdf or .svg): accuracy over the number of training images, and where there are several layers,
    over the layers, from input to output."""
    import matplotlib as mpl
    import pandas as pd
    from matplotlib.figure import Figure

    from wdiv.plots import accuracy_by

    table = pd.DataFrame(
        {"n_train": o.n_train, "strategy": o.strategy, "baseline": o.baseline, "layer": o.layer, "accuracy": o.accuracy}
        for o in outcomes
    )
    by_layer = table[~table["layer"].str.contains(r"\+") & (table["layer"] != trials.BEST)]
    panels = [("n_train", "strategy", table, "training images")]
    if by_layer["layer"].nunique() > 1:
        several = by_layer["baseline"].nunique() > 1
        names = by_layer["n_train"].map("{} images".format)
        by_layer = by_layer.assign(line=by_layer["baseline"] + ", " + names if several else names)
        panels.append(("layer", "line", by_layer, "features of"))
    first = outcomes[0]
    with mpl.rc_context({"savefig.dpi": 130, "font.size": 9}):
        figure = Figure(figsize=(6.8 * len(panels), 4.2), layout="constrained")
        for axes, (x, lines, rows, label) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            accuracy_by(rows, x, axes, lines=lines, label=label)
        figure.suptitle(f"{first.model}, frozen, on {first.dataset}: {first.n_test} test images", x=0.01, ha="left")
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    return out


def write_features(
    study: Study, layers: Sequence[str], out: Path, *, pooling: str = "avg", device: str = "auto"
) -> xr.DataTree:
    """Write the features of a study's images, those that its one size and seed draw and the test set's. Returns them.

    ``part`` on ``sample`` is ``pool`` or ``test``.
    """
    import numpy as np
    import xarray as xr

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
