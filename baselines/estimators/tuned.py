"""Any classifier, standardised and tuned inside the folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.model_selection import ParameterGrid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from baselines.estimators.coordinates import Coordinates
from baselines.estimators.folds import make_folds, mean_accuracy
from baselines.estimators.linear import checked

__all__ = ["Delegating", "ParamGrid", "Tuned"]

ParamGrid = Mapping[str, Sequence[Any]]
"""Parameter → values to try, as ``GridSearchCV`` takes it."""


def _has(name: str) -> Callable[[Any], bool]:
    """Whether the classifier inside can do it: the fitted one, or before that the one given."""
    return lambda self: hasattr(getattr(self, "estimator_", self.estimator), name)


class Delegating(ClassifierMixin, MetaEstimatorMixin, BaseEstimator):
    """A classifier around another, ``estimator``: answers with what was fitted as ``estimator_``."""

    def _inner(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return np.asarray(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def predict(self, X: Any) -> np.ndarray:
        """(n,) classes."""
        x = self._inner(X)
        return np.asarray(self.estimator_.predict(x))

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, k) as the classifier inside gives them."""
        x = self._inner(X)
        return np.asarray(self.estimator_.predict_proba(x))

    @available_if(_has("decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """(n, k), or (n,) for two classes, as the classifier inside gives them."""
        x = self._inner(X)
        return np.asarray(self.estimator_.decision_function(x))


class Tuned(Delegating):
    """A classifier on standardised features, its parameters chosen by cross-validation on the training set alone.

    As ``GridSearchCV`` over ``make_pipeline(StandardScaler(), estimator)``; but the features of a fold are standardised
    once, not once for each setting.

    estimator     a scikit-learn classifier
    grid          parameter → values to try; of equally good settings the first is taken, in the order of
                  ``ParameterGrid``. None: nothing to choose. Or a function of (images, features), the fewest that a
                  fold trains on and how many there are, that returns the grid
    folds         stratified, shuffled by ``random_state`` (:func:`~baselines.estimators.folds.make_folds`). Where there
                  can be none, there is no choice: the estimator stays as it was given
    coordinates   put :class:`~baselines.estimators.coordinates.Coordinates` before the estimator: the same, and sooner,
                  for an estimator that sees only inner products or distances, where features are many

    After fit: ``classes_``, ``estimator_`` (the pipeline), ``best_params_``, ``settings_`` (all, in order),
    ``cv_score_`` (mean accuracy over folds of the chosen one; NaN without folds), ``cv_scores_`` (settings, folds),
    ``fallback_`` (in one line, what was done in place of what was asked, or None).

    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> x, y = load_iris(return_X_y=True)
    >>> knn = Tuned(KNeighborsClassifier(), {"n_neighbors": [1, 5, 15]}).fit(x, y)
    >>> knn.best_params_, round(knn.cv_score_, 3)
    ({'n_neighbors': 5}, 0.953)
    """

    def __init__(
        self,
        estimator: Any,
        grid: ParamGrid | Callable[[int, int], ParamGrid] | None = None,
        *,
        folds: int = 5,
        random_state: Any = 0,
        coordinates: bool = False,
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.folds = folds
        self.random_state = random_state
        self.coordinates = coordinates

    def fit(self, X: Any, y: Any, groups: Sequence[str] | None = None) -> Tuned:
        """Choose the setting and train on all images. X (n, d) features, y (n,) classes; of ``groups`` (n,), if there
        are any, the images of one are held out together."""
        X, self.classes_, labels = checked(self, X, y)
        X, y = X.astype(np.float64, copy=False), self.classes_[labels]
        parts, self.fallback_ = make_folds(labels, self.folds, self.random_state, groups)
        self.settings_: list[dict[str, Any]] = [{}]
        if parts:
            grid = self.grid(min(len(train) for train, _ in parts), X.shape[1]) if callable(self.grid) else self.grid
            self.settings_ = list(ParameterGrid(grid or {}))
        else:
            self.fallback_ = f"{self.fallback_}; parameters as given"
        right = np.empty((len(self.settings_), len(parts)), dtype=int)
        for fold, (train, held) in enumerate(parts):
            before = self._before().fit(X[train])
            x, x_held = before.transform(X[train]), before.transform(X[held])
            for i, setting in enumerate(self.settings_):
                found = clone(self.estimator).set_params(**setting).fit(x, y[train]).predict(x_held)
                right[i, fold] = (found == y[held]).sum()
        sizes = np.array([len(held) for _, held in parts])
        scores = mean_accuracy(right, sizes)
        best = int(np.argmax(scores))  # the first of the largest
        self.best_params_, self.cv_score_, self.cv_scores_ = self.settings_[best], float(scores[best]), right / sizes
        chosen = clone(self.estimator).set_params(**self.best_params_)
        self.estimator_ = make_pipeline(*self._before(), chosen).fit(X, y)
        return self

    def _inner(self, X: Any) -> np.ndarray:
        return np.asarray(super()._inner(X), dtype=np.float64)

    def _before(self) -> Any:
        return make_pipeline(StandardScaler(), *([Coordinates()] if self.coordinates else []))
