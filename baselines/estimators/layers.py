"""Features of several layers side by side: the best layer is chosen by the training set alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.utils.validation import has_fit_parameter

from baselines.estimators.folds import make_folds
from baselines.estimators.linear import checked
from baselines.estimators.tuned import Delegating
from wdiv.errors import BadInput

__all__ = ["BestLayer"]


class BestLayer(Delegating):
    """A classifier on the features of one layer, that of the best accuracy in cross-validation on the training set.

    All layers side by side, as they come, are what the estimator sees without this. Inside an outer cross-validation
    the layer is chosen inside each fold.

    estimator     a scikit-learn classifier. If it has a ``cv_score_`` when fitted (:class:`LinearSVM`, :class:`Tuned`),
                  that is its score; else it is cross-validated here
    layers        name → the layer's columns of X, as a slice or as indices or a mask; None: one layer, "all". Of
                  equally good layers the last is taken: name them from the input on, and that is the deepest
    folds         for an estimator without ``cv_score_``: stratified, shuffled by ``random_state``
                  (:func:`~baselines.estimators.folds.make_folds`)

    After fit: ``layer_`` (the name), ``columns_`` (its indices), ``cv_score_``, ``cv_scores_`` (name → score),
    ``estimator_`` (fitted on that layer), ``classes_``, ``fallback_`` (in one line, what was done in place of what was
    asked, or None; where a class has a single image there are no scores, and the last layer is taken).

    Raises :class:`~wdiv.errors.BadInput` for a layer without columns or with columns that X lacks.

    >>> from sklearn.datasets import load_digits
    >>> from baselines.estimators import LinearSVM
    >>> x, y = load_digits(return_X_y=True)
    >>> rows = {"first": slice(0, 8), "fifth": slice(32, 40), "last": slice(56, 64)}
    >>> best = BestLayer(LinearSVM(folds=2), rows).fit(x[:300], y[:300])
    >>> best.layer_, {name: round(score, 1) for name, score in best.cv_scores_.items()}
    ('fifth', {'first': 0.4, 'fifth': 0.6, 'last': 0.5})
    """

    def __init__(
        self,
        estimator: Any,
        layers: Mapping[str, Any] | None = None,
        *,
        folds: int = 5,
        random_state: Any = 0,
    ) -> None:
        self.estimator = estimator
        self.layers = layers
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Sequence[str] | None = None) -> BestLayer:
        """Choose the layer; the estimator fitted on it is kept. X (n, d) features, y (n,) classes; of ``groups`` (n,),
        if there are any, the images of one are held out together."""
        X, self.classes_, labels = checked(self, X, y)
        y = self.classes_[labels]
        layers = {name: _columns(name, columns, X.shape[1]) for name, columns in self._layers().items()}
        self.cv_scores_: dict[str, float] = {}
        more = {"groups": groups} if groups is not None and has_fit_parameter(self.estimator, "groups") else {}
        for name, columns in layers.items():
            fitted = clone(self.estimator).fit(X[:, columns], y, **more)
            score, note = self._score(fitted, X[:, columns], y, groups)
            if not any(score < other for other in self.cv_scores_.values()):
                self.layer_, self.columns_, self.cv_score_ = name, columns, score
                self.estimator_, self.fallback_ = fitted, note
            self.cv_scores_[name] = score
        if np.isnan(self.cv_score_) and len(layers) > 1:
            self.fallback_ = "; ".join(filter(None, (self.fallback_, f"the last layer, {self.layer_!r}")))
        return self

    def _layers(self) -> Mapping[str, Any]:
        if self.layers is None:
            return {"all": slice(None)}
        if not self.layers:
            raise BadInput("layers is empty: give at least one")
        return self.layers

    def _score(
        self, fitted: Any, X: np.ndarray, y: np.ndarray, groups: Sequence[str] | None
    ) -> tuple[float, str | None]:
        """The mean accuracy over folds, and what was done in place of what was asked."""
        if hasattr(fitted, "cv_score_"):
            return float(fitted.cv_score_), getattr(fitted, "fallback_", None)
        parts, note = make_folds(y, self.folds, self.random_state, groups)
        return float(cross_val_score(self.estimator, X, y, cv=parts).mean()) if parts else np.nan, note

    def _inner(self, X: Any) -> np.ndarray:
        return np.asarray(super()._inner(X)[:, self.columns_])


def _columns(name: str, columns: Any, width: int) -> np.ndarray:
    """Indices of the layer's columns."""
    if isinstance(columns, slice) and columns.stop is not None and columns.stop > width:  # NumPy would cut it short
        raise BadInput(f"layer {name!r}: X has {width} columns; it ends at {columns.stop}")
    try:
        found = np.arange(width)[columns]
    except IndexError as error:
        raise BadInput(f"layer {name!r}: X has {width} columns; {error}") from None
    if found.ndim != 1 or not len(found):
        raise BadInput(f"layer {name!r}: {columns!r} is no range of columns; X has {width}")
    return found
