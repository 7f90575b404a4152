"""LinearSVM: the machine of LinearSVC, the choice of GridSearchCV, and what is said where either cannot be had."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import LinearSVC

from baselines.estimators import LinearSVM, search
from baselines.estimators.folds import make_folds
from baselines.estimators.svm import COSTS, UNSEARCHED
from baselines.estimators.temperature import fit_temperature
from tests.baselines.estimators.made import blobs
from wdiv.errors import BadInput

SHAPES = [(60, 8), (30, 50)]
WEIGHTS = [None, "balanced", {"a": 3.0, "b": 0.5}]
NAMES = np.array(["a", "b", "c"])
FEW = (1e-3, 1e-2, 1e-1)


def named(n: int = 60, d: int = 8, k: int = 3, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of classes that differ in size."""
    x, labels = blobs(n, d, k, **options)
    keep = np.r_[np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)[: n // k // 2]]
    return x[keep], NAMES[labels[keep]]


def liblinear(cost: float, shape: tuple[int, int], **options: Any) -> Any:
    return LinearSVC(C=cost, dual=shape[1] > shape[0], tol=1e-10, max_iter=10**6, **options)


# --------------------------------------------------------------------------------------------------------- one cost


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("weights", WEIGHTS, ids=["none", "balanced", "given"])
@pytest.mark.parametrize("cost", [1e-3, 0.3])
def test_it_is_linear_svc_on_standardised_features(shape: tuple[int, int], k: int, weights: Any, cost: float) -> None:
    x, y = named(*shape, k, apart=0.5)
    ours = LinearSVM(cost, class_weight=weights).fit(x, y)
    scaler = StandardScaler().fit(x)
    theirs = liblinear(cost, shape, class_weight=weights).fit(scaler.transform(x), y)
    coef = theirs.coef_ / scaler.scale_
    np.testing.assert_allclose(ours.coef_, coef, rtol=0, atol=1e-6 * np.abs(coef).max())
    other, _ = blobs(40, shape[1], k, seed=5)
    np.testing.assert_allclose(
        ours.decision_function(other), theirs.decision_function(scaler.transform(other)), rtol=0, atol=1e-5
    )
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(scaler.transform(x)))
    assert ours.coef_.shape == theirs.coef_.shape
    assert ours.intercept_.shape == theirs.intercept_.shape


@settings(max_examples=25)
@given(st.integers(4, 30), st.integers(1, 30), st.integers(2, 4), st.integers(0, 10**6))
def test_it_is_linear_svc_on_features_as_they_are(n: int, d: int, k: int, seed: int) -> None:
    x, labels = blobs(max(n, k), d, k, seed=seed)
    x = x / np.abs(x).max()
    ours = LinearSVM(0.5, normalise=None).fit(x, labels)
    theirs = liblinear(0.5, x.shape).fit(x, labels)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=0, atol=1e-5)


def test_rows_of_length_one() -> None:
    x, y = named()
    ours = LinearSVM(0.5, normalise="l2").fit(x, y)
    theirs = make_pipeline(Normalizer(), liblinear(0.5, x.shape)).fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(ours.decision_function(7 * x), ours.decision_function(x))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [2, 3])
def test_crammer_and_singer_s_is_linear_svc_s(shape: tuple[int, int], k: int) -> None:
    x, y = named(*shape, k)
    ours = LinearSVM(0.01, multi_class="crammer_singer").fit(x, y)
    plain = LinearSVC(C=0.01, multi_class="crammer_singer", tol=1e-8, max_iter=10**5)
    theirs = make_pipeline(StandardScaler(), plain).fit(x, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), rtol=0, atol=0.01)
    assert ours.fallback_ is None


@pytest.mark.parametrize("shape", SHAPES)
def test_coefficients_are_in_the_features_own_units(shape: tuple[int, int]) -> None:
    x, y = named(*shape)
    machine = LinearSVM(0.01).fit(x, y)
    np.testing.assert_allclose(machine.decision_function(x), x @ machine.coef_.T + machine.intercept_)
    other = LinearSVM(0.01).fit(1000 * x + 3, y)
    np.testing.assert_allclose(other.coef_ * 1000, machine.coef_, rtol=1e-6, atol=1e-9)


