"""Movement beside the noise floor: what seeds alone make differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.numerics import false_discovery, farther_than_apart
from wdiv.summary.moved import at_epoch
from wdiv.summary.runs import CELL

__all__ = ["against_noise_floor", "noise_floor"]


def against_noise_floor(
    div: xr.DataTree, pairs: xr.DataTree, metric: str = "relative_l2", q: float = 0.05
) -> pd.DataFrame:
    """Which layers moved more than seeds differ: one row a (strategy and data size, kind, role, layer).

    div, pairs  of one tree: :func:`wdiv.divergence` (its reference is where movement is counted from; each run's
                last epoch is taken) and :func:`wdiv.pairwise`

    moved    mean of metric(reference, run) over the seeds;  apart: mean of metric(run, run_b) over pairs of seeds
    ratio    moved / apart. Independent noise in many dimensions gives 0.71: runs lie √2 times as far from one
             another as from where they started
    p        of the one-sided jackknife t test that the ratio is above 1 (Arvesen 1969; degrees of freedom seeds − 1;
             the start is taken as given, the seeds as drawn at random). NaN for fewer than 3 seeds
    p_adjusted, moved_more   over all layers of the cell, by Benjamini and Hochberg (1995), at a false discovery
             rate of ``q``

    In wdiv's own grids a seed draws the training images too, so the floor includes which images were drawn. A layer
    that did not move, or that no seed makes differ, has no ratio and ``moved_more`` False.

    Raises :class:`~wdiv.errors.BadInput` for a metric that is no distance (0 for equal weights, and least there), for
    another reference, another reduction, or where no two runs are seeds of one another.
    """
    for tree in (div, pairs):
        if tree.attrs.get("reduction", "layer") != "layer":
            raise BadInput(f"measured one value a {tree.attrs['reduction']}; the noise floor wants one a layer")
    start = str(div.attrs.get("reference", "pretrained"))
    if start != "pretrained" and not start.isdecimal():
        raise BadInput(f"reference {start!r}: movement is counted from a start, 'pretrained' or an epoch")
    record = METRICS[metric]
    if record.identity != record.lower:
        raise BadInput(f"metric {metric!r} is no distance: its value for equal weights is not its least")
    columns = {name: pairs.to_dataset()[name].values for name in (*CELL, "seed")}
    cells = pd.DataFrame({name: columns[name] for name in CELL})
    frames = []
    for values, ours in cells.groupby(CELL, sort=False).groups.items():
        runs = np.asarray(ours)
        if len(runs) > 1:
            frames.append(_cell(div, pairs, metric, runs, q).assign(**dict(zip(CELL, values, strict=True))))
    if not frames:
        raise BadInput("no two runs differ in the seed alone, so there is no noise floor")
    table = pd.concat(frames, ignore_index=True)
    return table[[*CELL, *(name for name in table if name not in CELL)]]


def _cell(div: xr.DataTree, pairs: xr.DataTree, metric: str, runs: np.ndarray, q: float) -> pd.DataFrame:
    zero, frames = METRICS[metric].identity, []
    for kind, node in pairs.children.items():
        between, moved = node.to_dataset(), at_epoch(div.children[kind].to_dataset(), "last")
        if metric not in between or metric not in moved:
            raise BadInput(f"metric {metric!r} was not measured in both trees")
        d = between[metric].values[np.ix_(runs, runs)] - zero
        m = moved[metric].values[runs] - zero
        test = farther_than_apart(m, d)
        places = between[["depth", "stage"]].to_dataframe().reset_index()[["layer", "depth", "stage"]]
        index = pd.MultiIndex.from_product([between["layer"].values, between["role"].values], names=["layer", "role"])
        columns = {"moved": test.moved, "apart": test.apart, "ratio": np.exp(test.log_ratio), "p": test.p}
        frame = pd.DataFrame({k: v.ravel() for k, v in columns.items()}, index=index).reset_index()
        frames.append(frame.merge(places, on="layer", validate="many_to_one").assign(kind=kind, seeds=len(runs)))
    table = pd.concat(frames, ignore_index=True).dropna(subset=["moved", "apart"])
    table["p_adjusted"] = false_discovery(table["p"])
    table["moved_more"] = table["p_adjusted"] < q
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
