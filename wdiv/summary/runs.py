"""What each run came to."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.measure.reference import final_positions
from wdiv.summary.answered import answers, scores_at

__all__ = ["CELL", "of_runs", "results"]


CELL = ["model", "dataset", "n_train", "strategy", "bn_mode"]
"""What makes two runs seeds of one another: these agree."""


def results(tree: xr.DataTree) -> pd.DataFrame:
    """One row a run: its coordinates, its last and best test accuracy, its training loss and its cost; and of its
    predictions after the epoch that counts, where they are kept, the columns of
    :func:`~wdiv.summary.answered.answers`.

    ``last`` is of the epoch that counts: of a run that stopped early, the best by its validation images.

    ``best`` is the best of all epochs on the test images themselves, and so flatters; ``last`` does not. Of an
    imported run no accuracy is known: NaN, and ``best_epoch`` is missing.
    """
    history, root = tree.children["history"].to_dataset().load(), tree.to_dataset()
    told = {name: root[name].values.tolist() for name in (*CELL, "seed", "source")}
    rows = []
    for i, (run, last) in enumerate(zip(root["run"].values, final_positions(root), strict=True)):
        accuracy = history["test_accuracy"].values[i]
        best = int(np.nanargmax(accuracy)) if np.isfinite(accuracy).any() else None
        rows.append(
            {
                "run": run,
                **{name: values[i] for name, values in told.items()},
                "epochs": int(root["epoch"].values[last]),
                "last": float(accuracy[last]),
                "best": np.nan if best is None else float(accuracy[best]),
                "best_epoch": None if best is None else int(root["epoch"].values[best]),
                "train_loss": float(history["train_loss"].values[i, last]),
                "seconds": float(np.nansum(history["seconds"].values[i])),
                **answers(*scores_at(tree, i, last)),
            }
        )
    return pd.DataFrame(rows)


def of_runs(div: xr.DataTree) -> pd.DataFrame | None:
    """One row a run: what the root of a tree says of it."""
    root = div.to_dataset()
    if "strategy" not in root.coords:
        return None
    return pd.DataFrame({name: root[name].values for name in ("run", *CELL, "seed")})
