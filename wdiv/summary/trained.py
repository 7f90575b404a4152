"""Has a run learned the images that it was trained on? A rival that has not is no rival."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from wdiv.numerics import wilson

__all__ = ["FITTED", "fitted", "has_trained", "learned", "untrained_notes"]

FITTED = ("fitted_accuracy", "n_fitted", "fitted_majority")
"""Of a run's history or a baseline's outcome, after the epoch that counts: the accuracy on its own training images, in
eval mode and as they are; of how many, those held out to validate not among them; and which share of them is of the
largest class."""
NAMED = 5
"""Runs that a line names."""


def has_trained(accuracy: float, n: float, majority: float) -> str:
    """``yes`` if the 95 % interval of an accuracy on n training images lies above the share of their largest class,
    ``no`` if not, and ``""`` where any of them is NaN: not known.

    The interval is Wilson's (:func:`wdiv.numerics.proportion.wilson`). To answer the largest class whatever is shown
    takes no training, so an accuracy that may be no more than its share proves none; few images prove little.

    >>> has_trained(0.9, 30, 1 / 6), has_trained(0.2, 30, 1 / 6), has_trained(float("nan"), 30, 1 / 6)
    ('yes', 'no', '')
    """
    low = float(wilson(accuracy, n).low)
    return "" if np.isnan(low - majority) else "yes" if low > majority else "no"


def fitted(known: Mapping[str, Any]) -> dict[str, Any]:
    """:data:`FITTED` and ``trained``, :func:`has_trained` of them, as columns of one row; NaN what is not known.

    >>> fitted({"fitted_accuracy": 0.5, "n_fitted": 12, "fitted_majority": 0.25})["trained"], fitted({})["trained"]
    ('yes', '')
    """
    values = {name: float(known.get(name, np.nan)) for name in FITTED}
    return values | {"trained": has_trained(*values.values())}


def learned(history: xr.Dataset, run: int, epoch: int | None) -> dict[str, Any]:
    """:func:`fitted` of a run after an epoch, both by their place in the tree, and the ``steps`` of the optimizer until
    then; NaN what is not known."""
    known = {name: history[name].values[run] for name in (*FITTED, "steps") if name in history and epoch is not None}
    steps = known.pop("steps", np.array([np.nan]))
    return {"steps": float(steps[: (epoch or 0) + 1].sum()), **fitted({n: row[epoch] for n, row in known.items()})}


def untrained_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line that names each ``run`` that has not ``trained``, the first :data:`NAMED` of them; none where all have, or
    nobody knows.

    >>> untrained_notes([{"run": "r", "trained": "no"}, {"run": "s", "trained": "yes"}])
    ['not trained: r (accuracy on the training images not surely above the share of their largest class)']
    """
    names = [str(row["run"]) for row in rows if row.get("trained") == "no"]
    why = "accuracy on the training images not surely above the share of their largest class"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"not trained: {', '.join(names[:NAMED])}{more} ({why})"] if names else []
