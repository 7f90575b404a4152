"""How far each layer and each stage has moved, and what can be compared at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.errors import BadInput
from wdiv.measure import INCOMPARABLE, Flag, position_of, roles_of, why
from wdiv.registry import did_you_mean
from wdiv.summary.order import in_order, labels
from wdiv.summary.runs import CELL, of_runs

__all__ = [
    "at_epoch",
    "comparable",
    "epoch_grid",
    "layer_grid",
    "layers",
    "not_finite",
    "saved_in",
    "stage_profile",
    "without_value",
]


def layers(div: xr.DataTree, metric: str, epoch: int | str = "last") -> pd.DataFrame:
    """One row a (run, layer, role): the layer's place and its divergence after an epoch (``last``: each run's own).
    Roles are those that the metric has values at.

    Raises :class:`~wdiv.errors.BadInput` if the metric was not measured or the epoch is not there.
    """
    reduction = div.attrs.get("reduction", "layer")
    if reduction != "layer":
        raise BadInput(f"measured one value a {reduction}; tables and figures want one a layer")
    for node in div.children.values():
        measured = [str(name) for name in node.data_vars if name != "flag"]
        if metric not in measured:
            raise BadInput(f"metric {metric!r} was not measured; {did_you_mean(metric, measured)}")
    everything = _of_kinds(div, [metric, "flag"], epoch).rename(columns={metric: "value"})
    roles = {kind: roles_of(metric, kind) for kind in div.children}  # of a table with other metrics, its own alone
    own = [role in roles[kind] for kind, role in zip(everything["kind"], everything["role"], strict=True)]
    everything = everything[own].reset_index(drop=True)
    order = [*CELL, "run", "seed", "kind", "role", "layer", "depth", "stage", "block", "value", "flag"]
    return everything[[name for name in order if name in everything]]


def _of_kinds(div: xr.DataTree, names: Sequence[str], epoch: int | str) -> pd.DataFrame:
    """Variables of all nodes after an epoch, one under the other, each row with what is known of its run."""
    nodes = {kind: at_epoch(node.to_dataset(), epoch)[list(names)] for kind, node in div.children.items()}
    frames = [node.to_dataframe().reset_index().assign(kind=kind) for kind, node in nodes.items()]
    table, runs = pd.concat(frames, ignore_index=True), of_runs(div)
    return table if runs is None else table.merge(runs, on="run", how="left", validate="many_to_one")


def at_epoch(data: xr.Dataset, epoch: int | str) -> xr.Dataset:
    """A node after one epoch: a number, or ``last``, each run's own that counts, or the last one measured."""
    if "epoch" not in data.dims:
        return data
    epochs = data["epoch"].values.tolist()
    if epoch == "last":
        saved = saved_in(data).values
        last = [int(np.flatnonzero(row)[-1]) if row.any() else 0 for row in saved]
        if "final" in data.coords:
            at = [epochs.index(n) if n in epochs else -1 for n in data["final"].values.tolist()]
            last = [f if f >= 0 and saved[i, f] else last[i] for i, f in enumerate(at)]
        return data.isel(epoch=xr.DataArray(last, dims="run"))
    if not str(epoch).isdecimal() or int(epoch) not in epochs:
        raise BadInput(f"epoch {epoch!r}: 'last', or one of those measured, {epochs[0]} to {epochs[-1]}")
    return data.isel(epoch=position_of(int(epoch), epochs, saved_in(data).transpose("run", "epoch").values))


def saved_in(data: xr.Dataset) -> xr.DataArray:
    """Whether a run's epoch is saved, as a node's flags tell: a tensor that is not there says nothing of it."""
    here = (data["flag"] & int(Flag.NOT_SAVED | Flag.ABSENT)) == 0
    return here.any([dim for dim in here.dims if dim not in ("run", "epoch")])


