"""Movement beside the noise floor: what seeds alone make differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.numerics import common_displacement, false_discovery
from wdiv.summary.moved import at_epoch, saved_in
from wdiv.summary.runs import CELL

__all__ = ["against_noise_floor", "check_asked", "noise_floor"]

ALIKE = [*CELL, "source", "fold"]
"""What seeds of one another agree in: all that makes a cell, where they started, and the number of the fold."""


def against_noise_floor(div: xr.DataTree, pairs: xr.DataTree, metric: str = "l2", q: float = 0.05) -> pd.DataFrame:
    """Which layers moved more than seeds differ: one row a (strategy and data size, kind, role, layer).

    div, pairs  of the same runs after the same epochs: :func:`wdiv.divergence` from the start that seeds share, and
                :func:`wdiv.pairwise`, whose epoch is the one that counts here
    metric      ``l2``: a Euclidean distance of the weights. Both sides are then lengths in one unit, and together
                they tell whether seeds moved the same way; others are refused

    moved    root mean square of metric(start, run) over the seeds;  apart: of metric(run, run_b) over pairs of seeds
    ratio    moved / apart. Noise that seeds do not share gives 0.71 on average (of squares, ½), whatever the number of
             values
    p        of the rotation test that the seeds' displacements have mean 0 (:func:`wdiv.numerics.common_displacement`):
             exact for normal noise, of three seeds or a single value too. NaN for fewer than 3 seeds, where nothing
             moved, where no seed makes a difference, and where seeds of new layers did not start in one place
    p_adjusted, moved_more   over all layers of the cell, by Benjamini and Hochberg (1995), at a false discovery
             rate of ``q``; ``moved_more`` is missing where there is no p
    epochs   after which the seeds were measured, such as ``30``, or ``12 to 30`` where they ended at different ones

    In wdiv's own grids a seed draws the training images too, so the floor includes which images were drawn.

    Raises :class:`~wdiv.errors.BadInput` for another metric, for a reference that is not the start of all seeds, for
    another reduction, for runs or epochs that differ between ``div`` and ``pairs``, for two runs of one seed, and where
    no two runs are seeds of one another.
    """
    check_asked(metric, div.attrs.get("reference", "pretrained"))
    _check_trees(div, pairs, metric)
    epochs = _epochs(div, pairs)
    root = pairs.to_dataset()
    cells = pd.DataFrame({name: root[name].values for name in (*ALIKE, "seed", "run") if name in root.coords})
    frames = []
    names = [name for name in ALIKE if name in cells]
    for values, ours in cells[cells["run"].isin(epochs.index)].groupby(names, sort=False, dropna=False):
        runs = ours["run"].tolist()
        if ours["seed"].duplicated().any():
            raise BadInput(f"runs {', '.join(runs)}: some have one seed, so more than the seed differs between them")
        if len(runs) > 1:
            told = dict(zip(names, values, strict=True)) | {"epochs": _told(epochs[runs])}
            frames.append(_cell(div, pairs, metric, runs, q).assign(**told))
    if not frames:
        raise BadInput("no two runs differ in the seed alone, so there is no noise floor")
    table = pd.concat(frames, ignore_index=True)
    return table[[*names, "epochs", *(name for name in table if name not in (*names, "epochs"))]]


def check_asked(metric: str, reference: str | int = "pretrained") -> None:
    """Raise :class:`~wdiv.errors.BadInput` for what has no noise floor, before anything is measured."""
    if str(reference) not in ("pretrained", "0"):
        raise BadInput(
            f"reference {str(reference)!r}: movement is counted from a start that seeds share, 'pretrained' or '0'"
        )
    if not METRICS[metric].euclidean:
        able = " or ".join(repr(record.name) for record in METRICS.values() if record.euclidean)
        raise BadInput(
            f"metric {metric!r} is no length in the unit of the weights that tells whether seeds moved the same way; "
            f"for the noise floor take {able}"
        )


def _check_trees(div: xr.DataTree, pairs: xr.DataTree, metric: str) -> None:
    for tree in (div, pairs):
        if tree.attrs.get("reduction", "layer") != "layer":
            raise BadInput(f"measured one value a {tree.attrs['reduction']}; the noise floor wants one a layer")
        if any(metric not in node for node in tree.children.values()):
            raise BadInput(f"metric {metric!r} was not measured in both trees")


def _epochs(div: xr.DataTree, pairs: xr.DataTree) -> pd.Series:
    """Run → the epoch after which it is measured, of the runs that have saved it."""
    about, asked = pairs.to_dataset(), str(pairs.attrs.get("epoch", "last"))
    runs = about["run"].values.tolist()
    strange = sorted(set(runs) - set(div.to_dataset()["run"].values.tolist()))
    if strange:
        raise BadInput(f"run {strange[0]}: among the pairs, but not among the runs whose movement was measured")
    node = at_epoch(next(iter(div.children.values())).to_dataset(), asked).sel(run=runs)
    if "final" in about.coords and asked == "last":
        for run, moved, apart in zip(runs, node["epoch"].values, about["final"].values, strict=True):
            if moved != apart:
                raise BadInput(f"run {run}: moved until epoch {moved}, but is set beside others after epoch {apart}")
    return pd.Series(np.broadcast_to(node["epoch"].values, len(runs)), index=runs)[saved_in(node).values]


def _told(epochs: pd.Series) -> str:
    first, last = epochs.min(), epochs.max()
    return f"{first}" if first == last else f"{first} to {last}"


def _cell(div: xr.DataTree, pairs: xr.DataTree, metric: str, runs: list[str], q: float) -> pd.DataFrame:
    at, frames = str(pairs.attrs.get("epoch", "last")), []
    for kind, node in pairs.children.items():
        between = node.to_dataset().sel(run=runs, run_b=runs)
        moved = at_epoch(div.children[kind].to_dataset(), at).sel(run=runs)
        test = common_displacement(moved[metric].values, between[metric].values)
        places = between[["depth", "stage"]].to_dataframe().reset_index()[["layer", "depth", "stage"]]
        index = pd.MultiIndex.from_product([between["layer"].values, between["role"].values], names=["layer", "role"])
        frame = pd.DataFrame({k: v.ravel() for k, v in test._asdict().items()}, index=index).reset_index()
        frames.append(frame.merge(places, on="layer", validate="many_to_one").assign(kind=kind, seeds=len(runs)))
    table = pd.concat(frames, ignore_index=True).dropna(subset=["moved", "apart"])
    table["p_adjusted"] = false_discovery(table["p"])
    table["moved_more"] = table["p_adjusted"].lt(q).astype("boolean").where(table["p"].notna())
    names = ["kind", "role", "layer", "depth", "stage", "seeds", "moved", "apart", "ratio", "p", "p_adjusted"]
    return table[[*names, "moved_more"]].sort_values(["depth", "role"], kind="stable", ignore_index=True)


def noise_floor(pairs: xr.DataTree, metric: str) -> pd.DataFrame:
    """Divergence between seeds beside divergence between strategies, for each (kind, role, layer).

    seeds       mean over pairs of runs that differ in the seed alone
    strategies  mean over pairs of one seed and data size that differ in the strategy
    """
    frames = []
    columns = {name: pairs.to_dataset()[name].values for name in (*CELL, "seed")}
    same = {name: values[:, None] == values[None, :] for name, values in columns.items()}
    alike = np.logical_and.reduce([same[name] for name in CELL if name != "strategy"])
    masks = {"seeds": alike & same["strategy"] & ~same["seed"], "strategies": alike & same["seed"] & ~same["strategy"]}
    for kind, node in pairs.children.items():
        data = node.to_dataset()
        means = {
            name: data[metric].where(xr.DataArray(mask, dims=("run", "run_b"))).mean(("run", "run_b"))
            for name, mask in masks.items()
        }
        frames.append(xr.Dataset(means).to_dataframe().reset_index().assign(kind=kind))
    names = ["kind", "role", "layer", "depth", "stage", "seeds", "strategies"]
    return pd.concat(frames, ignore_index=True)[names]
