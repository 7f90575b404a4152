"""Tidy tables: one row a thing, plain columns, ready for pandas, seaborn or a spreadsheet.

LAW: this module imports :mod:`wdiv.measure` and what lies below it. It reads trees; it computes no metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.errors import BadInput
from wdiv.measure import INCOMPARABLE, Flag, why
from wdiv.registry import did_you_mean

__all__ = [
    "comparable", "diff_rows", "diff_summary", "in_order", "labels", "layer_grid", "layers", "noise_floor", "outcomes",
    "results", "stage_profile",
]  # fmt: skip

CELL = ["model", "dataset", "n_train", "strategy", "bn_mode"]
"""What makes two runs seeds of one another: these agree."""


def results(tree: xr.DataTree) -> pd.DataFrame:
    """One row a run: its coordinates, its last and best test accuracy, its training loss and its cost.

    ``best`` is the best of all epochs on the test images themselves, and so flatters; ``last`` does not.
    """
    history, root = tree.children["history"].to_dataset().load(), tree.to_dataset()
    saved = root["saved"].values
    rows = []
    for i, run in enumerate(root["run"].values):
        accuracy = history["test_accuracy"].values[i]
        last = int(np.flatnonzero(saved[i])[-1])
        best = int(np.nanargmax(accuracy))
        rows.append(
            {
                "run": run,
                **{name: _scalar(root[name].values[i]) for name in (*CELL, "seed", "source")},
                "epochs": int(root["epoch"].values[last]),
                "last": float(accuracy[last]),
                "best": float(accuracy[best]),
                "best_epoch": int(root["epoch"].values[best]),
                "train_loss": float(history["train_loss"].values[i, last]),
                "seconds": float(np.nansum(history["seconds"].values[i])),
            }
        )
    return pd.DataFrame(rows)


def _scalar(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def layers(div: xr.DataTree, metric: str, epoch: int | str = "last") -> pd.DataFrame:
    """One row a (run, layer, role): the layer's place and its divergence after an epoch (``last``: each run's own).

    Raises :class:`~wdiv.errors.BadInput` if the metric was not measured or the epoch is not there.
    """
    frames = []
    for kind, node in div.children.items():
        data = node.to_dataset()
        measured = [str(name) for name in data.data_vars if name != "flag"]
        if metric not in measured:
            raise BadInput(f"metric {metric!r} was not measured; {did_you_mean(metric, measured)}")
        values = _at_epoch(data, epoch)
        frame = values[[metric, "flag"]].to_dataframe().reset_index()
        frames.append(frame.rename(columns={metric: "value"}).assign(kind=kind))
    order = [*CELL, "run", "seed", "kind", "role", "layer", "depth", "stage", "block", "value", "flag"]
    everything = pd.concat(frames, ignore_index=True)
    runs = _runs(div)
    if runs is not None:
        everything = everything.merge(runs, on="run", how="left", validate="many_to_one")
    return everything[[name for name in order if name in everything]]


def _runs(div: xr.DataTree) -> pd.DataFrame | None:
    """One row a run: what the root of a tree says of it."""
    root = div.to_dataset()
    if "strategy" not in root.coords:
        return None
    return pd.DataFrame({name: root[name].values for name in ("run", *CELL, "seed")})


def _at_epoch(data: xr.Dataset, epoch: int | str) -> xr.Dataset:
    if "epoch" not in data.dims:
        return data
    epochs = data["epoch"].values.tolist()
    if epoch == "last":
        silent = int(Flag.NOT_SAVED | Flag.ABSENT)  # a tensor that is not there says nothing of the epoch
        saved = ((data["flag"] & silent) == 0).any(("layer", "role")).values
        last = [int(np.flatnonzero(row)[-1]) if row.any() else 0 for row in saved]
        return data.isel(epoch=xr.DataArray(last, dims="run"))
    if not str(epoch).isdecimal() or int(epoch) not in epochs:
        raise BadInput(f"epoch {epoch!r}: 'last', or one of those measured, {epochs[0]} to {epochs[-1]}")
    return data.sel(epoch=int(epoch))


def comparable(div: xr.DataTree) -> pd.DataFrame:
    """Which (run, layer, role) have a partner of the same shape, and why the others have not.

    Works on the result of ``divergence``, ``pairwise`` (without pairs of a run with itself) or ``diff``.
    """
    frames = []
    for kind, node in div.children.items():
        data = node.to_dataset()
        frame = _at_epoch(data, "last")["flag"].to_dataframe().reset_index().assign(kind=kind)
        frames.append(frame[frame["run"] != frame["run_b"]] if "run_b" in frame else frame)
    table = pd.concat(frames, ignore_index=True)
    table["comparable"] = (table["flag"] & int(INCOMPARABLE)) == 0
    table["why"] = [why(flag) for flag in table["flag"]]
    names = ["run", "run_b", "layer", "kind", "role", "comparable", "why"]
    return table[[name for name in names if name in table]]


def stage_profile(div: xr.DataTree, metric: str, epoch: int | str = "last") -> pd.DataFrame:
    """Mean divergence of the layers of each (run, kind, role, stage), and how many layers that is."""
    table = layers(div, metric, epoch)
    keys = [name for name in (*CELL, "run", "seed", "kind", "role", "stage") if name in table]
    grouped = table.dropna(subset="value").groupby(keys, sort=False)["value"]
    return grouped.agg(value="mean", layers="count").reset_index()


def outcomes(tree: xr.DataTree, div: xr.DataTree, metric: str = "relative_l2") -> pd.DataFrame:
    """What moved and what it bought: one row a strategy and data size, over its seeds.

    last, best    test accuracy, mean over the seeds;  spread: standard deviation of ``last`` (ddof 1)
    over_fc       ``last`` less that of the strategy ``fc`` with as much data, paired by seed
    conv, gamma, beta   mean divergence of those tensors over layers and seeds
    farthest      the stage of the trunk in which they moved most
    """
    runs = results(tree)
    moved = layers(div, metric)
    trunk = moved[~moved["stage"].isin(["head", "aux"])]
    rows = []
    for keys, group in runs.groupby(CELL, sort=False):
        cell = dict(zip(CELL, keys, strict=True))
        ours = trunk[trunk["run"].isin(group["run"])]
        mean = {
            name: ours.loc[ours["role"].eq(role) & ours["kind"].eq(kind), "value"].mean()
            for name, kind, role in (("conv", "conv", "weight"), ("gamma", "bn", "gamma"), ("beta", "bn", "beta"))
        }
        rows.append(
            cell
            | {
                "seeds": len(group),
                "last": group["last"].mean(),
                "spread": group["last"].std(ddof=1),
                "best": group["best"].mean(),
                "over_fc": _over_fc(runs, group, cell),
            }
            | mean
            | {"farthest": _farthest(ours)}
        )
    table = pd.DataFrame(rows)
    return table.sort_values(["model", "n_train", "strategy"], key=_order, kind="stable", ignore_index=True)


def _over_fc(runs: pd.DataFrame, group: pd.DataFrame, cell: dict[str, object]) -> float:
    same = runs["strategy"].eq("fc")
    for name in ("model", "dataset", "n_train", "bn_mode"):
        same &= runs[name].eq(cell[name])
    paired = group.merge(runs[same], on="seed", suffixes=("", "_fc"))
    return float((paired["last"] - paired["last_fc"]).mean()) if len(paired) else float("nan")


def _farthest(moved: pd.DataFrame) -> str:
    weights = moved[moved["role"].isin(["weight", "gamma", "beta"])]
    by_stage = weights.groupby("stage", sort=False)["value"].mean().dropna()
    return str(by_stage.idxmax()) if len(by_stage) and by_stage.max() > 0 else ""


def diff_rows(tree: xr.DataTree, metrics: Sequence[str]) -> list[dict[str, Any]]:
    """One record a (layer, role) of a ``diff`` tree, by depth; a value that is undefined is None."""
    rows = []
    for kind, node in tree.children.items():
        data = node.to_dataset()
        for i, layer in enumerate(data["layer"].values):
            for j, role in enumerate(data["role"].values):
                flag = int(data["flag"].values[i, j])
                if flag & int(Flag.ABSENT):
                    continue
                values = {name: float(data[name].values[i, j]) for name in metrics}
                rows.append(
                    {
                        "layer": str(layer),
                        "kind": kind,
                        "role": str(role),
                        "depth": int(data["depth"].values[i]),
                        "partner": str(data["partner"].values[i]),
                        "side": str(data["side"].values[i]),
                        "comparable": not flag & int(INCOMPARABLE),
                        "why": why(flag),
                        **{name: None if np.isnan(value) else value for name, value in values.items()},
                    }
                )
    return sorted(rows, key=lambda row: (row["side"] == "b", row["depth"]))


def diff_summary(tree: xr.DataTree, metrics: Sequence[str]) -> dict[str, Any]:
    """How the layers of a ``diff`` tree were matched, and for each kind how many could be compared and their mean.

    Means are over the layers' weights (gamma for BatchNorm), those that are undefined left out.
    """
    rows, kinds = diff_rows(tree, metrics), {}
    for kind in tree.children:
        ours = [row for row in rows if row["kind"] == kind and row["role"] in ("weight", "gamma")]
        compared = [row for row in ours if row["comparable"]]
        means = {name: [row[name] for row in compared if row[name] is not None] for name in metrics}
        kinds[kind] = {
            "comparable": len(compared),
            "not_comparable": len(ours) - len(compared),
            **{name: float(np.mean(values)) if values else None for name, values in means.items()},
        }
    keep = ("matched", "direction", "outside_a", "outside_b")
    return {**{name: tree.attrs[name] for name in keep if name in tree.attrs}, "kinds": kinds}


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


def labels(table: pd.DataFrame) -> pd.Series:
    """A short name for each row: its strategy, and whatever else is not the same in all rows."""
    parts = [table["strategy"].astype(str)]
    for name, spell in (("n_train", "n={}"), ("bn_mode", "{}"), ("model", "{}")):
        if name in table and table[name].nunique() > 1:
            parts.append(table[name].map(spell.format))
    return parts[0].str.cat(parts[1:], sep="  ")


def layer_grid(table: pd.DataFrame, kind: str, role: str) -> pd.DataFrame:
    """Rows: :func:`labels` in order of data size and strategy; columns: (stage, layer) by depth; mean over seeds."""
    chosen = table[table["kind"].eq(kind) & table["role"].eq(role)]
    chosen = in_order(chosen).assign(label=labels)
    rows, columns = chosen["label"].drop_duplicates(), chosen[["depth", "stage", "layer"]].drop_duplicates("layer")
    columns = columns.sort_values("depth")
    grid = chosen.pivot_table(index="label", columns="layer", values="value", aggfunc="mean", dropna=False, sort=False)
    grid = grid.reindex(index=rows, columns=columns["layer"])
    grid.columns = pd.MultiIndex.from_frame(columns[["stage", "layer"]])
    return grid


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by architecture, data size, BN mode, and strategy from the one that changes least; then by depth."""
    keys = [name for name in ("model", "n_train", "bn_mode", "strategy", "depth") if name in table]
    return table.sort_values(keys, key=_order, kind="stable")


_RANK = {"scratch": 0, "fc": 1, "bn@stage4+fc": 2, "bn@stage3-4+fc": 3, "bn@stage2-4+fc": 4, "bn+fc": 5, "conv+fc": 6}


def _order(column: pd.Series) -> pd.Series:
    """Strategies from the one that changes least; everything else by value."""
    if column.name != "strategy":
        return column
    return column.map(lambda name: (f"{_RANK.get(name, 9)}", name)).astype(object)
