"""Scores are scikit-learn's, intervals cover the truth, calibration is that of its definition."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from baselines.estimators.evaluate import estimates, evaluate
from wdiv.errors import BadInput
from wdiv.numerics import wilson

CLASSES = ["ant", "bee", "cat", "dog"]
ORACLES = {
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "macro_f1": lambda true, answers: f1_score(true, answers, average="macro"),
}
answers = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=30)
quiet = pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")


def some(n: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.choice(CLASSES, n, p=[0.5, 0.3, 0.15, 0.05])
    return true, np.where(rng.random(n) < 0.7, true, rng.choice(CLASSES, n))


@quiet
@given(answers)
def test_the_values_are_scikit_learn_s(pairs: list[tuple[str, str]]) -> None:
    """Whichever classes have no image, no answer, or neither."""
    true, found = map(list, zip(*pairs, strict=True))
    ours = evaluate(true, found, classes=CLASSES, draws=2)
    np.testing.assert_array_equal(ours.confusion, confusion_matrix(true, found, labels=CLASSES))
    for name, oracle in ORACLES.items():
        assert getattr(ours, name).value == pytest.approx(oracle(true, found)), name


def test_accuracy_has_the_interval_of_its_count() -> None:
    true, found = some(60)
    ours = evaluate(true, found, classes=CLASSES, level=0.9).accuracy
    wanted = stats.binomtest(int((true == found).sum()), 60).proportion_ci(0.9, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((wanted.low, wanted.high))


def test_of_classes_of_one_size_balanced_accuracy_is_accuracy() -> None:
    true = np.repeat(CLASSES, 20)
    ours = evaluate(true, np.where(np.arange(80) % 10 < 8, true, "ant"), classes=CLASSES, draws=50_000)
    assert ours.balanced_accuracy.value == pytest.approx(ours.accuracy.value)
    assert (ours.balanced_accuracy.low, ours.balanced_accuracy.high) == pytest.approx(ours.accuracy[1:], abs=0.01)


@pytest.mark.parametrize("sizes", [(25, 25), (45, 5), (60, 12, 6)])
@pytest.mark.parametrize("truth", [0.6, 0.9, 0.98])
def test_intervals_cover_what_the_answers_were_drawn_from(sizes: tuple[int, ...], truth: float) -> None:
    """By classes that are answered rightly with the same chance, else with any other class."""
    rng, k, runs = np.random.default_rng(0), len(sizes), 200
    chances = np.where(np.eye(k, dtype=bool), truth, (1 - truth) / (k - 1))
    exact = estimates(np.array(sizes)[:, None] * chances, draws=2)
    tables = [np.stack([rng.multinomial(n, p) for n, p in zip(sizes, chances, strict=True)]) for _ in range(runs)]
    for name in ORACLES:
        ends = np.array([estimates(table, draws=200)[name][1:] for table in tables])
        inside = (ends[:, 0] <= exact[name].value) & (exact[name].value <= ends[:, 1])
        assert inside.mean() >= 0.89, name


def test_the_seed_fixes_the_interval() -> None:
    table = np.array([[30, 0], [10, 10]])
    a, b, c = (estimates(table, seed=seed, draws=200)["macro_f1"] for seed in (0, 0, 1))
    assert a == b != c
    assert a.value == c.value


@pytest.mark.parametrize("right", [True, False])
def test_answers_that_are_all_right_or_all_wrong_prove_no_more_than_their_number(right: bool) -> None:
    true = np.repeat(["ant", "bee"], 25)
    ours = evaluate(true, true if right else true[::-1], classes=CLASSES)
    reach = 50 / (50 + stats.norm.ppf(0.975) ** 2)
    for name in ORACLES:
        assert tuple(getattr(ours, name)) == pytest.approx((1, reach, 1) if right else (0, 0, 1 - reach)), name


def test_a_mean_over_classes_is_worth_no_more_than_its_smallest_class_allows() -> None:
    true = np.array(["ant"] * 48 + ["bee"] * 2)
    ours = evaluate(true, true, classes=CLASSES)
    assert ours.accuracy.low > 0.9
    assert ours.balanced_accuracy.low == pytest.approx(wilson(1.0, 4 / (1 / 48 + 1 / 2)).low) == ours.macro_f1.low


def test_more_images_narrow_the_interval() -> None:
    widths = []
    for n in (50, 5000):
        found = evaluate(*some(n), classes=CLASSES).accuracy
        widths.append(found.high - found.low)
    assert widths[0] > 5 * widths[1]


def test_many_classes_and_images_in_little_memory() -> None:
    rng = np.random.default_rng(0)
    true, found = rng.integers(0, 200, (2, 1000))
    assert 0 <= evaluate(true, found, classes=range(200), draws=500).accuracy.value < 0.05


# --------------------------------------------------------------------------------------------------------- calibration


def test_certain_and_wrong_is_the_worst_certain_and_right_the_best() -> None:
    p = np.eye(4)[[0, 1, 2]]
    assert evaluate(["ant", "bee", "cat"], ["ant", "bee", "cat"], p, classes=CLASSES).calibration_error == 0
    assert evaluate(["bee", "cat", "dog"], ["ant", "bee", "cat"], p, classes=CLASSES).calibration_error == 1


def test_without_probabilities_it_is_nan() -> None:
    assert math.isnan(evaluate(*some(), classes=CLASSES, draws=2).calibration_error)


# --------------------------------------------------------------------------------------------------- what goes in, out


def test_json_holds_it_all() -> None:
    true, found = some()
    p = np.full((len(true), 4), 0.25)
    for ours in (evaluate(true, found, classes=CLASSES), evaluate(true, found, p, classes=CLASSES)):
        back = json.loads(json.dumps(ours.to_json(), allow_nan=False))
        assert back["classes"] == CLASSES
        assert back["confusion"] == ours.confusion.tolist()
        assert back["accuracy"] == ours.accuracy._asdict()
        assert (back["level"], back["interval"]) == (0.95, "wilson")
        assert (back["calibration_error"] is None) == math.isnan(ours.calibration_error)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": []}, "at least one; not 0 and 3"),
        ({"labels": ["ant"]}, "at least one; not 1 and 3"),
        ({"labels": ["ant", "bee", "eel"]}, "labels holds 'eel', which is not among the 4 classes"),
        ({"predicted": ["ant", "bee", 3]}, "predicted holds '3', which is not among the 4 classes"),
        ({"predicted": [["ant"], ["bee"], ["cat"]]}, r"predicted is a row of classes, not of shape \(3, 1\)"),
        ({"classes": ["ant", "bee", "cat", "ant"]}, "classes: one stands twice"),
        ({"probabilities": np.ones((3, 2))}, r"are \(3, 4\), not \(3, 2\)"),
        ({"probabilities": np.ones((3, 4))}, "each row is finite, at least 0 and adds up to 1"),
        ({"probabilities": np.full((3, 4), np.nan)}, "each row is finite"),
        ({"draws": 0}, "draws is at least 1"),
        ({"level": 1.0}, "level between 0 and 1"),
    ],
)
def test_what_is_not_allowed_is_said(changes: dict[str, Any], message: str) -> None:
    given = {"labels": ["ant", "bee", "cat"], "predicted": ["ant", "bee", "cat"], "classes": CLASSES} | changes
    with pytest.raises(BadInput, match=message):
        evaluate(**given)
