"""How far chosen pairs of runs lie from one another, kept beside the store they were measured in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import xarray as xr

from wdiv.cache.formats import load
from wdiv.cache.measures import VERSION, epoch_fingerprints, write
from wdiv.errors import BadInput, BadStore
from wdiv.measure import DEFAULT_METRICS, pairwise
from wdiv.measure.columns import columns, kinds_of
from wdiv.metrics import METRICS, metric_names
from wdiv.registry import did_you_mean
from wdiv.store.engine import open_store
from wdiv.store.files import plain_name
from wdiv.store.reader import CheckpointStore, StoreLike
from wdiv.store.seals import has_tail

__all__ = ["Pair", "measured_pairs"]

Pair = tuple[str, str]
"""The ids of two runs, the first being the reference."""
HELD = 1 << 26
"""Elements of one tensor in several runs that a core holds at once (256 MiB of float32), but for larger clusters."""
MOST = 32
"""Runs that are measured together, but for larger clusters: what they are measured into grows by their square."""


def measured_pairs(
    path: StoreLike,
    pairs: Sequence[Pair],
    metrics: str | Sequence[str] = DEFAULT_METRICS,
    group: str | None = None,
) -> xr.DataTree:
    """metric(run, run_b) for each of these pairs of runs of one architecture, each after its epoch that counts.

    Returns a tree with a node for each kind of layer, of dims (pair, layer, role); the root names ``run`` and
    ``run_b`` of each pair. The values are those of :func:`wdiv.pairwise`, of which only these are computed, and kept in
    ``pairs.nc`` (``pairs-ARCHITECTURE.nc`` where the store holds several): a pair is measured anew only if one of its
    runs has changed, or if another metric is asked for. Pairs that were asked for before stay.

    Raises what :func:`wdiv.open` and :func:`wdiv.pairwise` raise, and :class:`~wdiv.errors.BadInput` for no pairs and
    for a run that is not there.
    """
    store = CheckpointStore.open(path)
    tree, names = open_store(store, group), metric_names(metrics, follows_epochs=False)
    runs, asked = tree.to_dataset()["run"].values.tolist(), list(dict.fromkeys(pairs))
    for run in (run for pair in asked for run in pair):
        if run not in runs:
            raise BadInput(f"{store.path}: no run {run!r}; {did_you_mean(run, runs)}")
    if not asked:
        raise BadInput(f"{store.path}: no pairs of runs to measure")
    there = {run.record.id: run for run in store}

    @cache
    def state(run: str) -> str:
        return epoch_fingerprints(there[run])[there[run].final or 0]

    tail = f"-{plain_name(str(tree.attrs['architecture']))}" if len(store.by_label()) > 1 else ""
    file = store.path / f"pairs{tail}.nc"
    kept = _read(file, tree)
    known = [] if kept is None else [name for name in METRICS if name in next(iter(kept.children.values()))]
    old: dict[Pair, int] = {}  # what still holds, whether it was asked for now or not
    have: dict[Pair, str] = {}
    if kept is not None:
        columns = (kept.to_dataset()[name].values.tolist() for name in ("run", "run_b", "identity", "metrics"))
        for i, (a, b, digest, measured) in enumerate(zip(*columns, strict=True)):
            if a in runs and b in runs and digest == state(a) + state(b):
                old[a, b], have[a, b] = i, measured
    place = {pair: i for pair, i in old.items() if set(names) <= set(have[pair].split())}
    new = [pair for pair in asked if pair not in place]
    if new or kept is None:
        every = tuple(dict.fromkeys([*known, *names]))
        others = {pair: i for pair, i in old.items() if pair not in new}
        parts = [] if kept is None or not others else [_with_columns(_rows(kept, list(others.values())), every)]
        clusters = _clusters(new, min(MOST, HELD // _largest(tree)))
        parts += [_measure(tree, cluster, every) for cluster in clusters]
        order = [*others, *(pair for cluster in clusters for pair in cluster)]
        told = {
            pair: (state(pair[0]) + state(pair[1]), have[pair] if pair in others else " ".join(every)) for pair in order
        }
        kept = _joined(parts, told)
        write(kept, file)
        place = {pair: i for i, pair in enumerate(order)}
    nodes = _rows(kept, [place[pair] for pair in asked])
    return _tree({kind: data[[*names, "flag"]] for kind, data in nodes.items()}, asked)


def _read(file: Path, tree: xr.DataTree) -> xr.DataTree | None:
    """What is kept; None where it is not of these layers, damaged, or an older wdiv's."""
    try:
        kept = load(file) if has_tail(file) else None
    except BadStore:
        return None
    if kept is None:
        return None
    if kept.attrs.get("wdiv_pairs") != VERSION or not kept.children:
        return None
    for kind, node in kept.children.items():
        if kind not in tree.children:
            return None
        old, now = node.to_dataset(inherit=False), tree.children[kind].to_dataset()
        if any(not np.array_equal(old[name].values, now[name].values) for name in old.coords):
            return None
    return kept


