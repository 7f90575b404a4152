"""LEEP and NCE: how well the source's own classes tell the new ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from baselines.transferability import _check
from baselines.transferability.record import score

__all__ = ["leep", "nce"]


@score(
    takes="probabilities",
    long_name="LEEP, log expected empirical prediction",
    formula="1/n Σᵢ log Σ_z P̂(yᵢ | z) θ(xᵢ)_z, P̂(y, z) = 1/n Σ_{i: yᵢ = y} θ(xᵢ)_z",
    source="Nguyen, Hassner, Seeger and Archambeau (2020)",
    units="nat",
    upper=0.0,
)
def leep(probabilities: Any, labels: Any) -> float:
    """The mean log likelihood of the labels when a source class z is drawn from what the network predicts and the
    label from P̂(y | z); at most 0, higher is better. Of ``probabilities`` θ (n, source classes) and ``labels`` (n,),
    integers or names.

    A source class that is predicted nowhere contributes nothing. The score is always finite: an image has a share in
    P̂ of its own label, so that its likelihood is at least 1/(n · source classes). Rows are scaled to sum to 1 in
    float64. Raises :class:`~wdiv.errors.BadInput` for rows that do not sum to 1 within 1e-3, negative entries and
    arrays of the wrong form, :class:`~wdiv.errors.BadData` for fewer than 2 images or classes.

    Nguyen, Hassner, Seeger and Archambeau, "LEEP: A New Measure to Evaluate Transferability of Learned
    Representations", ICML 2020.

    >>> sure, unsure = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]
    >>> leep(sure, ["cat", "dog"]), round(leep(unsure, ["cat", "dog"]), 4)
    (0.0, -0.6931)
    """
    theta, targets = _check.predicted(probabilities, labels)
    joint = theta.T @ targets
    mass = joint.sum(axis=1, keepdims=True)
    conditional = np.divide(joint, mass, out=np.zeros_like(joint), where=mass > 0)
    likelihood = np.sum((theta @ conditional) * targets, axis=1)
    return float(np.log(np.minimum(likelihood, 1.0)).mean())  # at most 1 but for rounding


@score(
    takes="probabilities",
    long_name="NCE, negative conditional entropy of the labels given the predicted source class",
    formula="Σ_{z,y} P̂(y, z) log P̂(y | z), z = argmax θ(x)",
    source="Tran, Nguyen and Hassner (2019)",
    units="nat",
    upper=0.0,
)
def nce(probabilities: Any, labels: Any) -> float:
    """−H(labels | predicted source class), by natural logarithms; at most 0, higher is better. Of ``probabilities``
    (n, source classes), of which the largest of each row counts (the first of equals), and ``labels`` (n,), integers
    or names.

    At least −log of the number of classes. Raises :class:`~wdiv.errors.BadInput` for rows that do not sum to 1 within
    1e-3, negative entries and arrays of the wrong form, :class:`~wdiv.errors.BadData` for fewer than 2 images or
    classes.

    Tran, Nguyen and Hassner, "Transferability and Hardness of Supervised Classification Tasks", ICCV 2019.

    >>> nce([[0.9, 0.1], [0.2, 0.8]], [0, 1]), round(nce([[0.9, 0.1], [0.8, 0.2]], [0, 1]), 4)
    (0.0, -0.6931)
    """
    theta, targets = _check.predicted(probabilities, labels)
    counts = np.zeros((theta.shape[1], targets.shape[1]))
    np.add.at(counts, theta.argmax(axis=1), targets)
    source, label = np.nonzero(counts)
    joint, mass = counts[source, label], counts.sum(axis=1)[source]
    return float(np.sum(joint * np.log(joint / mass)) / len(theta))
