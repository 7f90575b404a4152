"""Decision values as probabilities: one temperature, fitted on values that the classifier gave images it had not seen.

Guo et al. (2017), "On calibration of modern neural networks".
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, logsumexp, softmax

__all__ = ["HOTTEST", "cross_entropy", "fit_temperature", "probabilities"]

HOTTEST = 1e3
"""The temperature at most: it is reached where the decision values say nothing, and still keeps their order."""


def probabilities(decisions: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """(n, k): softmax of (n, k) decision values over the temperature; of (n, 1), the sigmoid and its rest.

    >>> probabilities(np.array([[2.0, 0.0]]), 2.0).round(3)
    array([[0.731, 0.269]])
    >>> probabilities(np.array([[1.0]])).round(3)
    array([[0.269, 0.731]])
    """
    scaled = decisions / temperature
    if scaled.shape[1] == 1:
        return np.column_stack([expit(-scaled), expit(scaled)])
    return np.asarray(softmax(scaled, axis=1))


def cross_entropy(decisions: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """How far the probabilities at a temperature are from the labels: mean over images of -Σ target × log p, in nats.

    decisions  (n, k), or (n, 1) for two classes
    labels     (n,) index of each image's class

    The target of an image is not 1 but (n + 1) / (n + k), and 1 / (n + k) for each other class, as in Platt (1999):
    else the temperature of a few images that are all right would be 0, and every answer certain.

    >>> round(cross_entropy(np.array([[0.0], [0.0]]), np.array([0, 1]), 1.0), 4)  # log 2
    0.6931
    """
    values, wanted = _centred(decisions, labels)
    scaled = values / temperature
    return float(np.mean(logsumexp(scaled, axis=1)) - wanted / temperature / len(values))


def fit_temperature(decisions: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least :func:`cross_entropy`, at most :data:`HOTTEST`.

    decisions  (n, k), or (n, 1) for two classes
    labels     (n,) index of each image's class

    >>> decisions = np.array([[1.0], [1.0], [1.0], [-1.0]])
    >>> fitted = fit_temperature(decisions, np.array([1, 1, 1, 1]))  # 3 in 4 are right, smoothed to 4 in 6
    >>> probabilities(decisions, fitted)[0].round(3)
    array([0.333, 0.667])
    """
    values, wanted = _centred(decisions, labels)

    def slope(inverse: float) -> float:
        """The derivative of the cross entropy by 1 / temperature; it rises."""
        return float((softmax(inverse * values, axis=1) * values).sum() - wanted)

    low, high = 1.0 / HOTTEST, 2.0 / HOTTEST
    if slope(low) >= 0:
        return HOTTEST
    while slope(high) < 0:
        low, high = high, 2.0 * high
    return 1.0 / float(brentq(slope, low, high, xtol=1e-12 * high, rtol=1e-12))


def _centred(decisions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """(n, k) values that add up to 0 for each image, so that equal targets of all classes add nothing; and the sum of
    target × value over images and classes."""
    decisions = np.asarray(decisions, dtype=np.float64)
    n = len(decisions)
    if decisions.shape[1] == 1:
        decisions = np.column_stack([np.zeros(n), decisions])
    k = decisions.shape[1]
    values = decisions - decisions.mean(axis=1, keepdims=True)
    return values, float(values[np.arange(n), labels].sum() * n / (n + k))
