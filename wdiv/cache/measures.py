"""Measures that are kept beside the store they were made of, and grow by new epochs only.

A kept value holds as long as its epoch, every epoch of that run before it, the starting weights and the reference are
the files they were; also once the epoch itself is thinned. The variable ``identity`` (run, epoch) of the kept file is
the digest of all of these.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from wdiv.cache.formats import load
from wdiv.cache.thinned import thinned, with_thinned
from wdiv.errors import BadStore
from wdiv.measure import (
    DEFAULT_METRICS,
    UNDEFINED,
    Flag,
    by_roles,
    divergence,
    roles_of,
    stored_names,
    together,
    with_derived,
)
from wdiv.metrics import FAMILIES, METRICS, Metric, metric_names
from wdiv.store.engine import open_store
from wdiv.store.files import plain_name
from wdiv.store.reader import CheckpointStore, Run, StoreLike
from wdiv.store.seals import has_tail, write_with_tail

if TYPE_CHECKING:
    from wdiv.outputs import Images

__all__ = ["STEMS", "VERSION", "epoch_fingerprints", "is_of_before", "measured", "place_of", "places_of", "write"]

STEMS: Mapping[tuple[str, bool], str] = {
    ("tensor", False): "measures", ("layer", False): "proxies", ("layer", True): "outputs",
}  # fmt: skip
"""What the metrics' values are of, and whether they need images -> what their files begin with."""

GONE = "-"
"""Before the identity of an epoch that was thinned before it was measured."""

VERSION = "3"
"""Raised when values measured by an older wdiv no longer hold."""


def measured(
    path: StoreLike,
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    reference: str | int = "pretrained",
    group: str | None = None,
    images: Images | None = None,
) -> xr.DataTree:
    """``divergence(open(path, group), metrics, reference)``, with what is known of it read from ``measures.nc``; and
    :func:`wdiv.output_change` beside it, where that is among the metrics.

    Of a store that has grown, only the new epochs are read (and what they are set against). The file is an ordinary
    netCDF file of every metric that was ever asked for here, one value a layer; :func:`place_of` says where. A folder
    that cannot be written to is measured without one.

    path    of the store, or the store that was opened there
    images  that ``output_change`` is measured on: by default the store's own, which need not be there for what is known

    Metrics of whole layers are kept in files of their own: ``outputs.nc``, and ``proxies.nc``.

    Raises what :func:`wdiv.open`, :func:`wdiv.divergence` and :func:`wdiv.output_change` raise.
    """
    store = CheckpointStore.open(path)
    tree, names = open_store(store, group), metric_names(metrics, images=True)
    return together([_kept(store, tree, one, reference, images) for one in by_roles(names)], names)


def _kept(
    store: CheckpointStore, tree: xr.DataTree, names: Sequence[str], reference: str | int, images: Images | None
) -> xr.DataTree:
    """Of metrics that have their values at the same roles, and so a file of their own."""

    def of_weights(tree: xr.DataTree, names: Sequence[str], reference: str | int, only: np.ndarray) -> xr.DataTree:
        return with_thinned(divergence(tree, names, reference, only=only), store, tree, names, reference, only)

    measure: Callable[..., xr.DataTree] = of_weights
    identity: Callable[[Run], str] = _nothing_else
    family = FAMILIES[METRICS[names[0]].family]
    if family.images:
        from wdiv.outputs import Images, Starts, changes

        starts = Starts(images or Images())
        identity = starts.identity

        def of_outputs(tree: xr.DataTree, _names: Sequence[str], reference: str | int, only: np.ndarray) -> xr.DataTree:
            return changes(store, tree, starts, reference, only=only)

        measure = of_outputs

    file = place_of(store, tree, reference, STEMS[family.per, family.images])
    fingerprint = _fingerprints(store, tree, reference, identity)
    kept = _read(file, tree, reference, names[0])
    known = [] if kept is None else _metrics_of(kept)
    new = [name for name in stored_names(names) if name not in known]
    had = np.full(fingerprint.shape, "") if kept is None else kept.to_dataset()["identity"].values
    have = (had == fingerprint.values) & (had != "")  # of an epoch that is not there any more too
    unknown = (GONE + fingerprint).values  # thinned before it was measured
    settled = have | (had == fingerprint.values) | (thinned(tree) & (had == unknown))
    if kept is None or new or not settled.all():
        before = {} if kept is None else kept.attrs
        fresh = measure(tree, [*known, *new], reference, only=~have)
        extra = measure(tree, new, reference, only=have) if new and have.any() else None
        kept = fresh if kept is None or not have.any() else _joined(have, kept, extra, fresh)
        lost = thinned(tree) & ~have & ~_is_known(fresh)
        root = fresh.to_dataset().assign(identity=fingerprint.copy(data=np.where(lost, unknown, fingerprint)))
        root.attrs = {**before, **fresh.attrs, "wdiv_measures": VERSION}
        kept = xr.DataTree.from_dict({"/": root, **{f"/{k}": node.to_dataset() for k, node in kept.children.items()}})
        write(kept, file)
    return _asked(kept, names)


