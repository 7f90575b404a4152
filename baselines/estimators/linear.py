"""What linear classifiers share: checked input, decision values, the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from wdiv.errors import BadInput

__all__ = ["Linear", "checked", "winners"]


def checked(estimator: Any, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A training set as scikit-learn checks it: (features, classes, (n,) index of each image's class).

    The features keep float32. Raises ``ValueError`` as scikit-learn does for what is not finite, not 2-dimensional or
    not classes, and :class:`~wdiv.errors.BadInput` (a ``ValueError`` too) for fewer than two classes.
    """
    X, y = validate_data(estimator, X, y, dtype=[np.float64, np.float32])
    check_classification_targets(y)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise BadInput(f"y holds one class, {classes.tolist()[0]!r}; a classifier needs at least 2 classes")
    return X, classes, labels


def winners(decisions: np.ndarray) -> np.ndarray:
    """(…, k) or, for two classes, (…, 1) decision values → (…) index of the class.

    >>> winners(np.array([[0.5], [-0.5]])), winners(np.array([[0.5, 0.7, 0.1]]))
    (array([1, 0]), array([1]))
    """
    if decisions.shape[-1] == 1:
        return (decisions[..., 0] > 0).astype(int)
    return np.asarray(decisions.argmax(axis=-1))


class Linear(ClassifierMixin, BaseEstimator):
    """A fitted ``coef_`` (k, d) and ``intercept_`` (k,), of one row for two classes; ``classes_``."""

    def _features(self, X: Any) -> np.ndarray:
        """The features that ``coef_`` is of."""
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def decision_function(self, X: Any) -> np.ndarray:
        """(n, k) float64, or (n,) for two classes, above 0 for the second."""
        values = self._features(X) @ self.coef_.T + self.intercept_
        return np.asarray(values[:, 0] if values.shape[1] == 1 else values)

    def predict(self, X: Any) -> np.ndarray:
        """(n,) the class of the largest decision value."""
        values = self.decision_function(X)
        return np.asarray(self.classes_[winners(values.reshape(len(values), -1))])
