"""Classifiers that know the mean of each class: the nearest mean, and linear discriminant analysis."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import solve

from baselines.estimators.linear import Linear, checked
from baselines.estimators.temperature import probabilities

__all__ = ["Discriminant", "NearestMean", "shrinkage"]


class NearestMean(Linear):
    """The class whose mean lies nearest, as a linear classifier: x·m − ½ m·m is the larger, the nearer x is to m.

    As scikit-learn's ``NearestCentroid``, which warns of every feature that is constant.

    >>> x, y = np.array([[0.0], [1.0], [4.0]]), ["a", "a", "b"]
    >>> NearestMean().fit(x, y).predict([[2.2], [2.3]])  # the means are 0.5 and 4
    array(['a', 'b'], dtype='<U1')
    """

    def fit(self, X: Any, y: Any) -> NearestMean:
        """The mean of each class. X (n, d) features, y (n,) classes."""
        X, self.classes_, labels = checked(self, X, y)
        means = _means(X.astype(np.float64), labels)
        self._set(means, -0.5 * np.einsum("kd,kd->k", means, means))
        return self

    def _set(self, coef: np.ndarray, intercept: np.ndarray) -> None:
        two = len(coef) == 2
        self.coef_ = np.diff(coef, axis=0) if two else coef
        self.intercept_ = np.diff(intercept) if two else intercept


class Discriminant(NearestMean):
    """Linear discriminant analysis, its covariance shrunk by the formula of Ledoit and Wolf (2004).

    One covariance within the classes, S = WᵀW / n of the rows W less their class's mean, shrunk to
    (1 − s) S + s (tr S / d) I with s from :func:`shrinkage`; the classes' shares as priors. Of d > n features no d × d
    matrix is made. scikit-learn's ``LinearDiscriminantAnalysis(shrinkage="auto")`` shrinks each class's covariance by
    itself, and takes memory as d² and time as d³.

    Where no feature varies within the classes, there is no covariance: the nearest mean decides, and the priors.

    After fit: ``shrinkage_`` (s; NaN without a covariance), ``classes_``, ``coef_``, ``intercept_``.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> lda = Discriminant().fit(x, y)
    >>> round(lda.shrinkage_, 4), round(float(lda.score(x, y)), 2)
    (0.0399, 0.98)
    """

    def fit(self, X: Any, y: Any) -> Discriminant:
        """The means and the shrunk covariance. X (n, d) features, y (n,) classes."""
        X, self.classes_, labels = checked(self, X, y)
        X = X.astype(np.float64)
        means, shares = _means(X, labels), np.bincount(labels) / len(labels)
        centre = shares @ means
        within, between = X - means[labels], means - centre
        rounding = (len(X) * np.finfo(float).eps) ** 2
        if (within**2).sum() > rounding * (means**2).sum(axis=1).max():
            self.shrinkage_ = shrinkage(within)
            coef = _solved(within, self.shrinkage_, between)
        else:
            self.shrinkage_, coef = np.nan, between
        intercept = np.log(shares) - 0.5 * np.einsum("kd,kd->k", coef, means + centre)
        self._set(coef, intercept)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, k): Bayes' rule for normal distributions of one covariance, that is, softmax of the decision values."""
        values = self.decision_function(X)
        return probabilities(values.reshape(len(values), -1))


def shrinkage(rows: np.ndarray) -> float:
    """The share s in [0, 1] of tr(S)/d · I that brings S = WᵀW / n nearest to the true covariance, as far as is known.

    rows  (n, d) float64, W, of mean 0

    s = min(1, b²/d²) with d² = ‖S − tr(S)/d I‖² and b² = Σ ‖wᵢwᵢᵀ − S‖² / n², Ledoit and Wolf (2004), "A
    well-conditioned estimator for large-dimensional covariance matrices"; 0 where d² is 0.

    >>> shrinkage(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]))
    0.9444444444444444
    """
    n, d = rows.shape
    lengths = np.einsum("nd,nd->n", rows, rows)
    squares = (_smaller(rows) ** 2).sum() / n**2
    apart = squares - (lengths.sum() / n) ** 2 / d
    noise = ((lengths**2).sum() / n - squares) / n
    return 0.0 if d == 1 or min(apart, noise) <= 0 else float(min(1.0, noise / apart))


def _smaller(rows: np.ndarray) -> np.ndarray:
    """WWᵀ or WᵀW, which have the same norm."""
    return rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows


def _solved(rows: np.ndarray, share: float, right: np.ndarray) -> np.ndarray:
    """(k, d): the shrunk covariance's inverse times each row of ``right``."""
    n, d = rows.shape
    ridge, rest = share * float((rows**2).sum()) / n / d, (1.0 - share) / n
    if ridge == 0:  # the shortest solution
        back = np.linalg.pinv(rows)
        return np.asarray((right @ back) @ back.T * n)
    matrix = rest * _smaller(rows)
    matrix[np.diag_indices_from(matrix)] += ridge
    if n >= d:
        return np.asarray(solve(matrix, right.T, assume_a="pos").T)
    return np.asarray((right - rest * solve(matrix, rows @ right.T, assume_a="pos").T @ rows) / ridge)


def _means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(k, d) of each class."""
    members = labels == np.arange(labels.max() + 1)[:, None]
    return np.asarray(members.astype(np.float64) @ features / members.sum(axis=1, keepdims=True))
