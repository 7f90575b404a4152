"""The xarray engine ``wdiv``: a store as a :class:`xarray.DataTree`. Opening it reads no tensor.

    >>> import xarray as xr
    >>> tree = xr.open_datatree("runs/quickstart", engine="wdiv")     # doctest: +SKIP

One architecture makes one tree; a store with several opens with ``group="resnet18"``.

=====================  ======================================================================================
node                   holds
=====================  ======================================================================================
``/``                  coords of each run, ``final`` the epoch that counts; ``saved(run, epoch)``, and where epochs
                       are not kept, ``thinned(run, epoch)``: their weights are NaN, their history is there
``/history``           train_loss, train_accuracy, test_accuracy, seconds; ``lr(run, epoch, kind)``; val_loss and
                       val_accuracy of runs that hold images out; steps, and of the epoch that counts fitted_accuracy,
                       n_fitted and fitted_majority, where they are known
``/predictions``       ``logits(run, epoch, image, class)`` of test and validation images, ``part(run, image)`` saying
                       which; label and file of each; absent where no run has kept any
``/bn``                gamma, beta, running_mean, running_var (run, epoch, channel), CF contiguous ragged
``/norm``              gamma, beta (run, epoch, channel) of LayerNorm, GroupNorm, RMSNorm and InstanceNorm, the same way
``/conv``              mean, std (run, epoch, layer), filter_mean, filter_std (run, epoch, filter)
``/linear``, ``/fc``   mean, std (run, epoch, layer) of what is linear in the trunk, and of the classifier
``/weights/<layer>``   weight, bias: the raw tensors (run, epoch, out, in, kh, kw); (…, k) or (…, kd, kh, kw) in one
                       or three dimensions; (in, out, …) of a transposed convolution
``/pretrained/…``      bn, norm and weights again, as the source gave them (run, …)
=====================  ======================================================================================

``frozen(run, layer, role)`` in the node of each kind says what no epoch may change.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendEntrypoint
from xarray.core import indexing

from wdiv.errors import BadInput, BadStore, LeftOut
from wdiv.layers import KINDS, ROLES, Layer, LayerTable
from wdiv.registry import did_you_mean
from wdiv.store import predictions
from wdiv.store.lazy import Axis, FilterMoment, LayerMoment, PretrainedTensor, RunLogits, RunTensor, _Lazy
from wdiv.store.reader import CheckpointStore, Run, StoreLike, spell
from wdiv.store.record import RunRecord
from wdiv.store.wholes import whole_name

__all__ = ["StoreEntrypoint", "open_groups", "open_store"]

HISTORY = {
    "train_loss": {"long_name": "mean training loss over the epoch", "units": "nat"},
    "train_accuracy": {"long_name": "accuracy on the training batches as they were trained on", "units": "1"},
    "val_loss": {"long_name": "mean loss on the validation images after the epoch", "units": "nat"},
    "val_accuracy": {"long_name": "accuracy on the validation images after the epoch", "units": "1"},
    "test_accuracy": {"long_name": "accuracy on the test images after the epoch", "units": "1"},
    "seconds": {"long_name": "wall time of the epoch", "units": "s"},
    "steps": {"long_name": "optimizer steps of the epoch", "units": "1"},
    "fitted_accuracy": {"long_name": "accuracy on the training images in eval mode, after the epoch", "units": "1"},
    "n_fitted": {"long_name": "training images that fitted_accuracy is of", "units": "1"},
    "fitted_majority": {"long_name": "share of those that are of the largest class", "units": "1"},
}
OPTIONAL = ("val_loss", "val_accuracy", "steps", "fitted_accuracy", "n_fitted", "fitted_majority")
"""Of runs that hold images out; and of runs made since these are kept, the last three of epochs that may count."""
RUN_COORDS = {
    "model": "label",  # two widths of a network are two models
    **{name: name for name in ("source", "dataset", "n_train", "n_test", "strategy", "bn_mode", "seed")},
}
"""Coordinate -> field of the run's record."""
KERNEL_DIMS = {0: (), 1: ("k",), 2: ("kh", "kw"), 3: ("kd", "kh", "kw")}
RAGGED = ("bn", "norm")
"""Kinds whose tensors are a vector each, one after the other along ``channel``."""


