"""LogME: how probable the labels are under a Bayesian linear model of the features."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.transferability import _check
from baselines.transferability._thin import Seen, seen
from baselines.transferability.record import score
from wdiv.errors import BadInput

__all__ = ["logme"]


@score(
    takes="features",
    long_name="LogME, logarithm of maximum evidence per image",
    formula="mean over classes c of max_{α,β} log p(y_c | F; α, β) / n, w ~ N(0, I/α), y_c = F w + N(0, I/β)",
    source="You, Liu, Wang and Long (2021); fixed point by the SVD as in You et al. (2022)",
    units="nat",
)
def logme(features: Any, labels: Any, *, tolerance: float = 0.01, steps: int = 11) -> float:
    """The mean over classes of the log evidence of a Bayesian linear model on one-hot labels, per image; higher is
    better. Of ``features`` (n, d) and ``labels`` (n,), integers or names; classes that do not occur do not count.

    log p(y | F; α, β) = d/2 log α + n/2 log β − ½ log|αI + βFᵀF| − β/2 ‖Fm − y‖² − α/2 ‖m‖² − n/2 log 2π,
    m = β (αI + βFᵀF)⁻¹ Fᵀy. The weights have no intercept, and the features are neither centred nor scaled.

    α = β = 1 at first; then α ← γ/‖m‖², β ← (n − γ)/‖Fm − y‖², γ = Σ βσ²/(α + βσ²), until a step changes α/β by no more
    than ``tolerance`` of it, or for ``steps`` steps. The defaults are those of the paper's code, and so is the score:
    that of the last step's m, α and β, which lies below the maximum, by 1e-10 to some hundredths where eleven steps are
    too few. With ``tolerance=0`` and many ``steps`` it is the maximum itself.

    By the thin SVD in place of that of FᵀF, all classes at once, and with n − γ as a sum, not a difference: where
    n < d and the labels are fitted nearly without noise, the paper's code loses its digits there, up to NaN. The
    authors' later LogME.py adds 1e-5 to both denominators, and its ``fit`` leaves d − n terms out of log|αI + βFᵀF|
    where n < d: its scores are others.

    Constant features are features like any other. All zero, or at right angles to a class, they leave α at infinity:
    the score is that of noise alone, where the paper's code has NaN. Raises :class:`~wdiv.errors.BadInput` for arrays
    of the wrong form, :class:`~wdiv.errors.BadData` for fewer than 2 images or classes.

    You, Liu, Wang and Long, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021; You
    et al., "Ranking and Tuning Pre-trained Models: A New Paradigm for Exploiting Model Hubs", JMLR 2022.

    >>> features = [[1.0, 0.1], [0.9, 0.0], [0.0, 1.1], [0.1, 1.0]]
    >>> round(logme(features, [0, 0, 1, 1]), 4), round(logme(features, [0, 1, 0, 1]), 4)
    (-0.0955, -1.0692)
    """
    if not tolerance >= 0 or steps < 1:
        raise BadInput(f"logme: tolerance at least 0 and steps at least 1; got {tolerance} and {steps}")
    rows, targets = _check.labelled(features, labels)
    return float(_evidence(seen(rows, targets), len(rows), tolerance, steps).mean() / len(rows))


def _evidence(found: Seen, n: int, tolerance: float, steps: int) -> np.ndarray:
    """(classes,): the log evidence at the fixed point.

    There ‖Fm − y‖² β + ‖m‖² α = n by the definition of α and β, and of the determinant Σ log(1 + σ²β/α) is left.
    """
    energy = found.singular[:, None] ** 2
    ratio, precision = np.ones((2, found.along.shape[1]))  # α/β, and β
    going = np.arange(len(ratio))
    for _ in range(steps):
        before = ratio[going]
        after, noise = _step(energy, found.along[:, going] ** 2, found.beyond[going], before, n)
        sound = (after > 0) & np.isfinite(noise)  # a model without noise is approached until the digits end
        ratio[going[sound]], precision[going[sound]] = after[sound], noise[sound]
        with np.errstate(invalid="ignore"):  # at infinity
            settled = np.abs(after - before) <= tolerance * before
        going = going[sound & ~settled]
        if not len(going):
            break
    return -0.5 * np.log1p(energy / ratio).sum(axis=0) + n / 2 * (np.log(precision) - 1 - np.log(2 * np.pi))


def _step(
    energy: np.ndarray, along: np.ndarray, beyond: np.ndarray, ratio: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """α/β and β after one step, (classes,) each; α is infinite where the best weights are 0."""
    kept, lost = energy / (energy + ratio), 1 / (1 + energy / ratio)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        length = np.sum(along * kept / (energy + ratio), axis=0)
        alpha = np.where(length > 0, kept.sum(axis=0) / length, np.inf)
        beta = (lost.sum(axis=0) + (n - len(energy))) / (np.sum(along * lost**2, axis=0) + beyond)
        return alpha / beta, beta
