"""What the scores are given, checked and in float64: their errors about it are all made here."""

from __future__ import annotations

from typing import Any

import numpy as np

from wdiv.errors import BadData, BadInput

LARGEST = 1e64
"""Beyond what float32 can hold, and its fourth power still a float64."""
SUM = 1e-3
"""How far a row of probabilities may be from 1: a softmax in half precision is nearer."""


def labelled(features: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d), and labels one-hot (n, classes)."""
    rows = _matrix(features, "features")
    return rows, _one_hot(labels, len(rows))


def predicted(probabilities: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (n, source classes), scaled to sum to 1 to the last digit, and labels one-hot (n, classes)."""
    rows = _matrix(probabilities, "probabilities")
    if rows.min() < 0:
        raise BadInput(f"probabilities: none below 0; got {rows.min():.3g} (are they logits?)")
    sums = rows.sum(axis=1)
    worst = sums[np.argmax(np.abs(sums - 1))]
    if abs(worst - 1) > SUM:
        raise BadInput(f"probabilities: each row sums to 1, within {SUM:g}; got a row that sums to {worst:.6g}")
    return rows / sums[:, None], _one_hot(labels, len(rows))


def both(features: Any, source_features: Any) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, d) and (m, d)."""
    here, there = _matrix(features, "features"), _matrix(source_features, "source_features")
    if here.shape[1] != there.shape[1]:
        raise BadInput(f"features and source_features: as many columns; got shapes {here.shape} and {there.shape}")
    return here, there


def diagonals(*given: Any) -> list[np.ndarray]:
    """Mean, variance, other mean and other variance, each (d,)."""
    names = ("mean", "var", "other_mean", "other_var")
    rows = [_numbers(values, name) for name, values in zip(names, given, strict=True)]
    if len({row.shape for row in rows}) != 1 or rows[0].ndim != 1:
        raise BadInput(f"{', '.join(names)}: vectors of one length; got shapes {', '.join(str(r.shape) for r in rows)}")
    for name, row in zip(names, rows, strict=True):
        if "var" in name and (row < 0).any():
            raise BadInput(f"{name}: no variance is below 0; got {row.min():.3g}")
    return rows


def _matrix(values: Any, name: str) -> np.ndarray:
    rows = _numbers(values, name)
    if rows.ndim != 2 or rows.shape[1] < 1:
        raise BadInput(f"{name}: a matrix, a row per image and at least one column; got shape {rows.shape}")
    if len(rows) < 2:
        raise BadData(f"{name}: at least 2 images; got {len(rows)}")
    return rows


def _numbers(values: Any, name: str) -> np.ndarray:
    array = _array(values, name)
    if array.dtype.kind not in "fiu":
        raise BadInput(f"{name}: an array of real numbers; got {array.dtype}")
    array = array.astype(np.float64)
    wrong = array.size - int((np.abs(array) <= LARGEST).sum())  # NaN is not below anything
    if wrong:
        raise BadInput(f"{name}: finite numbers of at most {LARGEST:g}; got {wrong} of {array.size} that are not")
    return array


def _array(values: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except (TypeError, ValueError) as error:  # rows of unequal length, a tensor on a GPU
        raise BadInput(f"{name}: an array; got {type(values).__name__}: {error}") from None


def _one_hot(labels: Any, rows: int) -> np.ndarray:
    """(n, classes): a column for each class that occurs, in sorted order."""
    array = _array(labels, "labels")
    if array.shape != (rows,):
        raise BadInput(f"labels: one for each of the {rows} rows; got shape {array.shape}")
    if array.dtype.kind not in "iubUS":
        raise BadInput(f"labels: whole numbers or names; got {array.dtype}")
    classes, places = np.unique(array, return_inverse=True)
    if len(classes) < 2:
        raise BadData(f"labels: at least 2 classes; got 1 ({classes[0]})")
    return np.eye(len(classes))[places]
