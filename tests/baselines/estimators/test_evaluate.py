"""Scores are scikit-learn's, intervals those of resampling image by image, calibration that of its definition."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from baselines.estimators.evaluate import evaluate
from wdiv.errors import BadInput

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


def mean_recall(true: np.ndarray, found: np.ndarray) -> float:
    return float(np.mean([(found[true == c] == c).mean() for c in set(true.tolist())]))


def mean_f1(true: np.ndarray, found: np.ndarray) -> float:
    both = [(true == c, found == c) for c in {*true.tolist(), *found.tolist()}]
    return float(np.mean([2 * (t & f).sum() / (t.sum() + f.sum()) for t, f in both]))


PLAIN = {"accuracy": lambda t, f: (t == f).mean(), "balanced_accuracy": mean_recall, "macro_f1": mean_f1}


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_is_that_of_images_drawn_one_by_one(name: str, level: float) -> None:
    """Balanced accuracy and F1 leave out the classes that a draw lacks."""
    true, found = some(60)
    rng, draws = np.random.default_rng(1), []
    for _ in range(3000):
        rows = rng.integers(0, len(true), len(true))
        draws.append(PLAIN[name](true[rows], found[rows]))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    ours = getattr(evaluate(true, found, classes=CLASSES, draws=20_000, level=level), name)
    assert ours.low == pytest.approx(low, abs=0.02)
    assert ours.high == pytest.approx(high, abs=0.02)
    assert ours.low < ours.value < ours.high


def test_the_seed_fixes_the_interval() -> None:
    a, b, c = (evaluate(*some(), classes=CLASSES, seed=seed, draws=200).macro_f1 for seed in (0, 0, 1))
    assert a == b != c
    assert a.value == c.value


def test_answers_that_are_all_right_have_no_spread() -> None:
    true, _ = some()
    ours = evaluate(true, true, classes=CLASSES)
    for name in ORACLES:
        assert tuple(getattr(ours, name)) == (1, 1, 1)


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
        assert back["level"] == 0.95
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
