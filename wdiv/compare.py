"""Two checkpoints, written by anyone, side by side. Where the store and the measuring meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Union

from wdiv import measure
from wdiv.errors import BadInput
from wdiv.layers import Layer, LayerTable
from wdiv.store.foreign import Checkpoint, layers_from_shapes, open_checkpoint, peel, prefix_of, rename, to_numpy
from wdiv.store.match import match_layers
from wdiv.store.reader import find_run

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["diff", "open_weights"]

WeightsLike = Union[str, "PathLike[str]", Mapping[str, Any], Checkpoint, Any]


def diff(
    a: WeightsLike,
    b: WeightsLike,
    metrics: str | Sequence[str] = measure.DEFAULT_METRICS,
    *,
    renames: Sequence[str] = (),
) -> xr.DataTree:
    """metric(A, B) for every layer that two checkpoints have in common, and why not for the others.

    a, b     a checkpoint file (.pt .pth .tar .safetensors; the index or the folder of a sharded one),
             ``RUN_DIRECTORY[@EPOCH]`` of a wdiv store, a state dict, or a live model
    renames  rules ``old=new`` for the beginning of B's names, as they stand in its file or without the prefix that
             all of them share (``module.``); layers are then matched by name, by the one change of prefix that
             brings the most together, or by shape and order

    Returns a tree with a node for each kind of layer that they have, ``/conv``, ``/bn``, ``/norm``, ``/linear``,
    ``/fc``, of dims (layer, role); ``attrs["matched"]`` says how the layers were matched. Raises
    :class:`~wdiv.errors.BadWeights`.

    >>> import numpy as np
    >>> before = {"conv.weight": np.ones((2, 1, 1, 1)), "fc.weight": np.ones((10, 2))}
    >>> after = {"conv.weight": np.full((2, 1, 1, 1), 1.5), "fc.weight": np.ones((3, 2))}
    >>> tree = diff(before, after, "relative_l2")
    >>> tree["conv/relative_l2"].values.tolist(), tree["fc/relative_l2"].values.tolist()
    ([[0.5]], [[nan]])
    """
    left, right = open_weights(a, "a"), open_weights(b, "b", renames)
    matching = match_layers(left.table, right.table)
    tree = measure.diff(left, right, matching.pairs, metrics)
    tree.attrs |= {"matched": matching.rule, "outside_a": len(left.outside), "outside_b": len(right.outside)}
    return tree


def open_weights(what: WeightsLike, name: str = "", renames: Sequence[str] = ()) -> Checkpoint:
    """Anything that holds weights, as a :class:`~wdiv.store.foreign.Checkpoint`."""
    if isinstance(what, Checkpoint):
        return what
    if isinstance(what, (str, PathLike)):
        found = find_run(str(what))
        if found is None:
            return open_checkpoint(what if isinstance(what, str) else str(what), renames)
        run, epoch = found
        return run.checkpoint(epoch)
    state = what.state_dict() if hasattr(what, "state_dict") else what
    if not isinstance(state, Mapping):
        raise BadInput(f"weights: a path, a state dict or a model, not {type(what).__name__}")
    state, peeled = peel(state)
    if not state:
        raise BadInput(f"weights {name}: no tensors in them")
    arrays = {key: to_numpy(value) for key, value in state.items()}
    if renames:
        arrays = rename(arrays, renames, prefix_of(peeled))
    table = layers_from_shapes({k: v.shape for k, v in arrays.items()})
    return Checkpoint(name, _as_built(table, what), arrays, peeled)


def _as_built(table: LayerTable, what: Any) -> LayerTable:
    """The layers of a live model, with what shapes alone do not tell of its convolutions."""
    modules = dict(what.named_modules()) if hasattr(what, "named_modules") else {}
    return LayerTable(tuple(_told_by(modules.get(layer.name), layer) for layer in table), table.order)


def _told_by(module: Any, layer: Layer) -> Layer:
    told = {name: getattr(module, name) for name in ("groups", "transposed") if hasattr(module, name)}
    return replace(layer, **told) if layer.kind == "conv" else layer