# ----------------------------------------------------------------------------------------------------------- the choice


@pytest.mark.parametrize("normalise", ["standard", "l2", None])
def test_the_choice_is_grid_search_s_on_digits(normalise: str | None) -> None:
    x, y = load_digits(return_X_y=True)
    x, y = x[:300], y[:300]
    before = {"standard": [StandardScaler()], "l2": [Normalizer()], None: []}[normalise]
    costs = [1e-4, 1e-3, 1e-2, 1e-1] if normalise != "l2" else [1e-2, 1e-1, 1.0, 10.0]
    costs = costs if normalise else [1e-7, 1e-6, 1e-5, 1e-4]
    split = StratifiedKFold(3, shuffle=True, random_state=4)
    machine = make_pipeline(*before, LinearSVC(dual=False, tol=1e-8, max_iter=10**5))
    theirs = GridSearchCV(machine, {"linearsvc__C": costs}, cv=split).fit(x, y)
    ours = LinearSVM(costs=costs[::-1], folds=3, normalise=normalise, random_state=4).fit(x, y)
    scores = np.transpose([theirs.cv_results_[f"split{fold}_test_score"] for fold in range(3)])
    np.testing.assert_array_equal(ours.cv_scores_, scores)
    np.testing.assert_array_equal(ours.costs_, costs)
    assert ours.cost_ == theirs.best_params_["linearsvc__C"]
    assert ours.cv_score_ == pytest.approx(theirs.best_score_)
    assert np.ptp(scores.mean(axis=1)) > 0.001, "a choice there was"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weights", ["balanced", {"a": 3.0}])
def test_the_choice_is_grid_search_s_with_class_weights(shape: tuple[int, int], weights: Any) -> None:
    x, y = named(*shape, apart=0.3)
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    machine = make_pipeline(StandardScaler(), liblinear(1, shape, class_weight=weights))
    theirs = GridSearchCV(machine, {"linearsvc__C": FEW}, cv=split).fit(x, y)
    ours = LinearSVM(costs=FEW, folds=4, class_weight=weights).fit(x, y)
    np.testing.assert_allclose(ours.cv_scores_.mean(axis=1), theirs.cv_results_["mean_test_score"])
    assert ours.cost_ == theirs.best_params_["linearsvc__C"]


def least_cross_entropy(decisions: np.ndarray, labels: np.ndarray) -> float:
    """Of softmax(decisions / T) and Platt's targets, over ten thousand temperatures."""
    if decisions.ndim == 1:
        decisions = np.column_stack([np.zeros(len(labels)), decisions])
    n, k = decisions.shape
    targets = (np.eye(k)[labels] * n + 1) / (n + k)
    found = []
    for temperature in np.geomspace(1e-3, 1e3, 10_000):
        z = decisions / temperature
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        found.append(-(targets * log_p).sum(axis=1).mean())
    return float(min(found))


@pytest.mark.parametrize(("k", "apart", "seed"), [(2, 1.5, 0), (3, 2.0, 1), (3, 1.5, 3)])
def test_of_equally_accurate_costs_the_least_cross_entropy_is_taken(k: int, apart: float, seed: int) -> None:
    """A plain loop over folds and costs, with scikit-learn's machine."""
    x, labels = blobs(8 * k, 40, k, apart=apart, seed=seed)
    costs = 10.0 ** np.arange(-4, 2)
    right, held_out = np.zeros(len(costs)), [[None] * len(labels) for _ in costs]
    for train, held in StratifiedKFold(4, shuffle=True, random_state=0).split(x, labels):
        scaler = StandardScaler().fit(x[train])
        for i, cost in enumerate(costs):
            machine = liblinear(cost, x.shape).fit(scaler.transform(x[train]), labels[train])
            right[i] += (machine.predict(scaler.transform(x[held])) == labels[held]).sum()
            for row, value in zip(held, machine.decision_function(scaler.transform(x[held])), strict=True):
                held_out[i][row] = value
    entropy = [least_cross_entropy(np.array(values), labels) for values in held_out]
    tied = [i for i in range(len(costs)) if right[i] == right.max()]
    assert len(tied) > 1, "there is something to choose"
    wanted = min(tied, key=lambda i: entropy[i])
    assert LinearSVM(costs=costs, folds=4).fit(x, labels).cost_ == costs[wanted]
    if k == 3:
        assert wanted != tied[0], "and it is not the smallest"