class StoreEntrypoint(BackendEntrypoint):
    """Registered with xarray under ``wdiv``."""

    description = "Open a wdiv store of fine-tuning runs lazily"
    url = "https://github.com/wdiv/wdiv"
    open_dataset_parameters = ("filename_or_obj", "drop_variables", "group")
    supports_groups = True

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        return isinstance(filename_or_obj, (str, os.PathLike)) and any(Path(filename_or_obj).glob("runs/*/run.json"))

    def open_groups_as_dict(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
    ) -> dict[str, xr.Dataset]:
        dropped = [drop_variables] if isinstance(drop_variables, str) else list(drop_variables or ())
        groups = open_groups(CheckpointStore.open(filename_or_obj), group)
        return {path: node.drop_vars(dropped, errors="ignore") for path, node in groups.items()}

    def open_datatree(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
    ) -> xr.DataTree:
        return xr.DataTree.from_dict(
            self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables, group=group)
        )

    def open_dataset(
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        group: str | None = None,
    ) -> xr.Dataset:
        """One node; ``group`` is its path, e.g. ``/bn`` or ``/history`` (default ``/``)."""
        groups = self.open_groups_as_dict(filename_or_obj, drop_variables=drop_variables)
        path = "/" + (group or "").strip("/")
        if path not in groups:
            raise BadInput(f"{filename_or_obj}: no group {path!r}; {did_you_mean(path, groups)}")
        node = groups[path]
        return groups["/"].assign(node.variables).set_coords(list(node.coords)) if path != "/" else groups["/"]


def open_store(path: StoreLike, group: str | None = None) -> xr.DataTree:
    """``xr.open_datatree(path, engine="wdiv", group=group)``: a store, opened without reading a tensor.

    path  its folder, or the :class:`~wdiv.store.reader.CheckpointStore` that was opened there
    """
    return StoreEntrypoint().open_datatree(path, group=group)


def open_groups(store: CheckpointStore, label: str | None = None) -> dict[str, xr.Dataset]:
    """Node path -> dataset for the runs of one architecture of the store."""
    groups = store.by_label()
    if not groups:
        raise BadStore(f"{store.path}: no run has saved an epoch yet")
    if label is None and len(groups) > 1:
        raise BadInput(f"{store.path}: holds several architectures; give --group (group=) one of {', '.join(groups)}")
    label = label.strip("/") if label else next(iter(groups))
    if label not in groups:
        raise BadInput(f"{store.path}: no architecture {label!r}; {did_you_mean(label, groups)}")
    return _groups(store, label, groups[label])


def _groups(store: CheckpointStore, label: str, runs: Sequence[Run]) -> dict[str, xr.Dataset]:
    table = runs[0].record.table
    for run in runs:
        if {x.name: x.shape for x in run.record.table} != {x.name: x.shape for x in table}:
            raise BadStore(f"{run.path}: its layers are not those of {runs[0].path}, though both are {label!r}")
    histories = [[_with_steps(run, row) for row in run.history()] for run in runs]
    epochs = sorted({row["epoch"] for rows in histories for row in rows})
    axis = Axis(tuple(runs), tuple(epochs), tuple(frozenset(run.epochs()) for run in runs))
    _tell_missing(runs)
    groups = {
        "/": _root(store, label, axis, table),
        "/history": _history(axis, histories),
        **_predictions(axis),
        "/weights": xr.Dataset(),
        "/pretrained": xr.Dataset(),
        "/pretrained/weights": xr.Dataset(),
    }
    for kind in KINDS:
        layers = table.of(kind)
        if layers:
            groups[f"/{kind}"] = _kind(axis, kind, layers)
            if kind in RAGGED:
                groups[f"/pretrained/{kind}"] = xr.Dataset(_ragged(PretrainedTensor, ("run",), axis, layers))
    for layer in table.of("conv", "linear", "fc"):
        groups[f"/weights/{layer.name}"] = xr.Dataset(_raw(RunTensor, ("run", "epoch"), axis, layer))
        groups[f"/pretrained/weights/{layer.name}"] = xr.Dataset(_raw(PretrainedTensor, ("run",), axis, layer))
    return groups


def _tell_missing(runs: Sequence[Run]) -> None:
    for run in runs:
        if run.missing:
            gone = f"{'epochs' if len(run.missing) > 1 else 'epoch'} {spell(run.missing)}"
            told = "no longer there, and not thinned by wdiv"
            warnings.warn(f"{run.path.name}: {gone} left out: {told}", LeftOut, stacklevel=4)


def _root(store: CheckpointStore, label: str, axis: Axis, table: LayerTable) -> xr.Dataset:
    records = [run.record for run in axis.runs]
    values = {name: np.array([getattr(record, field) for record in records]) for name, field in RUN_COORDS.items()}
    columns = {name: _text(column) if column.dtype.kind == "U" else column for name, column in values.items()}
    return xr.Dataset(
        {name: (("run", "epoch"), values, attrs) for name, (values, attrs) in _saved(axis).items()},
        coords={
            "run": _text([record.id for record in records]),
            "epoch": np.array(axis.epochs),
            **{name: ("run", column) for name, column in columns.items()},
            **_folds(records),
            "final": ("run", np.array([run.final for run in axis.runs]), {"long_name": "the epoch that counts"}),
            "state": (
                "run",
                _text([run.state for run in axis.runs]),
                {"long_name": "finished, unfinished or diverged"},
            ),
        },
        attrs={
            "architecture": label,
            "layer_order": table.order,
            "epoch_0": "before the first step",
            "title": f"wdiv store {store.path.name}",
        },
    )