def _is_known(div: xr.DataTree) -> np.ndarray:
    """(run, epoch), true where a tree has values, as its flags tell."""
    nodes = (node.to_dataset()["flag"].transpose("run", "epoch", ...).values for node in div.children.values())
    kinds = [((flags & int(Flag.NOT_SAVED | Flag.ABSENT)) == 0).any(axis=(2, 3)) for flags in nodes]
    return np.logical_or.reduce(kinds)


def _nothing_else(_run: Run) -> str:
    return ""


def places_of(path: StoreLike, tree: xr.DataTree, reference: str | int, metrics: Sequence[str]) -> list[Path]:
    """The files that measures of these metrics are kept in."""
    families = (FAMILIES[METRICS[group[0]].family] for group in by_roles(metrics))
    return [place_of(path, tree, reference, STEMS[family.per, family.images]) for family in families]


def place_of(path: StoreLike, tree: xr.DataTree, reference: str | int, stem: str = "measures") -> Path:
    """The file for measures of a store's architecture against a reference.

    ``measures.nc``, or ``measures-ARCHITECTURE.nc`` where the store holds several. It is for the first reference that
    is measured there; another one's is ``measures-…-REFERENCE.nc``.
    """
    store = CheckpointStore.open(path)
    stem += f"-{plain_name(str(tree.attrs['architecture']))}" if len(store.by_label()) > 1 else ""
    first = store.path / f"{stem}.nc"
    if not first.exists() or _attrs(first).get("reference", str(reference)) == str(reference):
        return first
    return store.path / f"{stem}-{plain_name(str(reference))}.nc"


def _attrs(file: Path) -> dict[str, object]:
    if not has_tail(file):  # damaged, or of before there were tails: it is measured anew, and replaced
        return {}
    try:
        with xr.open_dataset(file) as root:
            return dict(root.attrs)
    except (OSError, ValueError):
        return {}


def _read(file: Path, tree: xr.DataTree, reference: str | int, metric: str) -> xr.DataTree | None:
    """What is kept, over the runs and epochs of the tree; None where it is not of this tree.

    metric: one of those that are kept in the file.
    """
    about = _attrs(file) if file.exists() else {}
    if about.get("wdiv_measures") != VERSION or about.get("reference") != str(reference):
        return None
    try:
        kept = load(file)
    except BadStore:  # damaged further on
        return None
    if set(kept.children) != {kind for kind, node in tree.children.items() if "role" in node.coords}:
        return None
    root = tree.to_dataset()
    places = {name: root[name].values for name in ("run", "epoch")}
    fill = {"identity": "", "flag": 0}
    fingerprint = kept.to_dataset()[["identity"]].reset_coords(drop=True).reindex(places, fill_value=fill)
    about = kept.attrs | {name: value for name, value in tree.attrs.items() if name in kept.attrs}
    nodes = {"/": fingerprint.assign_coords(root.coords).assign_attrs(about)}
    for kind, node in kept.children.items():
        data, now = node.to_dataset(), tree.children[kind].to_dataset()
        wanted = {name: now[name].values for name in data.coords if name not in places}
        if FAMILIES[METRICS[metric].family].per == "layer":
            wanted["role"] = np.array(roles_of(metric, kind), dtype=object)
        if any(not np.array_equal(data[name].values, values) for name, values in wanted.items()):
            return None
        nodes[f"/{kind}"] = data.reindex(places, fill_value=fill).drop_vars(list(places))
    return xr.DataTree.from_dict(nodes)


