"""The linear support vector machine on frozen features: below a thousand images, the one to beat."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from baselines.estimators.folds import Folds, make_folds
from baselines.estimators.linear import Linear, checked, winners
from baselines.estimators.scaling import unit_rows
from baselines.estimators.search import LIMIT, Problem, cross_validate, solve
from baselines.estimators.temperature import fit_temperature, probabilities
from wdiv.errors import BadInput

__all__ = ["COSTS", "UNSEARCHED", "LinearSVM"]

COSTS: tuple[float, ...] = tuple(float(f"1e{power}") for power in range(-6, 5))
"""1e-6, 1e-5 … 1e4. The inner products of d standardised features grow with d, so that what a cost does depends on
cost × d. At the lowest, thousands of features are as strongly regularised as matters; at the highest, 32 features or
rows of length 1 are as good as not. Beyond, nothing changes but the time; between, tenfold steps are fine enough for an
accuracy that is flat at its top."""
UNSEARCHED = 1.0
"""The cost where there can be no search: LinearSVC's own default."""
NORMALISE = ("standard", "l2", None)
MULTI_CLASS = ("ovr", "crammer_singer")


class LinearSVM(Linear):
    """A linear SVM (squared hinge, L2) whose cost is chosen by cross-validation on the training set alone.

    Each class against the rest, as ``LinearSVC`` does it, but solved exactly (:mod:`baselines.estimators.newton`), with
    the work shared between costs and classes. Where images and features are both more than
    :data:`~baselines.estimators.search.LIMIT`, and for ``crammer_singer``, ``LinearSVC`` itself does it.

    cost          "auto" to search among ``costs``, or a number
    costs         those tried; of equally accurate ones that is taken whose decision values for held-out images, as
                  probabilities, have the least cross entropy (:meth:`~baselines.estimators.search.Search.best`)
    folds         stratified, shuffled by ``random_state`` (:func:`~baselines.estimators.folds.make_folds`). With none,
                  there is no search, and the cost is :data:`UNSEARCHED`
    normalise     "standard": each feature to mean 0 and standard deviation 1, by the images that a fold trains on (a
                  constant feature to 0); "l2": each image's features to length 1; None
    class_weight  of each class's cost: None, "balanced" or {class: weight}, as in scikit-learn
    multi_class   "ovr", or "crammer_singer" for the loss of Crammer and Singer (2001), all classes at once

    After fit:

    classes_              (k,)
    coef_, intercept_     (k, d), (k,), of one row for two classes: for the features in their own units, standardised or
                          not (for "l2", for the rows of length 1)
    cost_, costs_         the cost chosen; all, ascending
    cv_score_             mean over folds of the accuracy at ``cost_``; NaN without a search
    cv_scores_            (costs, folds) accuracy on each fold; no folds without a search
    temperature_          what ``predict_proba`` divides decision values by: fitted on those of the held-out images at
                          ``cost_`` (:func:`~baselines.estimators.temperature.fit_temperature`); 1 without a search
    fallback_             in one line, what was done in place of what was asked; None where nothing was

    Raises :class:`~wdiv.errors.BadInput` (a ``ValueError``) for a parameter out of range or a single class, and
    ``ValueError`` as scikit-learn does for features that are not finite.

    >>> from sklearn.datasets import load_digits
    >>> x, y = load_digits(return_X_y=True)
    >>> svm = LinearSVM(folds=3).fit(x[:200], y[:200])
    >>> svm.cost_, bool(svm.score(x[200:400], y[200:400]) > 0.85)
    (0.01, True)
    """

    def __init__(
        self,
        cost: float | str = "auto",
        *,
        costs: Sequence[float] = COSTS,
        folds: int = 5,
        normalise: str | None = "standard",
        class_weight: Mapping[Any, float] | str | None = None,
        multi_class: str = "ovr",
        random_state: Any = 0,
    ) -> None:
        self.cost = cost
        self.costs = costs
        self.folds = folds
        self.normalise = normalise
        self.class_weight = class_weight
        self.multi_class = multi_class
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Sequence[str] | None = None) -> LinearSVM:
        """Choose the cost and train on all images. X (n, d) features, y (n,) classes; of ``groups`` (n,), if there are
        any, the images of one are held out together."""
        costs = self._costs()
        X, self.classes_, labels = checked(self, X, y)
        notes: list[str | None] = []
        if not np.ptp(X, axis=0).any():
            notes.append("every feature is constant: the answer is the largest class")
        problem = self._problem(X, labels, self.classes_)
        if not problem.exact and not problem.joint:
            notes.append(f"LinearSVC in place of the exact solver: more than {LIMIT} images and features")
        folds = Folds((), None)
        if self.cost == "auto":
            folds = make_folds(labels, self.folds, self.random_state, groups)
        parts, note = folds
        notes.append(note)
        if self.cost == "auto" and not parts:
            notes.append(f"cost {UNSEARCHED:g}")
            costs = [UNSEARCHED]
        found = cross_validate(problem, costs, parts)
        best = found.best(labels)
        self.costs_, self.cost_, self.cv_score_ = np.array(costs), costs[best], float(found.scores[best])
        self.cv_scores_ = found.right / found.sizes
        self.temperature_ = fit_temperature(found.decisions[best], labels[found.rows]) if parts else 1.0
        solution = solve(problem, self.cost_)
        self.coef_, self.intercept_ = solution.coef, solution.intercept
        self.fallback_ = "; ".join(note for note in [*notes, solution.note] if note) or None
        return self

    def held_out(self, X: Any, y: Any, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        """(rows, answers): which images were held out, ascending, and the class that the machine of the chosen cost,
        which had not seen them, gave each.

        parts  (rows to train on, rows held out), once a fold, such as :func:`~baselines.estimators.folds.make_folds`
               gives. They may leave images out; an image is held out once at most

        >>> x, y = np.array([[0.0], [0.1], [1.0], [1.1]]), np.array(["a", "a", "b", "b"])
        >>> rows, answers = LinearSVM().held_out(x, y, [(np.array([0, 2]), np.array([1, 3]))])
        >>> rows.tolist(), answers.tolist()
        ([1, 3], ['a', 'b'])
        """
        costs = self._costs()
        X, classes, labels = checked(self, X, y)
        found = cross_validate(self._problem(X, labels, classes), costs, parts)
        return found.rows, classes[winners(found.decisions[found.best(labels)])]

    def _problem(self, X: np.ndarray, labels: np.ndarray, classes: np.ndarray) -> Problem:
        return Problem(
            unit_rows(X) if self.normalise == "l2" else X,
            labels,
            classes,
            standardise=self.normalise == "standard",
            class_weight=self.class_weight,
            joint=self.multi_class == "crammer_singer",
            random_state=self.random_state,
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, k): softmax of the decision values over ``temperature_`` (Guo et al., 2017); of two classes, the sigmoid.

        Where there were no folds to fit the temperature on, it is 1, and the values are no calibrated probabilities.
        """
        values = self.decision_function(X)
        return probabilities(values.reshape(len(values), -1), self.temperature_)

    def _features(self, X: Any) -> np.ndarray:
        x = super()._features(X)
        return unit_rows(x) if self.normalise == "l2" else x

    def _costs(self) -> list[float]:
        """Those to try, ascending, each once; and whether the other options are allowed at all."""
        for name, allowed in (("normalise", NORMALISE), ("multi_class", MULTI_CLASS)):
            if getattr(self, name) not in allowed:
                raise BadInput(f"{name} is one of {', '.join(map(repr, allowed))}, not {getattr(self, name)!r}")
        given = [self.cost] if self.cost != "auto" else list(self.costs)
        if not given:
            raise BadInput("costs is empty: give at least one")
        for value in given:
            if isinstance(value, bool) or not isinstance(value, Real) or not 0 < value < math.inf:
                raise BadInput(f"a cost is a finite number above 0, or 'auto', not {value!r}")
        return sorted({float(value) for value in given})
