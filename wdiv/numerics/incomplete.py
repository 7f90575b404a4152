"""A table of cells by units in which numbers are missing: one number a unit all the same, and what that leaves out."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdiv.numerics.comparison import ALIKE, COMPLETE, Unseen

__all__ = ["unit_numbers"]


def unit_numbers(values: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.float64], Unseen]:
    """The weighted sum of each column, what is missing made of the others; and what this adds to their mean's variance.

    values  (cells, units), NaN where missing, at least one number in each cell and unit;  weights  (cells,)

    What is missing is its cell's part and its unit's, by least squares over all that is known, so that a missing run
    moves no mean by what its cell is easier than others. An error in a cell's part is in all units alike and does not
    make them differ: where y = cell + unit + noise, the mean of the numbers a'y has σ² · (‖a‖² − what the noise makes
    the numbers vary by, as a share) more variance than they show. σ² is that of the residuals; where cells have no
    units in common, or too few to leave a residual, it is that within cells, as if units had no part, which is too
    much if they have one. NaN where no cell has two numbers.

    >>> numbers, unseen = unit_numbers([[1.0, 2.0, 4.0], [2.0, np.nan, 5.0]], [0.5, 0.5])
    >>> numbers.round(3).tolist(), round(unseen.variance, 3)
    ([1.5, 2.5, 4.5], 0.0)
    """
    y, w = np.asarray(values, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    known = np.isfinite(y)
    if known.all():
        return np.asarray(w @ y), COMPLETE
    (cells, units), (at_cell, at_unit), y = y.shape, np.nonzero(known), y[known]
    of_cell, of_unit = np.eye(cells)[at_cell], np.eye(units)[at_unit]
    means = (of_cell / of_cell.sum(axis=0)).T  # (cells, numbers), as are the parts below: all are linear in y
    centred = of_unit - of_cell @ (means @ of_unit)
    unit_parts = np.linalg.pinv(centred, rcond=1e-9)
    cell_parts = means - (means @ of_unit) @ unit_parts
    made = np.zeros((units, len(y)))
    made[at_unit, np.arange(len(y))] = w[at_cell]
    for cell, unit in np.argwhere(~known):
        made[unit] += w[cell] * (cell_parts[cell] + unit_parts[unit])
    numbers, whole = made @ y, made.mean(axis=0)
    if units < 2:
        return numbers, COMPLETE
    seen = float((made**2).sum() / units - (whole**2).sum()) / (units - 1)
    within = y - of_cell @ (means @ y)
    rank = int(np.linalg.matrix_rank(centred, tol=1e-9))
    left, inside = len(y) - cells - rank, len(y) - cells
    joined = left > 0 and rank == units - 1
    rest, freedom = (within - centred @ (unit_parts @ y), left) if joined else (within, inside)
    variance = float((rest**2).sum()) / freedom if freedom else math.nan
    if abs(rest).max() <= ALIKE * abs(y).max() and freedom:
        variance = 0.0
    alike = abs(w.sum()) > ALIKE * abs(w).sum()  # else units' parts cancel, and all that varies is what is left
    most = units - 1 if joined and alike else min(units - 1, freedom)
    return numbers, Unseen(variance * max(float((whole**2).sum()) - seen, 0.0), freedom, most)