def comparable(div: xr.DataTree) -> pd.DataFrame:
    """Which (run, layer, role) have a partner of the same shape, and why the others have not.

    Works on the result of ``divergence``, ``pairwise`` (without pairs of a run with itself) or ``diff``.
    """
    frames = []
    for kind, node in div.children.items():
        data = node.to_dataset()
        frame = at_epoch(data, "last")["flag"].to_dataframe().reset_index().assign(kind=kind)
        frames.append(frame[frame["run"] != frame["run_b"]] if "run_b" in frame else frame)
    table = pd.concat(frames, ignore_index=True)
    table["comparable"] = (table["flag"] & int(INCOMPARABLE)) == 0
    table["why"] = [why(flag) for flag in table["flag"]]
    names = ["run", "run_b", "layer", "kind", "role", "comparable", "why"]
    return table[[name for name in names if name in table]]


def not_finite(div: xr.DataTree) -> pd.DataFrame:
    """One row a (run, layer or stage, role) that holds inf or NaN at some epoch, and the first such epoch."""
    frames = []
    for kind, node in div.children.items():
        data = node.to_dataset()
        bad = (data["flag"] & int(Flag.NOT_FINITE)) != 0
        if "layer_index" in data:
            bad = bad.assign_coords(of_layer=(bad.dims[2], data["layer"].values[data["layer_index"].values]))
        frame = bad.rename("bad").to_dataframe().reset_index().rename(columns={"of_layer": "layer"})
        frames.append(frame[frame["bad"]].assign(kind=kind))
    table = pd.concat(frames, ignore_index=True)
    keys = [name for name in ("run", "kind", "layer", "stage", "role") if name in table]
    keys = [name for name in keys if name != "stage" or "layer" not in table]
    columns = [*keys, "epoch"] if "epoch" in table else keys
    ordered = table.sort_values("epoch", kind="stable") if "epoch" in table else table
    return ordered[columns].drop_duplicates(keys).sort_index(ignore_index=True)


def without_value(div: xr.DataTree, metrics: Sequence[str], epoch: int | str = "last") -> dict[str, int]:
    """Reason -> how many tensors have no value of any of these metrics after an epoch for that reason."""
    counts: Counter[str] = Counter()
    for node in div.children.values():
        data = at_epoch(node.to_dataset(), epoch)
        nothing = np.logical_and.reduce([np.isnan(data[name].values) for name in metrics])
        flags = data["flag"].values[nothing & ((data["flag"].values & int(Flag.ABSENT)) == 0)]
        counts.update(why(flag) for flag in flags.tolist())
    return dict(counts)


def stage_profile(div: xr.DataTree, metric: str, epoch: int | str = "last") -> pd.DataFrame:
    """Mean divergence of the layers of each (run, kind, role, stage), and how many layers that is.

    Of a tree that was measured by stage, the stage's own value.
    """
    if div.attrs.get("reduction") == "stage":
        return _stages(div, metric, epoch)
    table = layers(div, metric, epoch)
    keys = [name for name in (*CELL, "run", "seed", "kind", "role", "stage") if name in table]
    grouped = table.dropna(subset="value").groupby(keys, sort=False)["value"]
    return grouped.agg(value="mean", layers="count").reset_index()


def _stages(div: xr.DataTree, metric: str, epoch: int | str) -> pd.DataFrame:
    table = _of_kinds(div, [metric, "layers"], epoch).rename(columns={metric: "value"}).dropna(subset="value")
    keys = [name for name in (*CELL, "run", "seed", "kind", "role", "stage") if name in table]
    return table.sort_values(["run", "kind"], kind="stable")[[*keys, "value", "layers"]].reset_index(drop=True)


def epoch_grid(div: xr.DataTree, metric: str, kind: str, role: str, run: str) -> pd.DataFrame:
    """Rows: the saved epochs of a run; columns: (stage, layer) by depth. The values of one role, as time goes on."""
    data = div.children[kind].to_dataset().sel(run=run, role=role)
    saved = ((data["flag"] & int(Flag.NOT_SAVED)) == 0).any("layer").values
    there = ((data["flag"] & int(Flag.ABSENT)) == 0).any("epoch").values
    data = data.isel(epoch=saved, layer=there).sortby("depth")
    columns = pd.MultiIndex.from_arrays([data["stage"].values, data["layer"].values], names=["stage", "layer"])
    return pd.DataFrame(data[metric].transpose("epoch", "layer").values, data["epoch"].values, columns)


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
