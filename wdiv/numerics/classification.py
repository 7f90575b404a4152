"""How good the answers of a classifier are: arrays in, numbers out.

An answer is the class of the largest logit, the first of equal ones. Probabilities come as logarithms, so that nothing
is lost where one is next to 0 or to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import log_expit, log_softmax, logsumexp

__all__ = [
    "BINS", "FIGURES", "PROBABILITIES", "SCORES", "ClassificationScores", "auc", "brier_score", "calibration_error",
    "classification_scores", "confusion_matrix", "log_loss", "scores_of_confusion",
]  # fmt: skip

BINS = 15
"""Of the top probability, as in Guo et al. (2017)."""


def _mean_share(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    """The mean of over / under over the classes of which there is something."""
    share = np.divide(over, under, where=under > 0, out=np.zeros(over.shape))
    return np.asarray(share.sum(axis=-1) / (under > 0).sum(axis=-1))


SCORES: Mapping[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": lambda right, images, answers: right.sum(axis=-1) / images.sum(axis=-1),
    "balanced_accuracy": lambda right, images, answers: _mean_share(right, images),
    "macro_f1": lambda right, images, answers: _mean_share(2.0 * right, images + answers),
}
"""Name -> function of (..., classes) images answered rightly, images, answers: the share of images answered rightly;
its mean over the classes that have images; the mean of 2 · right / (images + answers) over those that have either."""


def _sigmoids(logits: np.ndarray) -> np.ndarray:
    found = log_expit(logits)
    return np.asarray(found - logsumexp(found, axis=1, keepdims=True))


PROBABILITIES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits: np.asarray(log_softmax(logits, axis=1)),
    "sigmoid": _sigmoids,
}
"""The loss that a network was trained with -> log p of (images, classes) logits. Of ``sigmoid``, σ(z) over its sum, as
scikit-learn's ``OneVsRestClassifier`` has it."""


class ClassificationScores(NamedTuple):
    """What :func:`classification_scores` finds; all but the counts are shares of 1, and log loss in nats.

    confusion          (classes, classes) int: images of the row's class that were answered with the column's
    recall, precision  (classes,) right of a class's images, and of its answers; NaN where there are none
    majority_share     of the largest class: the accuracy of answering nothing else
    sensitivity, specificity, auc   of two classes, the second being the positive one; else NaN
    log_loss, calibration_error, brier_score   NaN where there are no probabilities
    """

    confusion: np.ndarray
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    recall: np.ndarray
    precision: np.ndarray
    majority_share: float
    sensitivity: float
    specificity: float
    auc: float = float("nan")
    log_loss: float = float("nan")
    calibration_error: float = float("nan")
    brier_score: float = float("nan")

    @property
    def only_answer(self) -> int | None:
        """The class that was answered for every image, of two or more classes; None where answers differ."""
        given = np.flatnonzero(self.confusion.sum(axis=0))
        return int(given[0]) if len(given) == 1 and len(self.confusion) > 1 else None


FIGURES = (
    "balanced_accuracy", "macro_f1", "log_loss", "calibration_error", "brier_score", "auc", "sensitivity",
    "specificity", "majority_share",
)  # fmt: skip
"""Those of :class:`ClassificationScores` that are one number, beside the accuracy."""


