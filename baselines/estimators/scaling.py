"""Standardised features and their inner products, a block of columns at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Scaling", "combined", "gram", "identity", "inner", "scaled", "standard", "unit_rows"]

BLOCK = 1024
"""Columns that are held as float64 at a time."""


@dataclass(frozen=True)
class Scaling:
    """z = (x − centre) · factor, feature by feature. A factor is 0 where the feature is constant: z is 0 there."""

    centre: np.ndarray
    factor: np.ndarray

    def back(self, weights: np.ndarray, intercepts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (k, d) and intercepts (k,) of z → those of x."""
        weights = weights * self.factor
        return weights, intercepts - weights @ self.centre


def standard(features: np.ndarray, rows: Any = slice(None)) -> Scaling:
    """Mean 0 and standard deviation 1 (ddof 0) over the ``rows``.

    A feature whose variance is no more than rounding makes of a constant is one, by the bound that scikit-learn's
    ``StandardScaler`` uses (Chan, Golub and LeVeque, 1983).

    >>> standard(np.array([[1.0, 5.0], [3.0, 5.0]]))
    Scaling(centre=array([2., 5.]), factor=array([1., 0.]))
    """
    centre, factor = np.empty(features.shape[1]), np.zeros(features.shape[1])
    for columns in _blocks(features):
        x = features[:, columns][rows].astype(np.float64, copy=False)
        centre[columns] = mean = x.mean(axis=0)
        apart = x - mean
        variance = np.mean(apart**2, axis=0) - np.mean(apart, axis=0) ** 2
        rounding = len(x) * np.finfo(float).eps
        varies = variance > rounding * variance + (rounding * mean) ** 2
        factor[columns] = np.divide(1.0, np.sqrt(variance), where=varies, out=np.zeros(len(mean)))
    return Scaling(centre, factor)


def identity(features: np.ndarray) -> Scaling:
    """z = x."""
    return Scaling(np.zeros(features.shape[1]), np.ones(features.shape[1]))


def unit_rows(features: np.ndarray) -> np.ndarray:
    """(n, d) float64: each row over its length; a row of zeros stays one.

    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    x = features.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return np.divide(x, lengths, where=lengths > 0, out=x)


def scaled(features: np.ndarray, scaling: Scaling, rows: Any = slice(None)) -> np.ndarray:
    """(n, d) float64: z of the ``rows``, all columns at once."""
    return np.asarray((features[rows] - scaling.centre) * scaling.factor)


def gram(features: np.ndarray, scaling: Scaling, rows: Any = slice(None)) -> np.ndarray:
    """(n, n) float64: zᵢ·zⱼ of the ``rows``."""
    return sum((z @ z.T for (z,) in _scaled_blocks(features, scaling, rows)), np.zeros(()))


def inner(features: np.ndarray, scaling: Scaling, rows: Any, others: Any) -> np.ndarray:
    """(n, m) float64: zᵢ·zⱼ of ``rows`` with ``others``."""
    return sum((z @ w.T for z, w in _scaled_blocks(features, scaling, rows, others)), np.zeros(()))


def combined(features: np.ndarray, scaling: Scaling, weights: np.ndarray) -> np.ndarray:
    """(k, d) float64: Σ weights[:, i] zᵢ."""
    return np.hstack([weights @ z for (z,) in _scaled_blocks(features, scaling, slice(None))])


def _scaled_blocks(features: np.ndarray, scaling: Scaling, *rows: Any) -> Iterator[list[np.ndarray]]:
    for columns in _blocks(features):
        part = features[:, columns]
        yield [(part[r] - scaling.centre[columns]) * scaling.factor[columns] for r in rows]


def _blocks(features: np.ndarray) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, features.shape[1], BLOCK))
