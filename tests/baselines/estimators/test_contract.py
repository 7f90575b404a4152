"""scikit-learn's own checks of an estimator, over all that are made here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from baselines.estimators import BASELINES, BestLayer, LinearSVM, Tuned
from baselines.estimators.discriminant import Discriminant, NearestMean
from tests.conftest import some

FEW = (1e-3, 1e-1)
ESTIMATORS = [
    LinearSVM(0.1),
    LinearSVM(costs=FEW, folds=2, normalise=None, class_weight="balanced"),
    Tuned(KNeighborsClassifier(), {"n_neighbors": [1, 3]}, folds=2),
    Tuned(RidgeClassifier(), coordinates=True, folds=2),
    BestLayer(LinearSVM(costs=FEW, folds=2)),
    BestLayer(RidgeClassifier(), folds=2),
    NearestMean(),
    Discriminant(),
]


@parametrize_with_checks(some(ESTIMATORS))
def test_the_contract_is_kept(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def baselines() -> list[Any]:
    """With little to choose among, for the time it takes; test_record.py has all of it."""
    made = [record.make(2, 0) for record in BASELINES.values()]
    return [each.set_params(**{"costs": FEW} if isinstance(each, LinearSVM) else {"grid": None}) for each in made]


@parametrize_with_checks(some(baselines()))
def test_the_baselines_keep_it_too(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)