def classification_scores(
    logits: np.ndarray, labels: np.ndarray, probabilities: str | None = "softmax"
) -> ClassificationScores:
    """How good logits are.

    logits         (images, classes), at least one image; or logarithms of probabilities, or decision values
    labels         (images,) index of each image's class
    probabilities  what makes them of the logits, a name of :data:`PROBABILITIES`; None: nothing does

    >>> logits = np.array([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
    >>> found = classification_scores(logits, np.array([0, 0, 1, 1]))
    >>> found.accuracy, found.sensitivity, found.specificity, found.auc, found.only_answer
    (0.75, 0.5, 1.0, 0.5, None)
    >>> round(found.log_loss, 4), round(found.brier_score, 4), round(found.calibration_error, 4)
    (1.1267, 0.5266, 0.3307)
    """
    values = np.asarray(logits, dtype=np.float64)
    found = scores_of_confusion(confusion_matrix(labels, values.argmax(axis=1), values.shape[1]))
    if values.shape[1] == 2:
        found = found._replace(auc=auc(values[:, 1] - values[:, 0], np.asarray(labels) == 1))
    if probabilities is None:
        return found
    log_p = PROBABILITIES[probabilities](values)
    p = np.exp(log_p)
    return found._replace(
        log_loss=log_loss(log_p, labels),
        calibration_error=calibration_error(p, labels),
        brier_score=brier_score(p, labels),
    )


def scores_of_confusion(confusion: np.ndarray) -> ClassificationScores:
    """Those scores that a confusion matrix tells.

    >>> found = scores_of_confusion(np.array([[3, 0], [1, 0]]))
    >>> found.accuracy, found.balanced_accuracy, found.recall, found.precision, found.only_answer
    (0.75, 0.5, array([1., 0.]), array([0.75,  nan]), 0)
    """
    confusion = np.asarray(confusion)
    right, images, answers = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall, precision = (
        np.divide(right, of, out=np.full(len(right), np.nan), where=of > 0) for of in (images, answers)
    )
    specificity, sensitivity = recall.tolist() if len(recall) == 2 else (np.nan, np.nan)
    shares = {name: float(score(right, images, answers)) for name, score in SCORES.items()}
    return ClassificationScores(
        confusion, **shares, recall=recall, precision=precision, majority_share=float(images.max() / images.sum()),
        sensitivity=sensitivity, specificity=specificity,
    )  # fmt: skip


def confusion_matrix(labels: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int: images of the row's class that were answered with the column's.

    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2)
    array([[1, 1],
           [0, 1]])
    """
    cells = np.asarray(labels) * classes + np.asarray(answers)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def log_loss(log_p: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of −log p of their own class, in nats; inf where one was held impossible.

    log_p   (images, classes);  labels: (images,) index of each image's class

    >>> round(log_loss(np.log(np.full((3, 4), 0.25)), np.array([0, 1, 2])), 4)  # log 4
    1.3863
    """
    return -float(np.asarray(log_p)[np.arange(len(labels)), labels].mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """The expected calibration error: Σ over bins of share · |accuracy − mean top probability|.

    probabilities  (images, classes);  labels: (images,) index of each image's class

    An image is right where its most probable class (the first of equally probable ones) is its own. Bins are of equal
    width, each with its upper edge. Naeini et al. (2015), Guo et al. (2017).

    >>> calibration_error(np.array([[0.9, 0.1], [0.9, 0.1]]), np.array([0, 1]))
    0.4
    """
    top = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    where = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    apart = np.bincount(where, weights=right - top, minlength=bins)
    return float(np.abs(apart).sum() / len(top))


def brier_score(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images of Σ over classes of (p − 1 of the image's own class, else p − 0)²; from 0 to 2.

    probabilities  (images, classes);  labels: (images,) index of each image's class

    Brier (1950), whose sum over both of two classes is twice what is often given for them.

    >>> brier_score(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    1.0
    """
    return float(np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1).mean())


def auc(values: np.ndarray, positive: np.ndarray) -> float:
    """The chance that an image of the positive class has the larger value, ties counting half; NaN without either kind.

    values, positive  (images,)

    The area under the receiver operating characteristic, as Mann and Whitney's U over the number of pairs.

    >>> auc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([False, True, False, True]))
    0.875
    """
    ours, others = values[positive], np.sort(values[~positive])
    pairs = len(ours) * len(others)
    if not pairs:
        return float("nan")
    below = np.searchsorted(others, ours, "left").sum() + np.searchsorted(others, ours, "right").sum()
    return float(below / (2 * pairs))
