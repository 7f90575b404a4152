"""Scores of answers are scikit-learn's; what it lacks is computed again image by image, from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning

from wdiv.numerics.classification import (
    BINS,
    FIGURES,
    PROBABILITIES,
    auc,
    calibration_error,
    classification_scores,
    scores_of_confusion,
)

quiet = pytest.mark.filterwarnings(
    "ignore:y_pred contains classes not in y_true",
    "ignore:A single label was found",
    f"ignore::{UndefinedMetricWarning.__module__}.UndefinedMetricWarning",
)
cases = st.tuples(st.integers(1, 40), st.integers(2, 5), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 30.0]))


def drawn(n: int, k: int, seed: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits in float32, as they are kept, and labels; whole numbers, so that some are equal, where they are large."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, spread, (n, k))
    return (logits.round() if spread > 1 else logits).astype(np.float32), rng.integers(0, k, n)


def softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    p = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True))


@quiet
@settings(max_examples=25)
@given(cases)
def test_what_answers_tell_is_scikit_learn_s(case: tuple[int, int, int, float]) -> None:
    """Whichever classes have no image, no answer, or neither."""
    logits, labels = drawn(*case)
    answers, classes = logits.argmax(axis=1), range(logits.shape[1])
    found = classification_scores(logits, labels)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(labels, answers, labels=classes))
    assert found.accuracy == metrics.accuracy_score(labels, answers)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, answers))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    how = {"labels": list(classes), "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(found.recall, metrics.recall_score(labels, answers, **how))
    np.testing.assert_allclose(found.precision, metrics.precision_score(labels, answers, **how))
    assert found.majority_share == np.bincount(labels).max() / len(labels)
    assert found.only_answer == (answers[0] if len(set(answers.tolist())) == 1 else None)


@quiet
@settings(max_examples=25)
@given(cases)
def test_what_probabilities_tell_is_scikit_learn_s(case: tuple[int, int, int, float]) -> None:
    logits, labels = drawn(*case)
    found, p, classes = classification_scores(logits, labels), softmax(logits), range(logits.shape[1])
    if p.min() > 1e-12:  # below, scikit-learn puts a number in its place
        assert found.log_loss == pytest.approx(metrics.log_loss(labels, p, labels=classes), rel=1e-9)
    wanted = np.equal.outer(labels, classes)
    assert found.brier_score == pytest.approx(np.mean([sum((p[i] - wanted[i]) ** 2) for i in range(len(p))]), abs=1e-12)
    assert found.calibration_error == pytest.approx(error_by_definition(p, labels), abs=1e-9)


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(0, 10**6), st.sampled_from([1.0, 30.0]))
def test_of_two_classes_the_second_is_the_positive_one(n: int, seed: int, spread: float) -> None:
    logits, labels = drawn(n, 2, seed, spread)
    labels[:2] = 0, 1
    found, answers = classification_scores(logits, labels), logits.argmax(axis=1)
    margin = logits[:, 1].astype(np.float64) - logits[:, 0]
    assert found.auc == pytest.approx(metrics.roc_auc_score(labels, margin))
    assert found.sensitivity == metrics.recall_score(labels, answers)
    assert found.specificity == metrics.recall_score(labels, answers, pos_label=0)
    assert found.brier_score == pytest.approx(2 * metrics.brier_score_loss(labels, softmax(logits)[:, 1]), abs=1e-12)


def test_what_is_of_two_classes_is_nan_of_more_and_of_one() -> None:
    of_three = classification_scores(*drawn(9, 3, 0, 1.0))
    assert all(math.isnan(value) for value in (of_three.auc, of_three.sensitivity, of_three.specificity))
    assert math.isnan(auc(np.arange(3.0), np.ones(3, bool)))


def error_by_definition(p: np.ndarray, labels: np.ndarray) -> float:
    """Bin by bin, image by image."""
    total = 0.0
    for b in range(BINS):
        members = [i for i in range(len(p)) if b / BINS < max(p[i]) <= (b + 1) / BINS]
        if members:
            right = np.mean([int(np.argmax(p[i])) == labels[i] for i in members])
            total += len(members) / len(p) * abs(right - np.mean([max(p[i]) for i in members]))
    return total


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_calibration_error_is_the_definition_s(n: int, k: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(k, spread), n)
    labels = rng.integers(0, k, n)
    assert calibration_error(p, labels) == pytest.approx(error_by_definition(p, labels), abs=1e-12)


def test_a_calibrated_model_is_found_so() -> None:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 20_000)
    labels = (p.cumsum(axis=1) > rng.random((20_000, 1))).argmax(axis=1)
    assert calibration_error(p, labels) < 0.015


def test_a_network_that_answers_one_class_is_no_better_than_its_share() -> None:
    labels = np.repeat([0, 1, 2], (12, 3, 1))
    found = classification_scores(np.tile([3.0, 1.0, 0.0], (16, 1)), labels)
    assert (found.accuracy, found.majority_share, found.only_answer) == (0.75, 0.75, 0)
    assert found.balanced_accuracy == pytest.approx(1 / 3)
    assert scores_of_confusion(found.confusion).only_answer == 0
    assert scores_of_confusion(np.array([[4]])).only_answer is None, "there is nothing else to answer"


def test_sigmoids_are_probabilities_as_of_one_class_against_the_rest() -> None:
    logits, _ = drawn(20, 3, 1, 1.0)
    each = 1 / (1 + np.exp(-logits.astype(np.float64)))
    found = np.exp(PROBABILITIES["sigmoid"](logits.astype(np.float64)))
    np.testing.assert_allclose(found, each / each.sum(axis=1, keepdims=True))


def test_logits_far_apart_lose_nothing_and_what_was_held_impossible_costs_all() -> None:
    far = classification_scores(np.array([[800.0, 0.0], [0.0, 800.0]]), np.array([1, 1]))
    assert far.log_loss == 400
    with np.errstate(divide="ignore"):
        certain = classification_scores(np.log([[1.0, 0.0], [1.0, 0.0]]), np.array([0, 1]))
    assert (certain.log_loss, certain.brier_score, certain.auc) == (np.inf, 1.0, 0.5)


def test_decision_values_tell_no_probabilities() -> None:
    found = classification_scores(*drawn(9, 3, 0, 1.0), probabilities=None)
    assert found.accuracy == classification_scores(*drawn(9, 3, 0, 1.0)).accuracy
    assert all(math.isnan(getattr(found, name)) for name in ("log_loss", "calibration_error", "brier_score"))
    assert set(FIGURES) < set(found._fields)