def test_of_costs_that_are_equal_in_all_the_smallest_is_taken() -> None:
    y = np.repeat([0, 1, 2], 6)
    machine = LinearSVM(costs=[10.0, 1.0, 0.1]).fit(np.ones((18, 4)), y)
    assert machine.cost_ == 0.1


def test_accuracy_comes_first() -> None:
    """A lower cross entropy does not make up for one image."""
    labels = np.array([0, 0, 1, 1])
    all_right, but_one = [-0.1, -0.01, 9.0, 0.1], [-9.0, -9.0, 9.0, -0.01]
    decisions, right = np.array([all_right, but_one])[..., None], np.array([[2, 2], [2, 1]])
    assert least_cross_entropy(decisions[1, :, 0], labels) < least_cross_entropy(decisions[0, :, 0], labels)
    sizes, rows = np.array([2, 2]), np.arange(4)
    assert search.Search(right, sizes, rows, decisions).best(labels) == 0
    assert search.Search(right[::-1], sizes, rows, decisions[::-1]).best(labels) == 1


def test_the_costs_by_default_are_eleven_tenfold_steps() -> None:
    np.testing.assert_allclose(np.log10(COSTS), np.arange(-6, 5))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_library_s_way_beyond_the_limit_comes_to_the_same(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = named(*shape)
    exact = LinearSVM(costs=FEW).fit(x, y)
    monkeypatch.setattr(search, "LIMIT", 5)
    library = LinearSVM(costs=FEW).fit(x, y)
    np.testing.assert_allclose(library.cv_scores_, exact.cv_scores_, atol=0.1)
    np.testing.assert_allclose(library.decision_function(x), exact.decision_function(x), atol=0.02)
    assert exact.fallback_ is None
    assert library.fallback_ == "LinearSVC in place of the exact solver: more than 4000 images and features"


def test_linear_svc_that_stops_too_soon_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = named(30, 50)
    monkeypatch.setattr(search, "LIMIT", 5)
    monkeypatch.setattr(search, "ITERATIONS", 2)
    assert LinearSVM(10.0).fit(x, y).fallback_.endswith("; LinearSVC stopped after 2 iterations, before it converged")


def test_the_random_state_is_what_the_folds_follow() -> None:
    x, y = named(apart=0.2)
    scores = [LinearSVM(costs=FEW, random_state=seed).fit(x, y).cv_scores_.tolist() for seed in (0, 0, 1)]
    assert scores[0] == scores[1] != scores[2]


# --------------------------------------------------------------------------------------------------------- no peeking


def test_nothing_of_a_held_out_fold_reaches_the_machine_that_judges_it() -> None:
    """One image is far off. Where the scaler has seen it, all others lie together; in its own fold it is not seen."""
    x, y = blobs(40, 6, 2, apart=0.4, seed=2)
    x[0] = 1e9
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    inside = cross_val_score(make_pipeline(StandardScaler(), liblinear(0.01, x.shape)), x, y, cv=split)
    peeking = cross_val_score(liblinear(0.01, x.shape), StandardScaler().fit_transform(x), y, cv=split)
    ours = LinearSVM(costs=[0.01], folds=4).fit(x, y)
    np.testing.assert_array_equal(ours.cv_scores_[0], inside)
    assert (ours.cv_scores_[0] != peeking).any()


def test_the_label_of_an_outer_test_image_changes_no_choice() -> None:
    x, y = blobs(90, 6, 3, apart=0.3)
    (train, test), *_ = StratifiedKFold(3).split(x, y)
    wrong = y.copy()
    wrong[test] = (wrong[test] + 1) % 3
    chosen = [LinearSVM(costs=FEW).fit(x[train], labels[train]) for labels in (y, wrong)]
    assert chosen[0].cost_ == chosen[1].cost_
    np.testing.assert_array_equal(chosen[0].coef_, chosen[1].coef_)


def test_nested_in_a_pipeline_and_in_a_cross_validation() -> None:
    x, y = named(90)
    machine = make_pipeline(StandardScaler(), LinearSVM(costs=FEW, folds=3))
    assert cross_val_score(machine, x, y, cv=3).mean() > 0.8
    assert cross_val_predict(machine, x, y, cv=3, method="predict_proba").shape == (len(x), 3)


def test_noise_is_not_told_from_noise() -> None:
    """Of labels that have nothing to do with the features, cross-validation promises little more than chance."""
    rng = np.random.default_rng(0)
    found = [LinearSVM(costs=FEW).fit(rng.normal(size=(60, 200)), np.arange(60) % 2).cv_score_ for _ in range(5)]
    assert np.mean(found) < 0.62


# ------------------------------------------------------------------------------------------------------ probabilities


@pytest.mark.parametrize("k", [2, 3])
def test_the_temperature_is_fitted_on_images_that_were_held_out(k: int) -> None:
    x, y = named(60, 8, k, apart=0.5)
    machine = LinearSVM(costs=[0.01], folds=4).fit(x, y)
    pipe = make_pipeline(StandardScaler(), liblinear(0.01, x.shape))
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    held = cross_val_predict(pipe, x, y, cv=split, method="decision_function").reshape(len(x), -1)
    labels = np.unique(y, return_inverse=True)[1]
    assert machine.temperature_ == pytest.approx(fit_temperature(held, labels), rel=1e-4)
    assert machine.temperature_ > 1.02 * fit_temperature(machine.decision_function(x).reshape(len(x), -1), labels)


@pytest.mark.parametrize("k", [2, 3])
def test_probabilities_are_the_softmax_over_the_temperature(k: int) -> None:
    x, y = named(60, 8, k)
    machine = LinearSVM(costs=FEW).fit(x, y)
    values, p = machine.decision_function(x), machine.predict_proba(x)
    values = np.column_stack([0 * values, values]) if k == 2 else values
    wanted = np.exp(values / machine.temperature_)
    np.testing.assert_allclose(p, wanted / wanted.sum(axis=1, keepdims=True))
    np.testing.assert_array_equal(machine.classes_[p.argmax(axis=1)], machine.predict(x))


# ---------------------------------------------------------------------------------------------------------- fallbacks


def test_a_given_cost_is_not_searched_for() -> None:
    machine = LinearSVM(0.25, costs=()).fit(*named())
    assert machine.cost_ == 0.25
    assert machine.temperature_ == 1
    assert math.isnan(machine.cv_score_)
    assert machine.cv_scores_.shape == (1, 0)
    assert machine.fallback_ is None


def test_a_small_class_takes_no_folds_from_the_others() -> None:
    x, y = blobs(60, 8, 3)
    keep = np.r_[np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:3]]
    machine = LinearSVM(costs=FEW).fit(x[keep], y[keep])
    assert machine.cv_scores_.shape == (3, 5)
    assert machine.fallback_ == "the smallest class has 3 images: it is held out in 3 of the 5 folds"


