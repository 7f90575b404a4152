"""What each run came to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.measure.reference import final_positions
from wdiv.numerics import share_interval
from wdiv.summary.answered import answers, scores_at
from wdiv.summary.folds import joined, wholes_of
from wdiv.summary.trained import learned

__all__ = ["CELL", "finished", "of_runs", "results"]


CELL = ["model", "dataset", "n_train", "strategy", "bn_mode"]
"""What makes two runs seeds of one another: these agree."""


def finished(tree: xr.DataTree) -> xr.DataTree:
    """The runs of a tree that are finished: only these say what a strategy comes to.

    One that was stopped, or whose loss was no number, is left out, whatever its last epoch is worth. An imported run is
    finished. Of a tree that an older wdiv has saved nothing is known, and all runs stay.
    """
    root = tree.to_dataset()
    if "state" not in root.coords:
        return tree
    return tree.isel(run=np.flatnonzero(root["state"].values == "finished"))


def results(tree: xr.DataTree, *, by_fold: bool = False) -> pd.DataFrame:
    """One row a run: its coordinates, its last and best test accuracy, its training loss and its cost; and of its
    predictions after the epoch that counts, where they are kept, the columns of
    :func:`~wdiv.summary.answered.answers`.

    ``steps`` of the optimizer are counted up to the epoch that counts. ``fitted_accuracy``, ``n_fitted``,
    ``fitted_majority`` and ``trained`` say whether the run has learned the images that it trains on
    (:func:`wdiv.summary.trained.has_trained`).

    ``last`` is of the epoch that counts: of a run that stopped early, the best by its validation images. ``low`` and
    ``high`` are its 95 % interval for other images (:func:`wdiv.numerics.share_interval`); NaN where ``n_test``, the
    number of test images, is not known.

    ``best`` is the best of all epochs on the test images themselves, and so flatters; ``last`` does not. Of an
    imported run no accuracy is known: NaN, and ``best_epoch`` is missing.

    The runs of the folds of one cross-validation are one row (:func:`~wdiv.summary.folds.joined`) unless ``by_fold``:
    each image is tested once, by the run that was not trained on it, and its scores are of all images. One of which a
    fold is missing has none. The interval is for other images drawn as these; networks of folds share most of their
    training images, whose choice it does not count (Bates, Hastie and Tibshirani 2024; Nadeau and Bengio 2003).
    """
    history, root = tree.children["history"].to_dataset().load(), tree.to_dataset()
    told = {name: root[name].values.tolist() for name in (*CELL, "seed", "source")}
    n_test = root["n_test"].values if "n_test" in root.coords else np.zeros(root.sizes["run"], dtype=int)
    at, accuracies = final_positions(root), history["test_accuracy"].values
    rows = pd.DataFrame([
        {
            "run": run,
            **{name: values[i] for name, values in told.items()},
            "epochs": int(root["epoch"].values[last]),
            "n_test": int(n_test[i]),
            "last": float(accuracies[i, last]),
            "train_loss": float(history["train_loss"].values[i, last]),
            "seconds": float(np.nansum(history["seconds"].values[i])),
            **learned(history, i, last),
        }
        for i, (run, last) in enumerate(zip(root["run"].values, at, strict=True))
    ])  # fmt: skip
    parts = {run: [i] for i, run in enumerate(rows["run"])} if by_fold else wholes_of(root)
    found = []
    for row, places in zip(joined(rows, parts).to_dict("records"), parts.values(), strict=True):
        accuracy = accuracies[places[0]]
        if len(places) > 1:
            accuracy = np.average(accuracies[places], axis=0, weights=n_test[places])
        at_last = share_interval([row["last"]], row["n_test"])
        best = int(np.nanargmax(accuracy)) if np.isfinite(accuracy).any() else None
        found.append({
            **{str(name): row[name] for name in rows.columns[: rows.columns.get_loc("last") + 1]},
            "low": float(at_last.low),
            "high": float(at_last.high),
            "best": np.nan if best is None else float(accuracy[best]),
            "best_epoch": None if best is None else int(root["epoch"].values[best]),
            **{str(name): row[name] for name in rows.columns[rows.columns.get_loc("last") + 1 :]},
            **answers(*scores_at(tree, [(place, at[place]) for place in places])),
        })  # fmt: skip
    return pd.DataFrame(found)


def of_runs(div: xr.DataTree) -> pd.DataFrame | None:
    """One row a run: what the root of a tree says of it."""
    root = div.to_dataset()
    if "strategy" not in root.coords:
        return None
    return pd.DataFrame({name: root[name].values for name in ("run", *CELL, "seed")})
