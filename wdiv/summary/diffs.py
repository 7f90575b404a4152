"""Two checkpoints, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from wdiv.measure import INCOMPARABLE, Flag, roles_of, why

__all__ = ["diff_rows", "diff_summary"]


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


def _main(metric: str) -> tuple[str, str]:
    """The roles that stand for a layer."""
    return "weight", "affine" if "affine" in roles_of(metric, "bn") else "gamma"


def diff_summary(tree: xr.DataTree, metrics: Sequence[str]) -> dict[str, Any]:
    """How the layers of a ``diff`` tree were matched, and for each kind how many could be compared and their mean.

    Means are over the layers' weights (of a normalisation gamma, or for metrics of whole layers ``affine``), those that
    are undefined left out.
    """
    rows, kinds = diff_rows(tree, metrics), {}
    for kind in tree.children:
        every = [row for row in rows if row["kind"] == kind]
        means = {
            name: [row[name] for row in every if row["role"] in _main(name) and row[name] is not None]
            for name in metrics
        }
        ours = [row for row in every if row["role"] in _main(metrics[0])]
        compared = [row for row in ours if row["comparable"]]
        kinds[kind] = {
            "comparable": len(compared),
            "not_comparable": len(ours) - len(compared),
            **{name: float(np.mean(values)) if values else None for name, values in means.items()},
        }
    keep = ("matched", "direction", "outside_a", "outside_b")
    return {**{name: tree.attrs[name] for name in keep if name in tree.attrs}, "kinds": kinds}
