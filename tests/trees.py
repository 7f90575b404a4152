"""Measured trees made of whole cloth, for what reads them: no store, no weights, only the numbers one chooses.

The network: conv c0 and BN b1 in the stem, conv c2 and BN b3 in stage1, fc f4 in the head. The convs have no bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from wdiv.layers import Layer, LayerTable
from wdiv.measure import Flag

BN = ("gamma", "beta", "running_mean", "running_var")
LAYERS = {
    "conv": (
        Layer("c0", "conv", ("weight",), (4, 3, 3, 3), 0, "stem"),
        Layer("c2", "conv", ("weight",), (6, 4, 3, 3), 2, "stage1", 0),
    ),
    "bn": (Layer("b1", "bn", BN, (4,), 1, "stem"), Layer("b3", "bn", BN, (6,), 3, "stage1", 0)),
    "fc": (Layer("f4", "fc", ("weight", "bias"), (3, 6), 4, "head"),),
}
ROLES = {"conv": ("weight", "bias"), "bn": BN, "fc": ("weight", "bias")}
Value = Callable[..., float]
"""Called with the labels of a place; a float is the value, a Flag says why there is none."""


def run(strategy: str, seed: int, **others: Any) -> dict[str, Any]:
    """The coordinates of one run."""
    facts = {"model": "toynet", "source": "toy", "dataset": "toy", "n_train": 6, "bn_mode": "auto"}
    return facts | others | {"strategy": strategy, "seed": seed}


def run_coords(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ["{model}-{dataset}-n{n_train}-{strategy}-{bn_mode}-s{seed}".format(**facts) for facts in runs]
    columns = {name: np.array([facts[name] for facts in runs]) for name in runs[0]}
    plain = {name: column.astype(object) if column.dtype.kind == "U" else column for name, column in columns.items()}
    return {"run": np.array(names, dtype=object), **{name: ("run", column) for name, column in plain.items()}}


def divergence(
    runs: Sequence[dict[str, Any]], value: Value, epochs: int = 2, metric: str = "relative_l2"
) -> xr.DataTree:
    """value(run=…, epoch=…, layer=…, role=…) in the form that wdiv.divergence gives."""
    cells = [[{"run": facts, "epoch": epoch} for epoch in range(epochs)] for facts in runs]
    root = xr.Dataset(coords={**run_coords(runs), "epoch": np.arange(epochs)})
    return _tree(root, ("run", "epoch"), cells, value, metric)


def pairwise(runs: Sequence[dict[str, Any]], value: Value, metric: str = "relative_l2") -> xr.DataTree:
    """value(run=…, run_b=…, layer=…, role=…) in the form that wdiv.pairwise gives."""
    cells = [[{"run": facts, "run_b": other} for other in runs] for facts in runs]
    coords = run_coords(runs)
    root = xr.Dataset(coords={**coords, "run_b": coords["run"]})
    return _tree(root, ("run", "run_b"), cells, value, metric)


def _tree(root: xr.Dataset, dims: tuple[str, str], cells: list[list[dict[str, Any]]], value: Value, metric: str) -> Any:
    nodes = {}
    for kind, layers in LAYERS.items():
        shape = (len(cells), len(cells[0]), len(layers), len(ROLES[kind]))
        values, flags = np.full(shape, np.nan), np.zeros(shape, dtype=np.int64)
        for place in np.ndindex(shape):
            layer, role = layers[place[2]], ROLES[kind][place[3]]
            found = (
                value(**cells[place[0]][place[1]], layer=layer.name, role=role) if role in layer.roles else Flag.ABSENT
            )
            if isinstance(found, Flag):
                flags[place] = found
            else:
                values[place] = found
        coords = {**LayerTable.coords(layers), "role": np.array(ROLES[kind], dtype=object)}
        nodes[f"/{kind}"] = xr.Dataset(
            {metric: ((*dims, "layer", "role"), values), "flag": ((*dims, "layer", "role"), flags)}, coords=coords
        )
    return xr.DataTree.from_dict({"/": root, **nodes})


def history(runs: Sequence[dict[str, Any]], accuracy: Sequence[Sequence[float]]) -> xr.DataTree:
    """The part of an opened store that tells of accuracy; a run's row ends with its last saved epoch."""
    shape = (len(runs), max(map(len, accuracy)))
    values, saved = np.full(shape, np.nan), np.zeros(shape, dtype=bool)
    for i, row in enumerate(accuracy):
        values[i, : len(row)], saved[i, : len(row)] = row, True
    epochs = np.arange(shape[1])
    loss = np.where(saved & (epochs > 0), 1.0 / np.maximum(epochs, 1), np.nan)
    variables = {"test_accuracy": values, "train_loss": loss, "seconds": np.where(saved, 0.5, np.nan)}
    node = xr.Dataset({name: (("run", "epoch"), array) for name, array in variables.items()})
    root = xr.Dataset({"saved": (("run", "epoch"), saved)}, coords={**run_coords(runs), "epoch": epochs})
    return xr.DataTree.from_dict({"/": root, "/history": node})
