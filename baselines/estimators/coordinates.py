"""Few training images span few directions: their coordinates there, in place of thousands of features."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import qr
from sklearn.base import BaseEstimator, TransformerMixin

__all__ = ["Coordinates"]


class Coordinates(TransformerMixin, BaseEstimator):
    """n + 1 coordinates in place of d > n + 1 features, with the same distances and inner products.

    The first n are along an orthonormal basis of what the n training images span, the last is the distance from there:
    0 for training images. So every inner product of two images of which one is a training image, and every distance
    between them, is what it was. Whatever is made of those alone (a linear model with L2 regularisation, a kernel of
    the distance, neighbours) is the same and sooner fitted. Features that are fewer are left as they are.

    fit and transform take (n, d) float64 and give (n, min(d, n + 1)) float64.

    >>> x = np.random.default_rng(0).normal(size=(3, 50))
    >>> few = Coordinates().fit(x[:2])  # two training images
    >>> z = few.transform(x)
    >>> z.shape, bool(np.allclose(z @ z[:2].T, x @ x[:2].T))
    ((3, 3), True)
    """

    def fit(self, X: Any, y: Any = None) -> Coordinates:
        """Find the basis: the QR decomposition of Xᵀ."""
        n, d = X.shape
        self.basis_ = qr(X.T, mode="economic", check_finite=False)[0] if d > n + 1 else None
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The coordinates of images, of the training set or not."""
        if self.basis_ is None:
            return np.asarray(X)
        along = X @ self.basis_
        beside = X - along @ self.basis_.T
        return np.column_stack([along, np.linalg.norm(beside, axis=1)])

    def back(self, weights: np.ndarray) -> np.ndarray:
        """Weights (k, coordinates) → weights (k, d) of the features; the distance has none."""
        return weights if self.basis_ is None else np.asarray(weights[:, :-1] @ self.basis_.T)