def _clusters(pairs: Sequence[Pair], most: int = 0) -> list[list[Pair]]:
    """Pairs that share runs, together: a run's tensors are read once for all that it is compared with.

    And small clusters together, up to so many runs: going through a store has its price, however few are looked at.

    >>> _clusters([("a", "b"), ("c", "d"), ("b", "e")])
    [[('c', 'd')], [('a', 'b'), ('b', 'e')]]
    >>> _clusters([("a", "b"), ("c", "d"), ("b", "e")], most=5)
    [[('c', 'd'), ('a', 'b'), ('b', 'e')]]
    """
    found: list[list[Pair]] = []
    for pair in pairs:
        touching = [cluster for cluster in found if any(set(pair) & set(other) for other in cluster)]
        found = [cluster for cluster in found if cluster not in touching]
        found.append([*(other for cluster in touching for other in cluster), pair])
    together: list[list[Pair]] = []
    for cluster in found:
        if together and len({run for pair in (*together[-1], *cluster) for run in pair}) <= most:
            together[-1] += cluster
        else:
            together.append(cluster)
    return together


def _largest(tree: xr.DataTree) -> int:
    """Elements of the largest tensor."""
    return max(column.size for kind in kinds_of(tree) for column in columns(tree, kind, "layer"))


def _measure(tree: xr.DataTree, pairs: Sequence[Pair], metrics: Sequence[str]) -> dict[str, xr.Dataset]:
    runs = list(dict.fromkeys(run for pair in pairs for run in pair))
    a, b = ([runs.index(pair[side]) for pair in pairs] for side in (0, 1))
    only = np.zeros((len(runs), len(runs)), dtype=bool)
    only[a, b] = True
    every = tree.to_dataset()["run"].values.tolist()
    found = pairwise(tree.isel(run=[every.index(run) for run in runs]), metrics, only=only)
    places = {"run": xr.DataArray(a, dims="pair"), "run_b": xr.DataArray(b, dims="pair")}
    return {kind: node.to_dataset(inherit=False).isel(places) for kind, node in found.children.items()}


def _rows(kept: xr.DataTree, places: list[int]) -> dict[str, xr.Dataset]:
    return {kind: node.to_dataset(inherit=False).isel(pair=places) for kind, node in kept.children.items()}


def _with_columns(part: dict[str, xr.Dataset], metrics: Sequence[str]) -> dict[str, xr.Dataset]:
    """Metrics that some pairs were never measured with, as NaN."""
    found = {}
    for kind, data in part.items():
        like = data[next(name for name in data.data_vars if name in METRICS)]
        found[kind] = data.assign({name: like * np.nan for name in metrics if name not in data})
    return found


def _joined(parts: Sequence[dict[str, xr.Dataset]], told: dict[Pair, tuple[str, str]]) -> xr.DataTree:
    """told: for each pair, in order, the digest of what it was measured from, and the metrics."""
    nodes = {}
    for kind in parts[0]:
        whole = xr.concat([part[kind] for part in parts], "pair", coords="minimal", compat="override")
        nodes[kind] = whole.assign(
            {name: whole[name].assign_attrs(parts[-1][kind][name].attrs) for name in whole.data_vars}
        )
    tree = _tree(nodes, list(told))
    digests, metrics = (np.array(column, dtype=object) for column in zip(*told.values(), strict=True))
    root = tree.to_dataset().assign(
        identity=("pair", digests, {"long_name": "digest of the files a value was measured from"}),
        metrics=("pair", metrics, {"long_name": "what a pair was measured with; other metrics are NaN"}),
    )
    root = root.assign_attrs(wdiv_pairs=VERSION)
    return xr.DataTree.from_dict({"/": root, **{f"/{kind}": data for kind, data in nodes.items()}})


def _tree(nodes: dict[str, xr.Dataset], pairs: Sequence[Pair]) -> xr.DataTree:
    sides = {
        name: ("pair", np.array([pair[i] for pair in pairs], dtype=object)) for i, name in enumerate(("run", "run_b"))
    }
    root = xr.Dataset(coords=sides, attrs={"direction": "metric(run, run_b)"})
    return xr.DataTree.from_dict({"/": root, **{f"/{kind}": data for kind, data in nodes.items()}})