def _folds(records: Sequence[RunRecord]) -> dict[str, Any]:
    """``fold`` ``of`` how many, in which ``repeat``, of cross-validation, 0 where a run is of none, and ``whole``, what
    its folds are called together; nothing where no run is of any."""
    if all(record.fold is None for record in records):
        return {}
    about = {"fold": ("number", "which part of the images tested it"), "folds": ("of", "in how many they are divided"),
             "repeat": ("repeat", "in which division")}  # fmt: skip
    told = {
        name: ("run", np.array([(record.fold or {}).get(field, 0) for record in records]), {"long_name": words})
        for name, (field, words) in about.items()
    }
    return told | {"whole": ("run", _text(whole_name(record.id, record.fold) for record in records))}


def _saved(axis: Axis) -> dict[str, tuple[list[list[bool]], dict[str, str]]]:
    """Which epochs are there, and, where there are any, which were and are not kept."""
    saved = [[epoch in saved for epoch in axis.epochs] for saved in axis.saved]
    thinned = [[epoch in gone for epoch in axis.epochs] for gone in ({*run.thinned} for run in axis.runs)]
    about = {"long_name": "trained, and its weights are not kept"}
    return {"saved": (saved, {}), **({"thinned": (thinned, about)} if any(map(any, thinned)) else {})}


