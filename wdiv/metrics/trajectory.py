"""Metrics of a run's path through the space of weights, epoch by epoch. They need no reference but the path itself.

The path begins at the first saved epoch (0, before the first step, in wdiv's own runs), and goes straight from one
saved epoch to the next: what lies between epochs is not seen. A path that lacks epochs, thinned since, has no length
after the first of them.
"""

from __future__ import annotations

import numpy as np

from wdiv.metrics.record import family

__all__ = ["displacement", "epoch_step", "path_length", "straightness"]

trajectory = family(
    "trajectory",
    takes="(…, epoch) L2 distances from the epoch saved before (0 at the first) and from the first; NaN if not saved",
)


@trajectory(
    long_name="L2 distance from the epoch saved before",
    formula="‖w_t − w_{t−1}‖₂",
    source="textbook; 0 at the first epoch",
    units="weight",
    symmetric=True,
    scale_free=False,
)
def epoch_step(steps: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """How far each epoch went.

    >>> epoch_step(np.array([0.0, 3.0, 4.0]), np.array([0.0, 3.0, 5.0])).tolist()
    [0.0, 3.0, 4.0]
    """
    return np.asarray(steps, dtype=np.float64)


@trajectory(
    long_name="L2 distance from the first epoch",
    formula="‖w_t − w_0‖₂",
    source="as in Neyshabur, Sedghi and Zhang (2020)",
    units="weight",
    symmetric=True,
    scale_free=False,
)
def displacement(steps: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """How far from its beginning the path has come.

    >>> displacement(np.array([0.0, 3.0, 4.0]), np.array([0.0, 3.0, 5.0])).tolist()
    [0.0, 3.0, 5.0]
    """
    return np.asarray(displacements, dtype=np.float64)


@trajectory(
    long_name="length of the path from the first epoch",
    formula="Σ_{s≤t} ‖w_s − w_{s−1}‖₂",
    source="as in Guille-Escuret et al. (2023)",
    units="weight",
    symmetric=True,
    scale_free=False,
)
def path_length(steps: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """How far it is along the path to each epoch; NaN after one whose weights were not finite, where a step is lost.

    >>> path_length(np.array([0.0, 3.0, np.nan, 4.0]), np.array([0.0, 3.0, np.nan, 5.0])).tolist()
    [0.0, 3.0, nan, 7.0]
    """
    steps = np.asarray(steps, dtype=np.float64)
    lost = np.isnan(steps) != np.isnan(displacements)  # saved, and the epoch before or the first was not finite
    unknown = np.isnan(steps) | np.logical_or.accumulate(lost, axis=-1)
    return np.where(unknown, np.nan, np.nancumsum(steps, axis=-1))


@trajectory(
    long_name="straightness of the path, displacement to length",
    formula="‖w_t − w_0‖₂ / Σ_{s≤t} ‖w_s − w_{s−1}‖₂",
    source="Batschelet (1981), straightness index",
    upper=1.0,
    identity=np.nan,
    symmetric=True,
    undefined="path",
)
def straightness(steps: np.ndarray, displacements: np.ndarray) -> np.ndarray:
    """1 for a straight way, towards 0 for wandering; NaN for a tensor that has not moved.

    >>> straightness(np.array([0.0, 3.0, 4.0]), np.array([0.0, 3.0, 5.0])).round(3).tolist()
    [nan, 1.0, 0.714]
    """
    length = path_length(steps, displacements)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.minimum(np.asarray(displacements, dtype=np.float64) / length, 1.0)
    return np.where(length == 0, np.nan, ratio)
