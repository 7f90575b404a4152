"""An independent computation of every score: slow, plain, with dense matrices, in 50 digits.

An oracle takes lists of lists of numbers and shares no code with baselines. To add a score, add one function here under
the score's own name.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
from mpmath import mp, mpf, workdps

Rows = list[list[float]]
ORACLES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {}
ZERO = mpf(10) ** -40
"""What 50 digits leave of a zero."""


def oracle(function: Callable[[Rows, list], float]) -> Callable[[Rows, list], float]:
    """Enter the function under its own name and run it in 50 digits."""

    def precise(x: np.ndarray, y: np.ndarray) -> float:
        with workdps(50):
            return float(function(x.tolist(), y.tolist()))

    ORACLES[function.__name__] = precise
    return function


# ------------------------------------------------------------------------------------------------ log maximum evidence


@oracle
def logme(features: Rows, labels: list) -> float:
    """MacKay's updates with the matrix A = αI + βFᵀF itself, until α/β moves by less than 1 %, eleven times at most."""
    f, n, d = mp.matrix(features), len(features), len(features[0])
    total = mpf(0)
    for label in set(labels):
        y = mp.matrix([1 if found == label else 0 for found in labels])
        alpha = beta = mpf(1)
        for _ in range(11):
            before = alpha / beta
            inverse = mp.inverse(alpha * mp.eye(d) + beta * f.T * f)
            m = beta * inverse * f.T * y
            gamma = d - alpha * mp.fsum(inverse[i, i] for i in range(d))
            length, error = mp.fsum(v**2 for v in m), mp.fsum(v**2 for v in f * m - y)
            alpha, beta = gamma / length, (n - gamma) / error
            if abs(alpha / beta - before) < before / 100:
                break
        total += (d * mp.log(alpha) + n * mp.log(beta) - mp.log(mp.det(alpha * mp.eye(d) + beta * f.T * f))) / 2
        total -= (beta * error + alpha * length + n * mp.log(2 * mp.pi)) / 2
    return total / n / len(set(labels))


# ---------------------------------------------------------------------------------------------------- source's classes


@oracle
def leep(probabilities: Rows, labels: list) -> float:
    n, sources = len(labels), range(len(probabilities[0]))
    joint = {(y, z): mpf(0) for y in labels for z in sources}
    for row, y in zip(probabilities, labels, strict=True):
        for z in sources:
            joint[y, z] += mpf(row[z]) / n
    mass = [sum(joint[y, z] for y in set(labels)) for z in sources]
    likelihoods = (
        sum(joint[y, z] / mass[z] * mpf(row[z]) for z in sources if mass[z])
        for row, y in zip(probabilities, labels, strict=True)
    )
    return mp.fsum(mp.log(likelihood) for likelihood in likelihoods) / n


@oracle
def nce(probabilities: Rows, labels: list) -> float:
    """The entropy of the labels within each predicted class, one class after the other."""
    told = [row.index(max(row)) for row in probabilities]
    entropy = mpf(0)
    for z in set(told):
        inside = [y for y, found in zip(labels, told, strict=True) if found == z]
        shares = [mpf(inside.count(y)) / len(inside) for y in set(inside)]
        entropy -= mpf(len(inside)) / len(labels) * mp.fsum(share * mp.log(share) for share in shares)
    return -entropy


# ------------------------------------------------------------------------------------------------------------- scatter


def covariance(rows: Rows, ddof: int = 0) -> mp.matrix:
    n, d = len(rows), len(rows[0])
    mean = [mp.fsum(mpf(row[j]) for row in rows) / n for j in range(d)]
    apart = mp.matrix([[mpf(row[j]) - mean[j] for j in range(d)] for row in rows])
    return apart.T * apart / (n - ddof)


def class_means(features: Rows, labels: list) -> Rows:
    """Each row by the mean of its class."""
    means = {}
    for label in set(labels):
        inside = [row for row, y in zip(features, labels, strict=True) if y == label]
        means[label] = [mp.fsum(map(mpf, column)) / len(inside) for column in zip(*inside, strict=True)]
    return [means[label] for label in labels]


def of_eigenvalues(matrix: mp.matrix, function: Callable[[mpf], mpf]) -> mp.matrix:
    """Of a positive semidefinite matrix, the function of it that is 0 on its null space."""
    values, vectors = mp.eigsy(matrix)
    largest = max(values)
    kept = [function(v) if v > ZERO * largest else mpf(0) for v in values]
    return vectors * mp.diag(kept) * vectors.T


def trace(matrix: mp.matrix) -> mpf:
    return mp.fsum(matrix[i, i] for i in range(matrix.rows))


@oracle
def h_score(features: Rows, labels: list) -> float:
    """With the dense pseudoinverse."""
    inverse = of_eigenvalues(covariance(features), lambda v: 1 / v)
    return trace(inverse * covariance(class_means(features, labels)))


@oracle
def h_score_shrunk(features: Rows, labels: list) -> float:
    """The intensity by the definitions of Ledoit and Wolf, entry by entry."""
    n, d, s = len(features), len(features[0]), covariance(features)
    mean = [mp.fsum(map(mpf, column)) / n for column in zip(*features, strict=True)]

    def apart(a: mp.matrix) -> mpf:
        return mp.fsum((a[i, j] - s[i, j]) ** 2 for i in range(d) for j in range(d))

    sphere = trace(s) / d * mp.eye(d)
    noise = mpf(0)
    for row in features:
        x = mp.matrix([mpf(v) - m for v, m in zip(row, mean, strict=True)])
        noise += apart(x * x.T) / n**2
    a = min(noise / apart(sphere), mpf(1)) if d > 1 else mpf(0)
    shrunk = (1 - a) * s + a * sphere
    return (1 - a) * trace(of_eigenvalues(shrunk, lambda v: 1 / v) * covariance(class_means(features, labels)))


# ----------------------------------------------------------------------------------------------------------- distances


@oracle
def frechet_distance(features: Rows, source_features: Rows) -> float:
    """With the roots of the dense matrices, Σ₁^½ Σ₂ Σ₁^½ in place of Σ₁Σ₂."""
    one, other = covariance(features, ddof=1), covariance(source_features, ddof=1)
    root = of_eigenvalues(one, mp.sqrt)
    both = trace(of_eigenvalues(root * other * root, mp.sqrt))
    columns = zip(zip(*features, strict=True), zip(*source_features, strict=True), strict=True)
    means = ((mp.fsum(map(mpf, a)) / len(a), mp.fsum(map(mpf, b)) / len(b)) for a, b in columns)
    return mp.fsum((a - b) ** 2 for a, b in means) + trace(one) + trace(other) - 2 * both


@oracle
def mmd(features: Rows, source_features: Rows) -> float:
    """Pair by pair."""
    rows = features + source_features
    width = statistics.median(math.dist(a, b) for i, a in enumerate(rows) for b in rows[:i])

    def kernel(a: list[float], b: list[float]) -> float:
        return math.exp(-(math.dist(a, b) ** 2) / (2 * width**2))

    def within(rows: Rows) -> float:
        pairs = [(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
        return math.fsum(kernel(a, b) for a, b in pairs) / len(pairs)

    between = [kernel(a, b) for a in features for b in source_features]
    return within(features) + within(source_features) - 2 * math.fsum(between) / len(between)
