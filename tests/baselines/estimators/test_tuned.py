"""Tuned is GridSearchCV over a pipeline with a scaler, with a word where there are too few images for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from baselines.estimators import Tuned
from tests.baselines.estimators.made import blobs

ESTIMATORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "knn": (KNeighborsClassifier(), {"n_neighbors": [1, 5, 9], "weights": ["uniform", "distance"]}),
    "logistic": (LogisticRegression(max_iter=1000), {"C": [1e-3, 1e-1, 10.0]}),
    "kernel": (SVC(), {"C": [0.1, 10.0], "gamma": [0.001, 0.01, 0.1]}),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("shape", [(60, 8), (40, 70)])
@pytest.mark.parametrize("coordinates", [False, True])
def test_it_is_grid_search_over_a_pipeline(name: str, shape: tuple[int, int], coordinates: bool) -> None:
    x, y = blobs(*shape, apart=0.5)
    estimator, grid = ESTIMATORS[name]
    ours = Tuned(estimator, grid, folds=4, coordinates=coordinates).fit(x, y)
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    pipe = make_pipeline(StandardScaler(), estimator)
    inner = pipe.steps[-1][0]
    theirs = GridSearchCV(pipe, {f"{inner}__{key}": value for key, value in grid.items()}, cv=split).fit(x, y)
    assert {f"{inner}__{key}": value for key, value in ours.best_params_.items()} == theirs.best_params_
    np.testing.assert_allclose(ours.cv_scores_.mean(axis=1), theirs.cv_results_["mean_test_score"])
    assert ours.cv_score_ == pytest.approx(theirs.best_score_)
    other, _ = blobs(30, shape[1], apart=0.5, seed=3)
    np.testing.assert_array_equal(ours.predict(other), theirs.predict(other))
    assert ours.fallback_ is None


def test_the_scaler_does_not_see_the_fold_that_is_held_out() -> None:
    x, y = blobs(40, 6, 2, apart=0.4, seed=2)
    x[0] = 1e9
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    inside = cross_val_score(make_pipeline(StandardScaler(), KNeighborsClassifier()), x, y, cv=split)
    peeking = cross_val_score(KNeighborsClassifier(), StandardScaler().fit_transform(x), y, cv=split)
    np.testing.assert_array_equal(Tuned(KNeighborsClassifier(), folds=4).fit(x, y).cv_scores_[0], inside)
    assert (peeking != inside).any()


def test_of_equally_good_settings_the_first_is_taken() -> None:
    x, y = blobs(apart=30.0)
    machine = Tuned(KNeighborsClassifier(), {"n_neighbors": [5, 1, 3]}).fit(x, y)
    assert (machine.cv_scores_ == 1).all()
    assert machine.best_params_ == {"n_neighbors": 5}


def test_a_grid_may_follow_the_size_of_the_folds() -> None:
    x, y = blobs(21, 5, 3)
    seen = []

    def grid(images: int, features: int) -> dict[str, list[int]]:
        seen.append((images, features))
        return {"n_neighbors": [images]}

    machine = Tuned(KNeighborsClassifier(), grid, folds=4).fit(x, y)
    assert seen == [(15, 5)]
    assert machine.best_params_ == {"n_neighbors": 15}


def test_without_a_grid_the_score_is_there_all_the_same() -> None:
    x, y = blobs()
    machine = Tuned(KNeighborsClassifier()).fit(x, y)
    assert machine.best_params_ == {}
    assert machine.cv_scores_.shape == (1, 5)
    assert 0.5 < machine.cv_score_ <= 1


def test_a_small_class_and_no_folds() -> None:
    x, y = blobs(60, 8, 3)
    for left, note in (
        (3, "the smallest class has 3 images: it is held out in 3 of the 5 folds"),
        (1, "no cross-validation: the smallest class has 1 image; parameters as given"),
    ):
        keep = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 2)[:left]]
        machine = Tuned(KNeighborsClassifier(7), {"n_neighbors": [1, 3]}).fit(x[keep], y[keep])
        assert machine.fallback_ == note
        assert math.isnan(machine.cv_score_) == (left == 1)
        assert (machine.estimator_[-1].n_neighbors == 7) == (left == 1)


def test_it_can_do_what_the_estimator_can() -> None:
    x, y = blobs()
    knn, kernel = Tuned(KNeighborsClassifier()), Tuned(SVC())
    for machine in (knn, kernel, knn.fit(x, y), kernel.fit(x, y)):
        assert hasattr(machine, "predict_proba") == (machine is knn)
        assert hasattr(machine, "decision_function") == (machine is kernel)
    np.testing.assert_allclose(knn.predict_proba(x).sum(axis=1), 1)


def test_the_estimator_that_was_given_is_left_alone() -> None:
    given = DummyClassifier()
    Tuned(given).fit(*blobs())
    assert not hasattr(given, "classes_")
