"""Values of epochs whose weights are not kept, from the sums that were taken of them while they trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from wdiv.measure import Flag, sums
from wdiv.metrics import METRICS
from wdiv.store.reader import CheckpointStore
from wdiv.store.running_metrics import read_running_sums

__all__ = ["thinned", "with_thinned"]


def thinned(tree: xr.DataTree) -> np.ndarray:
    """(run, epoch), true where an epoch of a tree was trained and is not kept."""
    root = tree.to_dataset()
    return root["thinned"].values if "thinned" in root else np.zeros(root["saved"].shape, dtype=bool)


def with_thinned(
    div: xr.DataTree, store: CheckpointStore, tree: xr.DataTree, names: Sequence[str], reference: str | int,
    only: np.ndarray,
) -> xr.DataTree:  # fmt: skip
    """A divergence with what is known of thinned epochs: of the metrics that sums give, against the start.

    tree, names, reference, only: what it was measured of, and where; it is filled in place
    """
    wanted, able = thinned(tree) & only, [name for name in names if METRICS[name].family in sums.FAMILIES]
    if not wanted.any() or not able or str(reference) not in ("pretrained", "0"):
        return div
    runs = set(tree.to_dataset()["run"].values[wanted.any(axis=1)].tolist())
    known = {run.record.id: found for run in store if run.record.id in runs and (found := read_running_sums(run))}
    of_sums = sums.divergence_of_sums(tree, known, able, reference)
    where = xr.DataArray(wanted, dims=("run", "epoch"))
    for kind, node in of_sums.children.items():
        there, here = node.to_dataset(), div.children[kind].to_dataset()
        told = there["flag"] if len(able) == len(names) else there["flag"] | int(Flag.NOT_SAVED)
        for name, values in {**{name: there[name] for name in able}, "flag": told}.items():
            here[name].values = xr.where(where, values, here[name]).transpose(*here[name].dims).values
    return div
