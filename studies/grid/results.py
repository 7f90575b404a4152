"""What every run and every baseline of a store came to, in one table: ``results.csv`` and ``results.nc``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from studies.grid.conditions import begun
from wdiv import summary
from wdiv.errors import BadStore
from wdiv.store.engine import open_store
from wdiv.store.files import write_atomically
from wdiv.store.reader import CheckpointStore, StoreLike
from wdiv.store.seals import file_digest, has_tail, write_with_tail

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["architectures", "as_dataset", "results", "results_at_fault", "write_all", "write_results"]

CSV = "results_csv"
"""Attribute of ``results.nc``: the digest of the table beside it."""


def architectures(store: CheckpointStore) -> list[str]:
    """Of the runs of a store; none where it holds baselines alone."""
    return list(CheckpointStore.open(store).by_label()) if (store.path / "runs").is_dir() else []


def results(out: StoreLike, found: Sequence[pd.DataFrame] | None = None) -> pd.DataFrame:
    """One row a run that is finished (:func:`wdiv.summary.results`) and one a baseline, which has no epochs.

    found  the rows of the runs, a table an architecture, where they are at hand
    """
    import pandas as pd

    store = CheckpointStore.at(out)
    if found is None:
        found = [summary.results(summary.finished(open_store(store, label))) for label in architectures(store)]
    frozen = pd.DataFrame([outcome.row() for outcome in trials.load(store.path)])
    parts = [part.astype({"best_epoch": "Int64"}) for part in (*found, frozen) if len(part)]
    if not parts:
        raise BadStore(f"{store.path}: no run is finished yet, and there is no baseline; there is nothing to tabulate")
    return pd.concat(parts, ignore_index=True)


def as_dataset(table: pd.DataFrame) -> xr.Dataset:
    """The table along ``run``, with what tells runs apart as coordinates; accuracies are shares of 1.

    >>> import pandas as pd
    >>> row = {"run": "a", "model": "m", "dataset": "d", "n_train": 5, "strategy": "svm", "bn_mode": "frozen"}
    >>> row |= {"seed": 0, "source": "s", "epochs": 0, "last": 0.5, "best": None, "best_epoch": None}
    >>> row |= {"n_test": 50, "low": 0.366, "high": 0.634, "train_loss": 1.0, "seconds": 2.0}
    >>> found = as_dataset(pd.DataFrame([row]))
    >>> found.set_xindex("strategy").sel(strategy="svm").test_accuracy.item(), sorted(found.coords)[:3]
    (0.5, ['bn_mode', 'dataset', 'model'])
    """
    import numpy as np
    import xarray as xr

    words = [name for name in ("run", "condition", *summary.CELL, "seed", "source") if name in table]
    coords = {name: ("run", _plain(table[name])) for name in words}
    facts = {
        "test_accuracy": ("last", "test accuracy after the epoch that counts", "1"),
        "test_accuracy_low": ("low", "where the 95 % interval of the test accuracy begins", "1"),
        "test_accuracy_high": ("high", "where the 95 % interval of the test accuracy ends", "1"),
        "n_test": ("n_test", "test images; 0: not known", "1"),
        "best_test_accuracy": ("best", "best test accuracy of all epochs, chosen on the test images", "1"),
        "best_epoch": ("best_epoch", "epoch of the best test accuracy", "1"),
        "epochs": ("epochs", "epochs of training; 0: a baseline on frozen features", "1"),
        "train_loss": ("train_loss", "training loss after the epoch that counts", "1"),
        "seconds": ("seconds", "time of training", "s"),
    }
    variables = {
        name: ("run", np.asarray(table[column].astype("float64")), {"long_name": text, "units": units})
        for name, (column, text, units) in facts.items()
    }
    return xr.Dataset(variables, coords)


def write_results(out: StoreLike, found: Sequence[pd.DataFrame] | None = None) -> tuple[pd.DataFrame, list[Path]]:
    """Write :func:`results` beside the runs. Returns it, and the files."""
    store = CheckpointStore.at(out)
    table = results(store, found)
    return table, _write(table, store.path)


def write_all(out: Path, opened: Mapping[str, CheckpointStore] | None = None) -> list[Path]:
    """Write :func:`results` of every condition of a study that has begun as one table, which says the condition.

    opened: what :func:`~studies.grid.conditions.begun` gave, where that is at hand.
    """
    import pandas as pd

    stores = begun(out) if opened is None else opened
    return _write(pd.concat([results(store).assign(condition=name) for name, store in stores.items()]), out)


def _write(table: pd.DataFrame, out: Path) -> list[Path]:
    dataset = as_dataset(table)
    csv = write_atomically(out / "results.csv", lambda temporary: table.to_csv(temporary, index=False))
    dataset = dataset.assign_attrs({CSV: file_digest(csv)})
    return [csv, write_with_tail(out / "results.nc", lambda temporary: dataset.to_netcdf(temporary))]


def results_at_fault(out: Path) -> list[Path]:
    """Of ``results.csv`` and ``results.nc``, what is lost or not what was written; nothing where both are of before
    wdiv sealed them."""
    import xarray as xr

    csv, nc = out / "results.csv", out / "results.nc"
    if not nc.is_file():
        return [nc] if csv.is_file() else []
    try:
        with xr.open_dataset(nc) as dataset:
            told = dataset.attrs.get(CSV)
            of_before = told is None and "test_accuracy_low" not in dataset
    except Exception:  # damaged bytes can make a reader raise anything
        return [nc]
    if of_before:
        return []
    if not has_tail(nc):
        return [nc]
    return [] if csv.is_file() and told == file_digest(csv) else [csv]


def _plain(column: pd.Series) -> object:
    import numpy as np

    return column.to_numpy() if column.dtype.kind in "iuf" else np.array(column.tolist(), dtype=object)