def test_a_class_of_one_image_is_trained_on_in_every_fold() -> None:
    """And the others choose the cost, and the temperature, as if it stood there and were never asked for."""
    x, y = blobs(60, 8, 3)
    keep = np.r_[np.flatnonzero(y < 2), np.flatnonzero(y == 2)[:1]]
    x, y = x[keep], y[keep]
    machine = LinearSVM(costs=FEW).fit(x, y)
    assert machine.fallback_.startswith("the smallest class has 1 image: it is held out in none")
    parts, _ = make_folds(y, 5)
    alone = [LinearSVM(machine.cost_).fit(x[train], y[train]) for train, _ in parts]
    right = [np.mean(one.predict(x[held]) == y[held]) for one, (_, held) in zip(alone, parts, strict=True)]
    assert machine.cv_scores_[FEW.index(machine.cost_)] == pytest.approx(right)
    held = np.concatenate([held for _, held in parts])
    values = np.concatenate([one.decision_function(x[rows]) for one, (_, rows) in zip(alone, parts, strict=True)])
    found = fit_temperature(values, np.unique(y, return_inverse=True)[1][held])
    assert machine.temperature_ == pytest.approx(found, rel=1e-6)


def test_one_class_of_two_has_one_image() -> None:
    x, y = blobs(60, 8, 3)
    keep = np.r_[np.flatnonzero(y < 1), np.flatnonzero(y == 2)[:1]]
    machine = LinearSVM().fit(x[keep], y[keep])
    assert machine.cost_ == UNSEARCHED
    assert machine.fallback_ == "no cross-validation: the smallest class has 1 image; cost 1"
    assert math.isnan(machine.cv_score_)
    np.testing.assert_array_equal(machine.coef_, LinearSVM(UNSEARCHED).fit(x[keep], y[keep]).coef_)