def _with_steps(run: Run, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A history row; of a run of before they were counted, with the steps that its recipe tells."""
    each = run.record.steps_per_epoch
    return row if "steps" in row or each is None else {**row, "steps": each if row["epoch"] else 0}


def _history(axis: Axis, histories: Sequence[Sequence[Mapping[str, Any]]]) -> xr.Dataset:
    place = {epoch: j for j, epoch in enumerate(axis.epochs)}
    shape = (len(axis.runs), len(axis.epochs))
    every = [row for rows in histories for row in rows]
    names = [name for name in HISTORY if name not in OPTIONAL or any(name in row for row in every)]
    kinds = tuple(dict.fromkeys([*KINDS, *(kind for row in every for kind in row.get("lr") or {})]))
    values = {name: np.full(shape, np.nan) for name in names}
    lr = np.full((*shape, len(kinds)), np.nan)
    for i, rows in enumerate(histories):
        for row in rows:
            at = (i, place[row["epoch"]])
            for name, column in values.items():
                column[at] = np.nan if row.get(name) is None else row[name]
            for kind, rate in (row.get("lr") or {}).items():
                lr[(*at, kinds.index(kind))] = rate
    variables = {name: (("run", "epoch"), column, HISTORY[name]) for name, column in values.items()}
    return xr.Dataset(
        {**variables, "lr": (("run", "epoch", "kind"), lr, {"long_name": "learning rate", "units": "1"})},
        coords={"kind": _text(kinds)},
    )


def _predictions(axis: Axis) -> dict[str, xr.Dataset]:
    """The node of what networks gave images; none where nothing is kept. Runs of one split share its images."""
    asked = [predictions.asked(run) for run in axis.runs]
    if not any(asked):
        return {}
    records = [run.record for run in axis.runs]
    images: dict[tuple[str, bool, int], int] = {}  # split, whether of a test set apart, row there -> place
    told: dict[int, tuple[str, int]] = {}  # place -> name and label
    lists: dict[tuple[str, bool, str], np.ndarray] = {}

    def places(split: str, apart: bool, listed: predictions.ImageList) -> np.ndarray:
        known = lists.get((split, apart, listed.digest))
        if known is None:
            keys = [(split, apart, row) for row in listed.rows.tolist()]
            known = np.array([images.setdefault(key, len(images)) for key in keys], dtype=np.int64)
            told.update(zip(known.tolist(), zip(listed.names, listed.labels.tolist(), strict=True), strict=True))
            lists[split, apart, listed.digest] = known
        return known

    where = [
        {
            part: places(record.data_digest, part == "test" and record.fold is None, listed)
            for part, listed in of_run.items()
        }
        for record, of_run in zip(records, asked, strict=True)
    ]
    parts = np.full((len(records), len(images)), "", dtype=object)
    for row, of_run in zip(parts, where, strict=True):
        for part, found in of_run.items():
            row[found] = part
    named = np.array([record.class_names for record in records], dtype=object)
    alike = len({record.class_names for record in records}) == 1
    logits, order = RunLogits(axis, where, len(images), records[0].classes), range(len(images))
    about = {"long_name": "what the network gives an image", "units": "1"}
    return {
        "/predictions": xr.Dataset(
            {"logits": _lazy(("run", "epoch", "image", "class"), logits, about)},
            coords={
                "class": _text(named[0] if alike else range(named.shape[1])),
                **(
                    {} if alike else {"class_name": (("run", "class"), named, {"long_name": "where runs differ in it"})}
                ),
                "label": ("image", np.array([told[i][1] for i in order]), {"long_name": "index of its class"}),
                "file": ("image", _text(told[i][0] for i in order), {"long_name": "name of its file"}),
                "part": (("run", "image"), parts, {"long_name": "test or validation; empty: the run was not asked"}),
                "probabilities": ("run", _text(map(predictions.spelled, records)), {"long_name": "what makes them"}),
            },
        )
    }


def _kind(axis: Axis, kind: str, layers: Sequence[Layer]) -> xr.Dataset:
    variables: dict[str, Any]
    if kind in RAGGED:
        variables = _ragged(RunTensor, ("run", "epoch"), axis, layers)
    else:
        dims = ("run", "epoch", "layer")
        variables = {m: _lazy(dims, LayerMoment(axis, layers, m), _moment_attrs(m, "layer")) for m in ("mean", "std")}
    if kind == "conv":
        dims = ("run", "epoch", "filter")
        for m in ("mean", "std"):
            variables[f"filter_{m}"] = _lazy(dims, FilterMoment(axis, layers, m), _moment_attrs(m, "filter"))
        variables |= _ragged_index("filter", layers)
    roles = [role for role in ROLES[kind] if any(role in layer.roles for layer in layers)]
    present = np.array([[role in layer.roles for role in roles] for layer in layers], dtype=bool)

    def of_each_run(fact: Callable[[Run, Layer, str], bool]) -> np.ndarray:
        found = [[[fact(run, layer, role) for role in roles] for layer in layers] for run in axis.runs]
        return np.array(found, dtype=bool) & present

    frozen = of_each_run(lambda run, layer, role: run.is_frozen(layer, role))
    started = of_each_run(lambda run, layer, role: run.has_pretrained(layer.key(role)))
    complexes = of_each_run(lambda run, layer, role: run.is_complex(layer.key(role)))
    dims = ("run", "layer", "role")
    if complexes.any():
        told = {"long_name": "it is kept as complex numbers: NaN here, and compared with nothing"}
        variables["complex"] = (dims, complexes, told)
    variables |= {
        "present": (dims[1:], present, {"long_name": "the layer has such a tensor"}),
        "frozen": (dims, frozen, {"long_name": "no epoch may change this tensor, and none did"}),
        "started": (dims, started, {"long_name": "it started from the source's weights, not at random"}),
    }
    return xr.Dataset(variables, coords={**LayerTable.coords(layers), "role": _text(roles)})


def _moment_attrs(moment: str, of: str) -> dict[str, str]:
    words = {"mean": "mean", "std": "standard deviation (ddof 0)"}
    return {"long_name": f"{words[moment]} of the weights of a {of}", "units": "1"}


def _ragged(array: Any, leading: tuple[str, ...], axis: Axis, layers: Sequence[Layer]) -> dict[str, Any]:
    dims = (*leading, "channel")
    roles = [role for role in ROLES[layers[0].kind] if any(role in layer.roles for layer in layers)]
    return {role: _lazy(dims, array(axis, layers, role, ragged=True)) for role in roles} | _ragged_index(
        "channel", layers
    )


def _ragged_index(dim: str, layers: Sequence[Layer]) -> dict[str, Any]:
    """CF contiguous ragged: how many outputs each layer has, and for each output, whose it is."""
    sizes = np.array([layer.outputs for layer in layers])
    return {
        "row_size": ("layer", sizes, {"sample_dimension": dim, "long_name": f"{dim}s of each layer"}),
        "layer_index": (dim, np.repeat(np.arange(len(sizes)), sizes), {"instance_dimension": "layer"}),
    }


def _raw(array: Any, leading: tuple[str, ...], axis: Axis, layer: Layer) -> dict[str, Any]:
    channels = ("out", "in")
    if layer.transposed:
        channels = ("in", "out" if layer.groups == 1 else "out_of_group")  # the bias has as many as all groups together
    dims = {"weight": (*channels, *KERNEL_DIMS[len(layer.shape) - 2]), "bias": ("out",)}
    return {role: _lazy((*leading, *dims[role]), array(axis, (layer,), role)) for role in layer.roles}


def _lazy(dims: tuple[str, ...], array: _Lazy, attrs: Mapping[str, str] | None = None) -> xr.Variable:
    encoding = {"preferred_chunks": {dim: 1 for dim in dims if dim in ("run", "epoch")}}
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attrs, encoding)


def _text(values: Iterable[Any]) -> np.ndarray:
    """Strings as Python objects: what netCDF gives back."""
    return np.array([str(value) for value in values], dtype=object)
