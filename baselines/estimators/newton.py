"""The linear SVM with squared hinge, solved exactly: the modified finite Newton method.

Minimised is what ``LinearSVC`` minimises, the intercept being the weight of one more feature of value 1:

    ½‖w‖² + Σ cᵢ max(0, 1 − yᵢ fᵢ)²,   fᵢ = w·(zᵢ, 1)

It is piecewise quadratic in w. Where the images with y f < 1 (the active ones) are known, its minimum is the solution
of one linear system; a step goes there, or as far along that way as the function falls, and looks again. A few steps
reach the minimum to rounding. Keerthi and DeCoste (2005), "A modified finite Newton method for fast solution of large
scale linear SVMs"; Chapelle (2007), "Training a support vector machine in the primal".
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from scipy.linalg.lapack import dposv, dpotrf, dpotri

__all__ = ["Dual", "Form", "Point", "Primal", "minimise"]

STEPS = 100
"""Newton steps at most; a dozen are many."""
ROUNDING = 1e-10
"""How far beyond the margin an image may lie on the wrong side of it and still count as on it: y f has no more digits
where costs are large."""
REMAINDER = 1e-12
"""Of y = 1, what the solution by an inverse may leave; else it is refined, by itself."""
REFINEMENTS = 3


class Point(NamedTuple):
    """A weight vector: as the unknowns of its form, and as the values f that it gives the training images."""

    unknowns: np.ndarray
    values: np.ndarray


class Form(Protocol):
    """What the weights are written in: features (:class:`Primal`) or training images (:class:`Dual`)."""

    def origin(self) -> Point:
        """w = 0."""

    def newton(self, signs: np.ndarray, costs: np.ndarray, active: np.ndarray) -> Point:
        """The minimum of the quadratic that the active images make."""

    def dot(self, a: Point, b: Point) -> float:
        """The inner product of two weight vectors."""


class Primal:
    """The unknowns are w itself: d + 1 of them, for fewer features than images.

    (I + 2 Σ cᵢ zᵢzᵢᵀ) w = 2 Σ cᵢ yᵢ zᵢ, the sums over the active images; where few are not, the sum on the left is
    that of all (made once) less theirs.

    features  (n, d + 1) float64, the last column ones
    """

    def __init__(self, features: np.ndarray) -> None:
        self.features = features
        self.all = features.T @ features

    def origin(self) -> Point:
        return Point(np.zeros(self.features.shape[1]), np.zeros(self.features.shape[0]))

    def newton(self, signs: np.ndarray, costs: np.ndarray, active: np.ndarray) -> Point:
        if _most(active) and _uniform(costs):
            rest = self.features[~active]
            matrix = 2.0 * costs[0] * (self.all - rest.T @ rest)
        else:
            rows = self.features[active] * np.sqrt(2.0 * costs[active])[:, None]
            matrix = rows.T @ rows
        matrix[np.diag_indices_from(matrix)] += 1.0
        w = _solve(matrix, np.where(active, 2.0 * costs * signs, 0.0) @ self.features)
        return Point(w, self.features @ w)

    def dot(self, a: Point, b: Point) -> float:
        return float(a.unknowns @ b.unknowns)


class Dual:
    """The unknowns are β with w = Σ βᵢ (zᵢ, 1): n of them, for no more images than features.

    (K_SS + diag(1 / 2c)) β_S = y_S of the active images S, 0 of the others. Many classes have most images active at
    each cost, as all have where features are many: the inverse M of the whole matrix, made once for a cost, serves all
    of them. With R the images that are not active, β = v − M_·R (M_RR)⁻¹ v_R, where v = M (y of S, 0 of R).

    kernel  (n, n) float64, zᵢ·zⱼ + 1
    shared  whether there are several classes to serve
    """

    def __init__(self, kernel: np.ndarray, *, shared: bool = False) -> None:
        self.kernel = kernel
        self.shared = shared
        self._of: tuple[float, np.ndarray | None] = (0.0, None)

    def origin(self) -> Point:
        return Point(np.zeros(len(self.kernel)), np.zeros(len(self.kernel)))

    def newton(self, signs: np.ndarray, costs: np.ndarray, active: np.ndarray) -> Point:
        if self.shared and _most(active) and _uniform(costs):
            point = self._by_inverse(np.where(active, signs, 0.0), float(costs[0]), np.flatnonzero(~active))
            if point is not None:
                return point
        rows = np.flatnonzero(active)
        matrix = self.kernel.take(rows, 0).take(rows, 1)
        matrix[np.diag_indices_from(matrix)] += 0.5 / costs[rows]
        beta = np.zeros(len(signs))
        beta[rows] = _solve(matrix, signs[rows])
        return Point(beta, self.kernel @ beta)

    def dot(self, a: Point, b: Point) -> float:
        return float(a.unknowns @ b.values)

    def _by_inverse(self, right: np.ndarray, cost: float, rest: np.ndarray) -> Point | None:
        """None where the inverse has too few digits left."""
        inverse = self._inverse(cost)
        if inverse is None:
            return None
        beta, left = np.zeros(len(right)), right
        across = inverse[rest]
        within = across[:, rest]
        for _ in range(REFINEMENTS):
            step = inverse @ left
            step -= _solve(within, step[rest]) @ across
            step[rest] = 0.0
            beta += step
            values = self.kernel @ beta
            left = right - values - 0.5 / cost * beta
            left[rest] = 0.0
            if np.abs(left).max() <= REMAINDER:
                return Point(beta, values)
        return None

    def _inverse(self, cost: float) -> np.ndarray | None:
        if self._of[0] != cost:
            matrix = self.kernel.copy()
            matrix[np.diag_indices_from(matrix)] += 0.5 / cost
            factor, failed = dpotrf(matrix.T, lower=1, overwrite_a=1)
            lower = np.tril(dpotri(factor, lower=1, overwrite_c=1)[0]) if not failed else None
            self._of = (cost, None if lower is None else lower + np.tril(lower, -1).T)
        return self._of[1]


def _most(active: np.ndarray) -> bool:
    return bool(2 * active.sum() > len(active))


def _uniform(costs: np.ndarray) -> bool:
    return bool(costs.min() == costs.max())


def _solve(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """By Cholesky; where rounding has made the matrix singular, the shortest solution."""
    if not len(right):
        return right
    _, solution, failed = dposv(matrix, right, lower=1)
    return np.linalg.lstsq(matrix, right, rcond=None)[0] if failed else solution


def minimise(form: Form, signs: np.ndarray, costs: np.ndarray, start: Point | None = None) -> Point:
    """The minimum, from ``start`` (the minimum at a smaller cost; default 0) in a few steps.

    signs  (n,) 1 or −1
    costs  (n,) of each image, at least 0

    >>> z = np.array([[1.0, 1.0], [-1.0, 1.0]])  # two images of one feature, and the column of ones
    >>> y, c = np.array([1.0, -1.0]), np.ones(2)
    >>> minimise(Primal(z), y, c).unknowns.round(12)  # w = 4c / (1 + 4c)
    array([0.8, 0. ])
    >>> minimise(Dual(z @ z.T), y, c).values
    array([ 0.8, -0.8])
    """
    here = start or form.origin()
    count = costs > 0
    for _ in range(STEPS):
        margins = signs * here.values
        active = (margins < 1) & count
        there = form.newton(signs, costs, active)
        reached = signs * there.values
        if not np.any(count & np.where(active, reached > 1 + ROUNDING, reached < 1 - ROUNDING)):
            return there
        step = _farthest(form, here, there, 1.0 - margins, reached - margins, costs)
        if step <= 0:  # rounding sees no way down
            return here
        here = Point(*(a + step * (b - a) for a, b in zip(here, there, strict=True)))
    return here


def _farthest(form: Form, here: Point, there: Point, slack: np.ndarray, gain: np.ndarray, costs: np.ndarray) -> float:
    """The t at which the objective at here + t·(there − here) is least.

    Along the way each image's part is c·max(0, slack − t·gain)², so that the derivative is piecewise linear, rising,
    and changes its line where slack = t·gain.
    """
    way = Point(there.unknowns - here.unknowns, there.values - here.values)
    active = slack > 0
    level = form.dot(here, way) - 2.0 * float((costs * gain * slack)[active].sum())
    slope = form.dot(way, way) + 2.0 * float((costs * gain**2)[active].sum())
    (turning,) = np.nonzero((active & (gain > 0)) | (~active & (gain < 0)))
    times = slack[turning] / gain[turning]
    order = np.argsort(times, kind="stable")
    turning, times = turning[order], times[order]
    sign = np.where(active[turning], -1.0, 1.0)  # leaves or joins
    levels = level + np.cumsum(np.r_[0.0, -2.0 * sign * costs[turning] * gain[turning] * slack[turning]])
    slopes = slope + np.cumsum(np.r_[0.0, 2.0 * sign * costs[turning] * gain[turning] ** 2])
    risen = np.flatnonzero(levels[:-1] + slopes[:-1] * times >= 0)
    piece = risen[0] if len(risen) else -1
    return float(-levels[piece] / slopes[piece])
