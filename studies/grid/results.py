"""What every run and every baseline of a store came to, in one table: ``results.csv`` and ``results.nc``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import trials
from studies.grid.conditions import begun
from wdiv import summary
from wdiv.errors import BadStore
from wdiv.numerics.classification import BINS
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

ANSWERED = {
    "balanced_accuracy": "mean over the classes of recall",
    "macro_f1": "mean over the classes of 2 right / (images + answers)",
    "log_loss": "mean over the test images of -log p of their class",
    "calibration_error": f"expected calibration error, {BINS} bins of equal width",
    "brier_score": "mean over the test images of the squared error of p, summed over the classes",
    "auc": "area under the ROC, of two classes",
    "sensitivity": "recall of the second of two classes",
    "specificity": "recall of the first of two classes",
    "majority_share": "share of the test images that are of the largest class",
}
"""Columns made of predictions after the epoch that counts, in words."""
TRAINED = "yes where the interval of fitted_accuracy lies above fitted_majority, else no; empty: not known"
ONLY = "the class that was answered for every test image; empty where answers differ"


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
    outcomes = trials.load_wholes(store.path)
    frozen = pd.DataFrame([one.row() | summary.fitted(one.fitted) | _answers(one, store.path) for one in outcomes])
    parts = [part.astype({"best_epoch": "Int64"}) for part in (*found, frozen) if len(part)]
    if not parts:
        raise BadStore(f"{store.path}: no run is finished yet, and there is no baseline; there is nothing to tabulate")
    return pd.concat(parts, ignore_index=True)


def _answers(outcome: trials.Outcome, out: Path) -> dict[str, Any]:
    """As of a run: where its predictions are damaged a table has all else nevertheless."""
    try:
        return summary.answers(*trials.scores_of(outcome, out))
    except BadStore:
        return summary.answers(None, ())


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
    coords: dict[str, Any] = {name: ("run", _plain(table[name])) for name in words}
    facts = {
        "test_accuracy": ("last", "test accuracy after the epoch that counts", "1"),
        "test_accuracy_low": ("low", "where the 95 % interval of the test accuracy begins", "1"),
        "test_accuracy_high": ("high", "where the 95 % interval of the test accuracy ends", "1"),
        "n_test": ("n_test", "test images; 0: not known", "1"),
        "best_test_accuracy": ("best", "best test accuracy of all epochs, chosen on the test images", "1"),
        "best_epoch": ("best_epoch", "epoch of the best test accuracy", "1"),
        "epochs": ("epochs", "epochs of training; 0: a baseline on frozen features", "1"),
        "steps": ("steps", "optimizer steps up to the epoch that counts", "1"),
        "fitted_accuracy": ("fitted_accuracy", "accuracy on the training images in eval mode", "1"),
        "n_fitted": ("n_fitted", "training images that fitted_accuracy is of", "1"),
        "fitted_majority": ("fitted_majority", "share of those that are of the largest class", "1"),
        "train_loss": ("train_loss", "training loss after the epoch that counts", "1"),
        "seconds": ("seconds", "time of training", "s"),
        **{name: (name, text, "nat" if name == "log_loss" else "1") for name, text in ANSWERED.items()},
    }
    variables: dict[str, Any] = {
        name: ("run", np.asarray(table[column].astype("float64")), {"long_name": text, "units": units})
        for name, (column, text, units) in facts.items()
        if column in table
    }
    if "trained" in table:
        variables["trained"] = ("run", _plain(table["trained"].fillna("")), {"long_name": TRAINED})
    if "confusion" in table:
        variables["only_answer"] = ("run", _plain(table["only_answer"].fillna("")), {"long_name": ONLY})
        by_class, names = _by_class(table)
        variables |= by_class
        coords |= {"class": names, "answer": names}
    return xr.Dataset(variables, coords)


def _by_class(table: pd.DataFrame) -> tuple[dict[str, Any], object]:
    """Variables along every class that some row has, NaN where a row has not; and the classes' names."""
    import numpy as np

    names = list(dict.fromkeys(name for row in table["classes"] if isinstance(row, list) for name in row))
    shape = len(table), len(names)
    found = {name: np.full(shape, np.nan) for name in ("recall", "precision")}
    confusion = np.full((*shape, len(names)), np.nan)
    for i, row in enumerate(table.to_dict("records")):
        at = [names.index(name) for name in row["classes"] or ()]
        for name, shares in summary.by_class(row).items():
            found[name][i, at] = list(shares.values())
        if at:
            confusion[i][np.ix_(at, at)] = row["confusion"]
    text = {"recall": "share of a class's test images answered rightly", "precision": "share of its answers right"}
    variables: dict[str, Any] = {
        name: (("run", "class"), values, {"long_name": text[name], "units": "1"}) for name, values in found.items()
    }
    about = {"long_name": "test images of the class that got the answer", "units": "1"}
    return variables | {"confusion": (("run", "class", "answer"), confusion, about)}, _text(names)


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
    csv = write_atomically(out / "results.csv", lambda temporary: _flat(table).to_csv(temporary, index=False))
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


def _flat(table: pd.DataFrame) -> pd.DataFrame:
    """With columns ``recall_CLASS`` and ``precision_CLASS``; lists as JSON."""
    import pandas as pd

    shares = [
        {f"{name}_{one}": share for name, found in summary.by_class(row).items() for one, share in found.items()}
        for row in table.to_dict("records")
    ]
    lists = {name: [json.dumps(value) if isinstance(value, list) else None for value in table[name]]
             for name in ("classes", "confusion")}  # fmt: skip
    return pd.concat([table.assign(**lists), pd.DataFrame(shares, index=table.index)], axis=1)


def _plain(column: pd.Series) -> object:
    return column.to_numpy() if column.dtype.kind in "iuf" else _text(column.tolist())


def _text(values: list[str]) -> object:
    import numpy as np

    return np.array(values, dtype=object)