def test_a_constant_feature_has_no_part() -> None:
    x, y = named()
    more = np.column_stack([x, np.full(len(x), 0.1), np.zeros(len(x))])
    machine = LinearSVM(costs=FEW).fit(more, y)
    np.testing.assert_array_equal(machine.coef_[:, -2:], 0)
    np.testing.assert_allclose(machine.coef_[:, :-2], LinearSVM(costs=FEW).fit(x, y).coef_)
    assert machine.fallback_ is None


@pytest.mark.parametrize("normalise", ["standard", "l2", None])
@pytest.mark.parametrize("multi_class", ["ovr", "crammer_singer"])
@pytest.mark.parametrize("counts", [(4, 7, 3), (4, 7), (7, 4)])
def test_where_no_feature_varies_the_largest_class_is_the_answer(
    normalise: str | None, multi_class: str, counts: tuple[int, ...]
) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.full((len(y), 5), 0.3)
    machine = LinearSVM(folds=2, normalise=normalise, multi_class=multi_class).fit(x, y)
    assert set(machine.predict(x)) == {int(np.argmax(counts))}
    assert machine.fallback_ == "every feature is constant: the answer is the largest class"
    assert np.isfinite(machine.predict_proba(x)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_scikit_learn_s_error(bad: float) -> None:
    x, y = named()
    x[3, 1] = bad
    with pytest.raises(ValueError, match=r"LinearSVM does not accept missing values|Input X contains infinity"):
        LinearSVM().fit(x, y)


def test_one_class_is_none() -> None:
    with pytest.raises(BadInput, match="y holds one class, 'a'; a classifier needs at least 2 classes"):
        LinearSVM().fit(np.eye(4), ["a"] * 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": 0}, "a cost is a finite number above 0, or 'auto', not 0"),
        ({"cost": "best"}, "a cost is a finite number above 0, or 'auto', not 'best'"),
        ({"cost": None}, "a cost is a finite number above 0, or 'auto', not None"),
        ({"class_weight": {"a": -1.0}}, "class_weight: weights are finite and at least 0, not {'a': -1.0}"),
        ({"costs": []}, "costs is empty"),
        ({"costs": [1.0, math.inf]}, "a cost is a finite number above 0, or 'auto', not inf"),
        ({"folds": 1}, "folds is a whole number of at least 2, not 1"),
        ({"normalise": "max"}, "normalise is one of 'standard', 'l2', None, not 'max'"),
        ({"multi_class": "ovo"}, "multi_class is one of 'ovr', 'crammer_singer', not 'ovo'"),
    ],
)
def test_what_is_not_allowed_is_said(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        LinearSVM(**options).fit(*named())


def test_float32_features_are_worked_on_in_float64() -> None:
    x, y = named()
    single = x.astype(np.float32)
    a, b = LinearSVM(costs=FEW).fit(single, y), LinearSVM(costs=FEW).fit(single.astype(np.float64), y)
    assert a.coef_.dtype == np.float64
    np.testing.assert_array_equal(a.coef_, b.coef_)
