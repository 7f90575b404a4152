"""Everything that was observed in some stores, as one long table: what claims, tables and figures are made of.

One row a value. A store is one condition of a study (a source, a rate, a data set); its name is ``""`` where a study
has none. Divergence is counted from the start of each run, and between runs that differ in the number of images alone.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import trials
from studies.grid import domain_distance
from studies.grid.results import architectures
from studies.spec.columns import ACCURACIES, COLUMNS, DISTANCES, LAYERS, OPTIONAL, RUN, SCORED
from wdiv import summary
from wdiv.cache.measures import measured
from wdiv.cache.pairs import measured_pairs
from wdiv.errors import BadStore
from wdiv.measure import Flag
from wdiv.measure.reference import final_positions
from wdiv.metrics import FAMILIES, METRICS, metric_names
from wdiv.store.engine import open_store
from wdiv.store.files import write_atomically
from wdiv.store.reader import CheckpointStore, StoreLike
from wdiv.store.stages import BESIDE, OUTSIDE
from wdiv.tuning.networks.models import ModelSpec

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = [
    "HALVES", "START", "layer_distances", "observe", "observe_distances", "read_observations",
    "typed", "write_observations",
]  # fmt: skip

TYPES = {"n_train": "int64", "seed": "int64", "depth": "int64", "value": "float64", "steps": "float64"}
"""Of columns that are no text."""
START = "start"
"""``against``: the run's own state before the first step. Otherwise ``per_class`` of the larger run of a pair."""
HALVES = ("all", "shallow", "deep", "last")
"""Parts of the trunk, beside its stages."""


