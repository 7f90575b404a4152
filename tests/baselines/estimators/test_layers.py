"""BestLayer finds the layer that tells the classes apart, by the training set alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from baselines.estimators import BestLayer, LinearSVM, Tuned
from baselines.estimators.folds import make_folds
from tests.baselines.estimators.made import blobs
from wdiv.errors import BadInput

LAYERS = {"early": slice(0, 6), "middle": slice(6, 12), "late": slice(12, 18)}
FEW = (1e-2, 1e-1)


def layered(where: str, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Noise everywhere but in one layer."""
    x, y = blobs(n, 6, 3)
    features = np.random.default_rng(1).normal(size=(n, 18))
    features[:, LAYERS[where]] = x
    return features, y


@pytest.mark.parametrize("where", LAYERS)
@pytest.mark.parametrize(
    "estimator", [LinearSVM(costs=FEW, folds=3), Tuned(KNeighborsClassifier(), folds=3), GaussianNB()]
)
def test_the_informative_layer_is_chosen(where: str, estimator: Any) -> None:
    x, y = layered(where)
    best = BestLayer(estimator, LAYERS).fit(x, y)
    assert best.layer_ == where
    assert best.cv_score_ == best.cv_scores_[where] == max(best.cv_scores_.values())
    assert list(best.cv_scores_) == list(LAYERS)
    np.testing.assert_array_equal(best.columns_, np.arange(18)[LAYERS[where]])
    np.testing.assert_array_equal(best.predict(x), best.estimator_.predict(x[:, LAYERS[where]]))
    assert best.fallback_ is None


def test_the_scores_are_those_of_the_estimator_on_each_layer() -> None:
    x, y = layered("middle")
    best = BestLayer(LinearSVM(costs=FEW, folds=3), LAYERS).fit(x, y)
    alone = {name: LinearSVM(costs=FEW, folds=3).fit(x[:, cut], y).cv_score_ for name, cut in LAYERS.items()}
    assert best.cv_scores_ == alone


def test_an_estimator_without_a_score_is_cross_validated() -> None:
    x, y = layered("middle")
    best = BestLayer(GaussianNB(), LAYERS, folds=4, random_state=2).fit(x, y)
    parts, _ = make_folds(y, 4, 2)
    for name, cut in LAYERS.items():
        assert best.cv_scores_[name] == cross_val_score(GaussianNB(), x[:, cut], y, cv=parts).mean()


def test_of_equally_good_layers_the_last_is_taken() -> None:
    x, y = blobs(60, 6, 3)
    twice = np.hstack([x, x])
    for layers in ({"a": slice(0, 6), "b": slice(6, 12)}, {"b": slice(6, 12), "a": slice(0, 6)}):
        assert BestLayer(LinearSVM(costs=FEW), layers).fit(twice, y).layer_ == list(layers)[-1]


def test_columns_may_be_indices_or_a_mask() -> None:
    x, y = layered("late")
    mask = np.zeros(18, dtype=bool)
    mask[12:] = True
    for columns in (np.arange(12, 18), mask, [12, 13, 14, 15, 16, 17], slice(12, None)):
        best = BestLayer(LinearSVM(costs=FEW), {"early": slice(0, 6), "late": columns}).fit(x, y)
        np.testing.assert_array_equal(best.columns_, np.arange(12, 18))


def test_without_layers_all_is_one() -> None:
    x, y = layered("early")
    best = BestLayer(LinearSVM(costs=FEW)).fit(x, y)
    assert best.layer_ == "all"
    np.testing.assert_allclose(best.estimator_.coef_, LinearSVM(costs=FEW).fit(x, y).coef_)


def test_the_layer_is_chosen_inside_each_outer_fold() -> None:
    """In one fold's training set the labels follow one layer, in the other's another."""
    n = 40
    y = np.arange(2 * n) % 2
    x = np.random.default_rng(0).normal(size=(2 * n, 2))
    x[:n, 0] += 6 * y[:n]
    x[n:, 1] += 6 * y[n:]
    layers = {"first": [0], "second": [1]}
    machine = BestLayer(LinearSVM(costs=FEW), layers)
    chosen = [machine.fit(x[rows], y[rows]).layer_ for rows in (slice(n), slice(n, None))]
    assert chosen == ["first", "second"]
    outer = [(np.arange(n), np.arange(n, 2 * n)), (np.arange(n, 2 * n), np.arange(n))]
    scores = cross_val_score(machine, x, y, cv=outer)
    assert (scores < 0.75).all(), "who had chosen with the test set in sight would have done better"


def test_without_folds_the_last_layer_is_taken_and_said() -> None:
    x, y = layered("early")
    keep = np.r_[np.flatnonzero(y < 1), np.flatnonzero(y == 2)[:1]]
    told = "no cross-validation: the smallest class has 1 image"
    for estimator, more in ((LinearSVM(), "; cost 1"), (GaussianNB(), "")):
        best = BestLayer(estimator, LAYERS).fit(x[keep], y[keep])
        assert best.layer_ == "late"
        assert math.isnan(best.cv_score_)
        assert best.fallback_ == f"{told}{more}; the last layer, 'late'"


def test_a_fallback_of_the_estimator_is_told() -> None:
    x, y = layered("middle")
    keep = np.r_[np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:3]]
    told = "the smallest class has 3 images: it is held out in 3 of the 5 folds"
    for estimator in (LinearSVM(costs=FEW), GaussianNB()):
        assert BestLayer(estimator, LAYERS).fit(x[keep], y[keep]).fallback_ == told


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "layers is empty"),
        ({"a": slice(0, 30)}, "layer 'a': X has 18 columns; it ends at 30"),
        ({"a": [3, 18]}, "layer 'a': X has 18 columns; index 18 is out of bounds"),
        ({"a": slice(5, 5)}, r"layer 'a': slice\(5, 5, None\) is no range of columns; X has 18"),
        ({"a": 3}, "layer 'a': 3 is no range of columns"),
    ],
)
def test_layers_that_are_not_there(layers: Any, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        BestLayer(LinearSVM(), layers).fit(*layered("early"))


def test_it_is_usable_in_a_cross_validation_of_scikit_learn() -> None:
    x, y = layered("middle")
    split = StratifiedKFold(3)
    assert cross_val_score(BestLayer(LinearSVM(costs=FEW, folds=3), LAYERS), x, y, cv=split).mean() > 0.8