def _fingerprints(
    store: CheckpointStore, tree: xr.DataTree, reference: str | int, identity: Callable[[Run], str]
) -> xr.DataArray:
    """identity: what values depend on besides the files of a run."""
    root = tree.to_dataset()
    runs, epochs = root["run"].values.tolist(), root["epoch"].values.tolist()
    there = {run.record.id: run for run in store}
    of_runs = {run: epoch_fingerprints(there[run]) for run in runs}

    def against(run: str, epoch: int) -> str:
        if isinstance(reference, str) and reference in of_runs:
            return of_runs[reference].get(epoch, "")
        return of_runs[run].get(int(reference), "") if str(reference).isdecimal() else ""

    found = [
        [f"{of_runs[run][epoch]}{against(run, epoch)}{besides}" if epoch in of_runs[run] else "" for epoch in epochs]
        for run in runs
        for besides in [identity(there[run])]
    ]
    attrs = {"long_name": "digest of the files a value was measured from"}
    values = np.array(found, dtype=object).reshape(len(runs), len(epochs))
    return xr.DataArray(values, dims=("run", "epoch"), coords={"run": root["run"], "epoch": root["epoch"]}, attrs=attrs)


def epoch_fingerprints(run: Run) -> dict[int, str]:
    """Epoch -> digest of it and of all that went before.

    Raises :class:`~wdiv.errors.Damaged` for an imported run one of whose files is another one now.
    """
    foreign = run.imported
    if foreign is not None:
        foreign.check()
    start = run.record.base if foreign is None else foreign.base  # its files, and what was matched in them
    digest, found = hashlib.sha256(f"{VERSION} {start}".encode()), {}
    for row in run.history():
        digest.update(f" {row['epoch']}:{row.get('sha256') or row.get('identity')}".encode())
        found[int(row["epoch"])] = digest.hexdigest()[:16]
    return found


def _metrics_of(kept: xr.DataTree) -> list[str]:
    node = next(iter(kept.children.values())).to_dataset()
    return [str(name) for name in node.data_vars if name in METRICS]


def _joined(have: np.ndarray, kept: xr.DataTree, extra: xr.DataTree | None, fresh: xr.DataTree) -> xr.DataTree:
    """What is kept where it holds, beside it the metrics that are new, and elsewhere what has just been measured."""
    held = xr.DataArray(have, dims=("run", "epoch"))
    nodes = {"/": fresh.to_dataset()}
    for name, node in fresh.children.items():
        now, old = node.to_dataset(), kept.children[name].to_dataset()
        more = None if extra is None else extra.children[name].to_dataset()
        flags = old["flag"] if more is None else old["flag"] | more["flag"]
        for metric in _metrics_of(fresh):
            before = old if metric in old or more is None else more
            now[metric].values = xr.where(held, before[metric], now[metric]).transpose(*now[metric].dims).values
        now["flag"].values = xr.where(held, flags, now["flag"]).transpose(*now["flag"].dims).values
        nodes[f"/{name}"] = now
    return xr.DataTree.from_dict(nodes)


def _asked(kept: xr.DataTree, names: Sequence[str]) -> xr.DataTree:
    """What was asked for, and of the flags those that it raises."""
    stored = stored_names(names)
    root = kept.to_dataset().drop_vars("identity")
    root.attrs.pop("wdiv_measures")
    nodes = {"/": root}
    for kind, node in kept.children.items():
        data = node.to_dataset()[[*stored, "flag"]]
        flags = np.zeros_like(data["flag"].values)
        for name in stored:
            flags |= np.where(data[name].isnull(), _raised(METRICS[name], data["flag"].values), 0)
        nodes[f"/{kind}"] = data.assign(flag=(data["flag"].dims, flags, data["flag"].attrs))
    return with_derived(xr.DataTree.from_dict(nodes), names)


def _raised(metric: Metric, flags: np.ndarray) -> np.ndarray:
    """Of flags those that say why values of this metric are NaN; the others are another metric's."""
    others = [flag for what, flag in UNDEFINED.items() if what != metric.undefined]
    if metric.family == "trajectory":
        others += [Flag.NO_START, Flag.FIRST_EPOCH]
    if metric.family == "spectral":
        vector = (flags & int(Flag.NO_MATRIX)) != 0
        flags = np.where(vector, flags & ~int(Flag.ZERO_NORM), flags)
    else:
        others.append(Flag.NO_MATRIX)
    return flags & ~sum(map(int, others))


def is_of_before(file: Path) -> bool:
    """True if measures, or pairs, are of a wdiv that sealed no files. No single bit makes one of its own say so."""
    try:
        with xr.open_dataset(file) as root:
            return "1" in (root.attrs.get("wdiv_measures"), root.attrs.get("wdiv_pairs"))
    except Exception:  # damaged bytes can make a reader raise anything
        return False


def write(kept: xr.DataTree, file: Path) -> None:
    """Keep a tree, unless the folder is somebody else's and cannot be written to."""
    try:
        write_with_tail(file, lambda temporary: kept.to_netcdf(temporary))
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