def observe(
    stores: Mapping[str, StoreLike],
    metrics: str | Sequence[str] = ("relative_l2",),
    reference: str | int = 0,
    distances: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a value of every run and every baseline of some stores, in the columns
    :data:`~studies.spec.columns.COLUMNS` and :data:`~studies.spec.columns.OPTIONAL`.

    stores     condition -> a store, or its folder;  distances: :func:`layer_distances` of the same, where they are at
               hand
    reference  that divergence is counted from: 0, called ``start``, or ``pretrained``

    measure ``accuracy``, ``train_accuracy`` and ``fitted_accuracy``: after the epoch that counts, as far as they are
    known (:data:`~studies.spec.columns.ACCURACIES`); of a baseline not the second.
    A metric's name: its median over layers of one kind and role, which no single layer decides. ``part`` says which:
    ``all`` of the trunk, its ``shallow`` and ``deep`` halves by depth (the middle one of an odd number belongs to
    neither), the ``last`` layer, or those of one stage; a stage outside of the trunk counts for no part but itself. A
    frozen layer counts as the metric's value for equal tensors, one whose value is undefined not at all; a part without
    a layer has no row.
    ``against`` is the reference or, for the smaller of two runs that differ in ``per_class`` alone, the larger one's:
    metric(smaller, larger).

    Raises :class:`~wdiv.errors.UnknownName` for an unknown metric and :class:`~wdiv.errors.BadStore` for a folder that
    holds no runs and no baselines.
    """
    import pandas as pd

    opened = {condition: CheckpointStore.at(store) for condition, store in stores.items()}
    if distances is None:
        distances = layer_distances(opened, metrics, reference)
    found = [_accuracies(condition, store) for condition, store in opened.items()]
    return typed(pd.concat([*found, _parts(distances)], ignore_index=True))


def layer_distances(
    stores: Mapping[str, StoreLike], metrics: str | Sequence[str] = ("relative_l2",), reference: str | int = 0
) -> pd.DataFrame:
    """One row a run, metric, ``against`` and layer, in the columns :data:`DISTANCES` and
    :data:`~studies.spec.columns.OPTIONAL`; ``value`` is NaN where undefined.

    Both the divergence from the reference and that between sizes are kept in the stores, and measured once.
    """
    import pandas as pd

    names, frames = metric_names(metrics, images=True), []
    for condition, path in stores.items():
        store = CheckpointStore.at(path)
        for label in _labels(store):
            runs = _runs(condition, store, label)
            if runs.empty:
                continue
            frames += _from_start(store, label, runs, names, reference)
            frames += _between_sizes(store, label, runs, names)
    empty = pd.DataFrame(columns=[*DISTANCES, *OPTIONAL])
    return typed(pd.concat(frames, ignore_index=True) if frames else empty, DISTANCES)


def typed(table: pd.DataFrame, columns: Sequence[str] = COLUMNS) -> pd.DataFrame:
    """Some columns of a table, in their order, and those of :data:`~studies.spec.columns.OPTIONAL` that it has, each of
    the type that observations have it in."""
    names = [*columns, *_optional(table)]
    types: dict[str, Any] = {name: TYPES.get(name, "str") for name in names}
    return table[names].astype(types)


def _optional(table: pd.DataFrame) -> list[str]:
    return [name for name in OPTIONAL if name in table]


def write_observations(table: pd.DataFrame, path: Path) -> Path:
    """Write a table of :func:`observe` or :func:`layer_distances` as CSV, packed where the name ends in ``.gz``."""
    text = table.to_csv(index=False).encode()
    if Path(path).suffix == ".gz":
        text = gzip.compress(text, mtime=0)  # equal tables are equal files
    return write_atomically(Path(path), lambda temporary: temporary.write_bytes(text))


def read_observations(path: Path) -> pd.DataFrame:
    """Read what :func:`write_observations` wrote. Raises :class:`~wdiv.errors.BadStore`."""
    import pandas as pd

    path = Path(path)
    try:
        # text is read as it stands: "" and "NA" are names like others
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8")
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file") from None
    except (OSError, EOFError, zlib.error, ValueError) as error:  # all of pandas' own here are ValueErrors
        raise BadStore(f"{path}: damaged ({(str(error).splitlines() or [''])[0]})") from None
    told = set(table.columns).difference(OPTIONAL)
    columns = next((known for known in (COLUMNS, DISTANCES) if set(known) == told), None)
    if columns is None:
        lacking = [name for name in COLUMNS if name not in table.columns]
        problem = f"no column {lacking[0]!r}" if lacking else "other columns than it should have"
        raise BadStore(f"{path}: not a table of observations ({problem})")
    try:
        numbers = [name for name in ("value", "steps") if name in table]
        return typed(table.assign(**table[numbers].replace("", "nan")), columns)
    except ValueError as error:
        raise BadStore(f"{path}: damaged ({error})") from None


def observe_distances(stores: Mapping[str, StoreLike]) -> pd.DataFrame:
    """How far target and source lie apart, as rows of :func:`observe`. stores: as there.

    ``strategy``, ``run``, ``layers`` and ``part`` are empty: a distance is of images, before any training.
    """
    import pandas as pd

    empty = dict.fromkeys(("strategy", "run", "layers", "part", "trained"), "")
    rows = [
        {
            **empty, "steps": float("nan"), "condition": condition,
            "model": one.model, "source": one.source, "dataset": one.dataset,
            "per_class": _in_words(one.per_class), "n_train": one.n_train,
            "bn_mode": "frozen", "seed": one.seed, "measure": name, "against": domain_distance.AGAINST,
            "value": getattr(one, name),
        }
        for condition, path in stores.items()
        for one in domain_distance.load(CheckpointStore.at(path).path) for name in SCORED
    ]  # fmt: skip
    return typed(pd.DataFrame(rows, columns=[*COLUMNS, *OPTIONAL]))


# ------------------------------------------------------------------------------------------------------------ runs


def _labels(store: CheckpointStore) -> list[str]:
    if not (store.path / "runs").is_dir() and not (store.path / trials.FOLDER).is_dir():
        raise BadStore(f"{store.path}: holds no runs and no baselines")
    return architectures(store)


def _runs(condition: str, store: CheckpointStore, label: str, in_wholes: bool = False) -> pd.DataFrame:
    """The columns :data:`RUN`, :data:`ACCURACIES` and :data:`OPTIONAL`, one row a run; or, as for accuracies, one for
    the folds of each cross-validation."""
    import pandas as pd

    tree, records = summary.finished(open_store(store, label)), [run.record for run in store.by_label()[label]]
    root, history = tree.to_dataset(), tree.children["history"].to_dataset()
    last = final_positions(root)
    rows = pd.DataFrame({name: root[name].values for name in RUN if name in root.coords}).assign(condition=condition)
    rows["per_class"] = rows["run"].map({record.id: _in_words(record.per_class) for record in records})
    rows["model"] = rows["model"].map(_alone)
    rows["n_test"] = root["n_test"].values if "n_test" in root.coords else 0
    rows["accuracy"], rows["train_accuracy"] = (
        [float(row[at]) for row, at in zip(history[name].values, last, strict=True)]
        for name in ("test_accuracy", "train_accuracy")
    )
    learned = [summary.learned(history, run, at) for run, at in enumerate(last)]
    rows = rows.assign(**{name: [one[name] for one in learned] for name in ("fitted_accuracy", *OPTIONAL)})
    return summary.joined(rows, summary.wholes_of(root)) if in_wholes else rows


def _alone(model: str) -> str:
    """The model without the network that a strategy puts beside it: the strategy tells of that.

    >>> _alone("resnet18:beside=True"), _alone("vgg16:head=mlp512")
    ('resnet18', 'vgg16:head=mlp512')
    """
    return ModelSpec.parse(model).but(beside=None).label if f"{BESIDE}=" in model else model


def _in_words(per_class: int | None) -> str:
    return "all" if per_class is None else str(per_class)


def _accuracies(condition: str, store: CheckpointStore) -> pd.DataFrame:
    import pandas as pd

    frames = [_runs(condition, store, label, in_wholes=True) for label in _labels(store)]
    outcomes = trials.load_wholes(store.path)
    if outcomes:
        frozen = pd.DataFrame([outcome.row() | summary.fitted(outcome.fitted) for outcome in outcomes])
        frozen = frozen.rename(columns={"last": "accuracy"})
        frozen = frozen.assign(condition=condition, per_class=[_in_words(one.per_class) for one in outcomes])
        frames.append(frozen[[*RUN, "accuracy", "fitted_accuracy", "trained"]])
    if not frames:
        return pd.DataFrame(columns=[*COLUMNS, *OPTIONAL])
    table = pd.concat(frames, ignore_index=True).reindex(columns=[*RUN, *OPTIONAL, *ACCURACIES])
    long = table.melt([*RUN, *OPTIONAL], list(ACCURACIES), "measure")
    return long.dropna(subset="value").assign(against="", layers="", part="")[[*COLUMNS, *OPTIONAL]]


# ------------------------------------------------------------------------------------------------------- divergence


def _from_start(
    store: CheckpointStore, label: str, runs: pd.DataFrame, metrics: Sequence[str], reference: str | int
) -> list[pd.DataFrame]:
    div = summary.finished(measured(store, metrics, reference, label))
    against = START if str(reference) == "0" else str(reference)
    tables = {metric: summary.layers(div, metric) for metric in metrics}
    return [_long(table, runs, metric).assign(against=against) for metric, table in tables.items()]


def _between_sizes(
    store: CheckpointStore, label: str, runs: pd.DataFrame, metrics: Sequence[str]
) -> list[pd.DataFrame]:
    # two runs have no path in common, and need have no start
    able = [name for name in metrics if METRICS[name].family != "trajectory" and _of_tensors(name)]
    alike = [name for name in RUN if name not in ("per_class", "n_train", "run")]
    pairs = [
        pair
        for _, group in runs.sort_values("n_train", kind="stable").groupby(alike, sort=False)
        for pair in combinations(group["run"], 2)
    ]
    if not pairs or not able:
        return []
    tree = measured_pairs(store, pairs, able, label)
    larger = runs.set_index("run")["per_class"]
    tables = {metric: _of_pairs(tree, metric) for metric in able}
    return [
        _long(table, runs, metric).assign(against=table["run_b"].map(larger).to_numpy())
        for metric, table in tables.items()
    ]


def _of_pairs(tree: xr.DataTree, metric: str) -> pd.DataFrame:
    """As :func:`wdiv.summary.layers`, one row a (pair, layer, role)."""
    import pandas as pd

    sides = tree.to_dataset().coords  # no index, so the nodes do not have them
    frames = []
    for kind, node in tree.children.items():
        data = node.to_dataset()[[metric, "flag"]].assign_coords(run=sides["run"], run_b=sides["run_b"])
        frames.append(data.to_dataframe().reset_index().rename(columns={metric: "value"}).assign(kind=kind))
    return _told(pd.concat(frames, ignore_index=True))


def _of_tensors(metric: str) -> bool:
    return FAMILIES[METRICS[metric].family].per == "tensor"


def _told(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of tensors that are there and that :data:`LAYERS` names."""
    table = table.assign(layers=table["kind"].str.cat(table["role"].astype(str), sep=":"))
    there = (table["flag"] & int(Flag.ABSENT)) == 0
    return table[table["layers"].isin(LAYERS) & there].reset_index(drop=True)


def _long(table: pd.DataFrame, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    told = table if "layers" in table else _told(table)
    places = told[["run", "layers", "layer", "depth", "stage", "value"]].assign(measure=metric)
    return places.merge(runs[[*RUN, *OPTIONAL]], on="run", how="left", validate="many_to_one")


def _parts(distances: pd.DataFrame) -> pd.DataFrame:
    """Medians over the layers of each part: the columns of :func:`observe`."""
    import pandas as pd

    keys = [*(name for name in COLUMNS if name not in ("part", "value")), *_optional(distances)]
    table = distances.sort_values("depth", kind="stable")
    trunk = table[~table["stage"].isin(OUTSIDE)]
    groups = trunk.groupby(keys, sort=False, dropna=False)["value"]
    place, count = groups.cumcount(), groups.transform("size")
    chosen = {
        "all": trunk,
        "shallow": trunk[place < count // 2],
        "deep": trunk[place >= count - count // 2],
        "last": trunk[place == count - 1],
    }
    parts = [rows.assign(part=part) for part, rows in chosen.items()]
    parts.append(table[table["stage"].ne("")].assign(part=table["stage"]))
    known = pd.concat(parts, ignore_index=True).dropna(subset="value")
    return known.groupby([*keys, "part"], sort=False, dropna=False)["value"].median().reset_index()
