"""Runs of the folds of one cross-validation as one run, whose test images are all images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["joined", "runs_of", "wholes_of"]

TESTED = ("last", "accuracy", "best")
"""Columns that are means over test images: of several folds, over all of them. Other numbers are means over folds."""
SUMS, LARGEST, COUNTS = ("n_test", "seconds"), ("epochs",), ("n_train", "n_fitted")
"""Columns that are sums over folds, the largest of them, and means that are told as whole numbers."""


def wholes_of(root: xr.Dataset) -> dict[str, list[int]]:
    """What runs are told as -> their places in a tree: one each, or those of all folds; without those that lack one.

    root: of a tree of runs that are finished
    """
    names = root["run"].values.tolist()
    if "whole" not in root.coords:
        return {name: [place] for place, name in enumerate(names)}
    found: dict[str, list[int]] = {}
    for place, whole in enumerate(root["whole"].values.tolist()):
        found.setdefault(whole, []).append(place)
    of = root["folds"].values
    return {
        whole: sorted(places, key=lambda place: int(root["fold"].values[place]))
        for whole, places in found.items() if len(places) == max(1, of[places[0]])
    }  # fmt: skip


def runs_of(root: xr.Dataset) -> dict[str, list[str]]:
    """:func:`wholes_of` -> the names of their runs."""
    names = root["run"].values.tolist()
    return {whole: [names[place] for place in places] for whole, places in wholes_of(root).items()}


def joined(rows: pd.DataFrame, parts: Mapping[str, Sequence[int]]) -> pd.DataFrame:
    """A table of runs, one row a whole: ``run`` is its name, and what folds agree in is theirs.

    rows   one row a run of the tree, in its order, with ``n_test``;  parts: :func:`wholes_of` it

    An accuracy is right answers / images over all images, each of which was tested once. ``n_test`` and ``seconds`` are
    sums; losses, steps and what was measured on training images, which folds share, are means. ``trained`` is ``no``
    where a fold has not, and ``""`` where it is not known of one.
    """
    if all(len(places) == 1 for places in parts.values()) and len(parts) == len(rows):
        return rows
    return pd.DataFrame([_row(name, rows.iloc[list(places)]) for name, places in parts.items()], columns=rows.columns)


def _row(name: str, folds: pd.DataFrame) -> dict[str, Any]:
    found = dict(folds.iloc[0])
    if len(folds) == 1:
        return found
    images = folds["n_test"].to_numpy(float)
    for column, values in folds.items():
        if column == "trained":
            found[column] = "no" if (values == "no").any() else "yes" if (values == "yes").all() else ""
        elif column in TESTED:
            found[column] = float((values.to_numpy(float) * images).sum() / images.sum())
        elif column in SUMS:
            found[column] = values.sum()
        elif column in LARGEST:
            found[column] = values.max()
        elif column != "seed" and values.dtype.kind in "if":
            found[column] = round(values.mean()) if column in COUNTS else float(np.mean(values))
    return found | {"run": name}
