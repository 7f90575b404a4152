"""What moved, and what it bought."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.metrics import FAMILIES, METRICS
from wdiv.numerics import share_interval
from wdiv.numerics.classification import FIGURES
from wdiv.summary.folds import runs_of
from wdiv.summary.moved import layers
from wdiv.summary.order import order
from wdiv.summary.runs import CELL, results

__all__ = ["accuracies", "outcomes"]


def accuracies(runs: pd.DataFrame) -> pd.DataFrame:
    """What was bought: one row a strategy, BN mode and data size of :func:`results`, over its seeds.

    last, best    test accuracy, mean over the seeds;  spread: standard deviation of ``last`` (ddof 1)
    low, high     95 % interval of ``last`` (:func:`wdiv.numerics.share_interval`), for other test images and other
                  seeds: seeds share their test images, which more seeds do not make more
    over_fc       ``last`` less that of the strategy ``fc`` with as much data, paired by seed

    And, of the seeds whose predictions are kept: the mean of each of
    :data:`~wdiv.numerics.classification.FIGURES`; ``classes`` and ``confusion``, the sum of theirs, None where there
    are none; ``only_answer``, the classes that some seed answered whatever it was shown, and how many seeds did.
    """
    rows = [
        {
            **dict(zip(CELL, keys, strict=True)),
            "seeds": len(group),
            "last": group["last"].mean(),
            **_interval(group),
            "spread": group["last"].std(ddof=1),
            "best": group["best"].mean(),
            "over_fc": _over_fc(runs, group),
            **(_answered(group) if "confusion" in group else {}),
        }
        for keys, group in runs.groupby(CELL, sort=False)
    ]
    table = pd.DataFrame(rows)
    return table.sort_values(["model", "n_train", "strategy"], key=order, kind="stable", ignore_index=True)


def _interval(group: pd.DataFrame) -> dict[str, float]:
    found = share_interval(group["last"], group["n_test"].min() if "n_test" in group else 0)
    return {"low": float(found.low), "high": float(found.high)}


def outcomes(tree: xr.DataTree, div: xr.DataTree, metric: str = "relative_l2") -> pd.DataFrame:
    """What moved and what it bought: one row a strategy and data size, over its seeds.

    The columns of :func:`accuracies`, and
    conv, gamma, beta   mean divergence of those tensors over layers and seeds; conv and affine of ``output_change`` and
                  its proxy
    farthest      the stage of the trunk in which they moved most
    """
    runs = results(tree)
    moved = layers(div, metric)
    names = {run: whole for whole, runs in runs_of(tree.to_dataset()).items() for run in runs}
    moved = moved.assign(run=moved["run"].map(names))
    trunk = moved[~moved["stage"].isin(["head", "aux"])]
    norms = ("affine",) if FAMILIES[METRICS[metric].family].per == "layer" else ("gamma", "beta")
    columns = [("conv", "conv", "weight"), *((role, "bn", role) for role in norms)]
    rows = []
    for keys, group in runs.groupby(CELL, sort=False):
        ours = trunk[trunk["run"].isin(group["run"])]
        mean = {
            name: ours.loc[ours["role"].eq(role) & ours["kind"].eq(kind), "value"].mean()
            for name, kind, role in columns
        }
        rows.append(dict(zip(CELL, keys, strict=True)) | mean | {"farthest": _farthest(ours)})
    return accuracies(runs).merge(pd.DataFrame(rows), on=CELL)


def _answered(group: pd.DataFrame) -> dict[str, Any]:
    known = group[group["confusion"].notna()]
    only = known["only_answer"].dropna()
    told = ", ".join(dict.fromkeys(only)) + ("" if len(only) == len(group) else f" ({len(only)} of {len(group)} seeds)")
    return {
        **{name: group[name].mean() for name in FIGURES},
        "only_answer": told if len(only) else None,
        "classes": known["classes"].iloc[0] if len(known) else None,
        "confusion": np.sum(known["confusion"].tolist(), axis=0).tolist() if len(known) else None,
    }


def _over_fc(runs: pd.DataFrame, group: pd.DataFrame) -> float:
    """Above ``fc`` in the same BN mode; what has no such partner, above an ``fc`` whose statistics are frozen."""
    cell, place = group.iloc[0], ["model", "dataset", "n_train"]
    same = runs["strategy"].eq("fc") & runs[place].eq(cell[place]).all(axis=1)
    alike = same & runs["bn_mode"].eq(cell["bn_mode"])
    if not alike.any():
        alike = same & runs["bn_mode"].eq("auto") & (cell["bn_mode"] == "frozen")
    paired = group.merge(runs[alike], on="seed", suffixes=("", "_fc"))
    return float((paired["last"] - paired["last_fc"]).mean()) if len(paired) else float("nan")


def _farthest(moved: pd.DataFrame) -> str:
    weights = moved[moved["role"].isin(["weight", "gamma", "beta", "affine"])]
    by_stage = weights.groupby("stage", sort=False)["value"].mean().dropna()
    return str(by_stage.idxmax()) if len(by_stage) and by_stage.max() > 0 else ""
