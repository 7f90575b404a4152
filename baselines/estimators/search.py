"""One linear SVM, or many: every cost of a path, every class against the rest, every fold.

A fold's features are standardised by the images that it trains on. From one matrix of their inner products (or, where
there are fewer features than images, from the features) come all classes and all costs, in ascending order, each
starting from the solution of the cost before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from sklearn.utils.class_weight import compute_class_weight
from threadpoolctl import threadpool_limits

from baselines.estimators.coordinates import Coordinates
from baselines.estimators.folds import mean_accuracy
from baselines.estimators.linear import winners
from baselines.estimators.newton import Dual, Form, Point, Primal, minimise
from baselines.estimators.scaling import Scaling, combined, gram, identity, inner, scaled, standard
from baselines.estimators.temperature import cross_entropy, fit_temperature
from wdiv.errors import BadInput

__all__ = ["LIMIT", "Problem", "Search", "Solution", "cross_validate", "solve"]

LIMIT = 4000
"""Images or features, whichever are fewer, up to which the exact solver is used. There a fold of 11 costs and 10
classes takes less time than LinearSVC's lowest 5 costs, but a matrix takes 128 MB, and there are a handful."""
ITERATIONS = 1000
"""Of LinearSVC at most, its default. At costs far above the one that is chosen it may stop there."""
JOINT_ITERATIONS = 100_000
"""Of Crammer and Singer's: liblinear's own bound, whatever it is told."""
EQUAL = 1e-6
"""Relative difference up to which cross entropies are equal: costs so high that nothing changes differ by rounding."""


@dataclass(frozen=True)
class Problem:
    """A training set and what is to be minimised on it.

    features      (n, d) float32 or float64
    labels        (n,) index of each image's class
    classes       (k,) the classes themselves, which a dict of ``class_weight`` names
    standardise   by the images that are trained on
    joint         Crammer and Singer's loss of all classes at once, in place of one class against the rest
    """

    features: np.ndarray
    labels: np.ndarray
    classes: np.ndarray
    standardise: bool = True
    class_weight: Any = None
    joint: bool = False
    random_state: Any = 0

    @property
    def iterations(self) -> int:
        """Of LinearSVC."""
        return JOINT_ITERATIONS if self.joint else ITERATIONS

    @property
    def exact(self) -> bool:
        """Whether the exact solver serves."""
        return not self.joint and min(self.features.shape) <= LIMIT

    def scaling(self, rows: Any = slice(None)) -> Scaling:
        return standard(self.features, rows) if self.standardise else identity(self.features)

    def weights(self, rows: Any = slice(None)) -> np.ndarray:
        """(k,) of each class among the ``rows``."""
        y = self.classes[self.labels[rows]]
        found = np.asarray(compute_class_weight(self.class_weight, classes=self.classes, y=y), dtype=np.float64)
        if not (np.isfinite(found).all() and (found >= 0).all()):
            raise BadInput(f"class_weight: weights are finite and at least 0, not {self.class_weight!r}")
        return found


@dataclass(frozen=True)
class Search:
    """What cross-validation found: of two classes, k = 1.

    right      (costs, folds) held-out images that were classified rightly
    sizes      (folds,) held-out images
    rows       (m,) those that were held out, ascending: all, but for what is in every fold to train on
    decisions  (costs, m, k) decision value of each of them by the machine that had not seen it
    """

    right: np.ndarray
    sizes: np.ndarray
    rows: np.ndarray
    decisions: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(costs,) mean over folds of the accuracy; NaN where there are no folds."""
        return mean_accuracy(self.right, self.sizes)

    def best(self, labels: np.ndarray) -> int:
        """The cost's index: of the most accurate ones that whose held-out decision values, as probabilities at the
        temperature that suits them best, have the least cross entropy; of equal ones, the first.

        labels  (n,) index of each image's class

        With few images many costs are equally accurate, and what is sure and wrong tells them apart.
        """
        scores = self.scores
        if not len(self.sizes):
            return 0
        among = np.flatnonzero(scores == scores.max())
        if len(among) == 1:
            return int(among[0])
        seen = labels[self.rows]
        found = np.array([cross_entropy(d, seen, fit_temperature(d, seen)) for d in self.decisions[among]])
        return int(among[np.flatnonzero(found <= found.min() * (1 + EQUAL))[0]])


@dataclass(frozen=True)
class Solution:
    """Weights (k, d) and intercepts (k,) for the features as they were given; what was not reached, in a line."""

    coef: np.ndarray
    intercept: np.ndarray
    note: str | None = None


def cross_validate(problem: Problem, costs: Sequence[float], parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Search:
    """Every cost on every fold.

    costs  ascending
    parts  (rows to train on, rows held out) of each fold; an image is held out once at most
    """
    path = _exact_path if problem.exact else _library_path
    k = 1 if len(problem.classes) == 2 else len(problem.classes)
    decisions = np.full((len(costs), len(problem.labels), k), np.nan)
    right = np.empty((len(costs), len(parts)), dtype=int)
    for fold, (train, held) in enumerate(parts):
        decisions[:, held] = found = path(problem, costs, train, held)
        right[:, fold] = (winners(found) == problem.labels[held]).sum(axis=1)
    rows = np.flatnonzero(~np.isnan(decisions[0, :, 0]))
    return Search(right, np.array([len(held) for _, held in parts]), rows, decisions[:, rows])


def solve(problem: Problem, cost: float) -> Solution:
    """The machine of one cost, trained on all images."""
    return _exact(problem, cost) if problem.exact else _library(problem, cost)


# ---------------------------------------------------------------------------------------------------- the exact solver


def _exact_path(problem: Problem, costs: Sequence[float], train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(costs, held, k) decision values."""
    x, scaling = problem.features, problem.scaling(train)
    form: Form
    if x.shape[1] < len(train):
        form, across = Primal(_with_ones(scaled(x, scaling, train))), _with_ones(scaled(x, scaling, held))
    else:
        form, across = _dual(problem, gram(x, scaling, train)), inner(x, scaling, held, train) + 1.0
    return np.moveaxis(_path(form, problem, costs, train) @ across.T, 1, 2)


