"""What is known of each baseline besides its name: an independent way to the same answers, and how good they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC


@dataclass(frozen=True)
class Facts:
    """Of a baseline.

    plain          (folds, seed) → what scikit-learn alone would be asked for
    agreement      the share of answers in which the two agree, at least
    probabilities  whether it has them
    digits         accuracy on digits, trained on 300, at least
    """

    plain: Callable[[int, int], Any]
    agreement: float
    probabilities: bool
    digits: float


def searched(estimator: Any, grid: dict[str, Any], before: Any = None) -> Callable[[int, int], Any]:
    """GridSearchCV over a pipeline."""

    def make(folds: int, seed: int) -> Any:
        pipe = make_pipeline(before or StandardScaler(), clone(estimator))
        if "random_state" in estimator.get_params():
            pipe[-1].set_params(random_state=seed)
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        return GridSearchCV(pipe, {f"{pipe.steps[-1][0]}__{key}": v for key, v in grid.items()}, cv=split)

    return make


POWERS = [10.0**power for power in range(-6, 5)]

FACTS = {
    "svm": Facts(searched(LinearSVC(dual=False), {"C": POWERS}, Normalizer()), 1.0, True, 0.93),
    "svm-standard": Facts(searched(LinearSVC(dual=False), {"C": POWERS}), 1.0, True, 0.9),
    "svm-cs": Facts(searched(LinearSVC(multi_class="crammer_singer"), {"C": POWERS}), 0.99, True, 0.9),
    "logistic": Facts(searched(LogisticRegression(max_iter=10**4), {"C": POWERS[:8]}), 0.99, True, 0.92),
    # which shrinks the covariance of each class by itself
    "lda": Facts(searched(LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), {}), 0.95, True, 0.89),
    "ncm": Facts(searched(NearestCentroid(), {}), 1.0, False, 0.85),
    "knn": Facts(searched(KNeighborsClassifier(), {"n_neighbors": [1, 3, 5, 9, 15, 25]}), 1.0, True, 0.92),
    "kernel-svm": Facts(
        searched(SVC(break_ties=True), {"C": [0.1, 1, 10, 100], "gamma": [f / 64 for f in (0.03, 0.1, 0.3, 1)]}),
        1.0, False, 0.94,
    ),
}  # fmt: skip
"""A new baseline needs a line here."""