def _exact(problem: Problem, cost: float) -> Solution:
    x, scaling = problem.features, problem.scaling()
    n, d = x.shape
    form: Form = Primal(_with_ones(scaled(x, scaling))) if d < n else _dual(problem, gram(x, scaling))
    (unknowns,) = _path(form, problem, [cost], slice(None))
    if d < n:
        return Solution(*scaling.back(unknowns[:, :-1], unknowns[:, -1]))
    return Solution(*scaling.back(combined(x, scaling, unknowns), unknowns.sum(axis=1)))


def _path(form: Form, problem: Problem, costs: Sequence[float], rows: Any) -> np.ndarray:
    """(costs, k, ·) the unknowns at each cost, ascending, of each class against the rest; of two classes, k = 1.

    Each machine starts where it was at the cost before. As in liblinear, the weight of a class is on its own images
    alone; the rest have 1.
    """
    labels, weights = problem.labels[rows], problem.weights(rows)
    mine = labels == (np.arange(len(weights)) if len(weights) > 2 else np.array([1]))[:, None]
    signs = np.where(mine, 1.0, -1.0)
    each = np.where(mine, weights[labels], 1.0) if len(weights) > 2 else weights[labels][None]
    points: Sequence[Point | None] = [None] * len(signs)
    found = []
    with threadpool_limits(1, "blas"):  # NumPy's threads and SciPy's wait for one another, ten times the work's time
        for cost in costs:
            points = [minimise(form, *machine) for machine in zip(signs, cost * each, points, strict=True)]
            found.append([point.unknowns for point in points if point])
    return np.array(found)


def _dual(problem: Problem, products: np.ndarray) -> Dual:
    return Dual(products + 1.0, shared=len(problem.classes) > 3)


def _with_ones(features: np.ndarray) -> np.ndarray:
    return np.column_stack([features, np.ones(len(features))])


# -------------------------------------------------------------------------------------------------- the library's way


def _library_path(problem: Problem, costs: Sequence[float], train: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(costs, held, k) decision values."""
    scaling = problem.scaling(train)
    few = Coordinates().fit(z := scaled(problem.features, scaling, train))
    z, z_held = few.transform(z), few.transform(scaled(problem.features, scaling, held))
    found = [_fitted(problem, cost, z, train).decision_function(z_held) for cost in costs]
    return np.stack(found).reshape(len(costs), len(held), -1)


def _library(problem: Problem, cost: float) -> Solution:
    scaling = problem.scaling()
    few = Coordinates().fit(z := scaled(problem.features, scaling))
    machine = _fitted(problem, cost, few.transform(z), slice(None))
    stopped = np.max(machine.n_iter_) >= problem.iterations
    note = f"LinearSVC stopped after {problem.iterations} iterations, before it converged" if stopped else None
    return Solution(*scaling.back(few.back(machine.coef_), machine.intercept_), note)


def _fitted(problem: Problem, cost: float, features: np.ndarray, rows: Any) -> Any:
    machine = LinearSVC(
        C=cost,
        multi_class="crammer_singer" if problem.joint else "ovr",
        class_weight=dict(enumerate(problem.weights(rows))),
        max_iter=problem.iterations,
        random_state=problem.random_state,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in the note of the solution
        return machine.fit(features, problem.labels[rows])
