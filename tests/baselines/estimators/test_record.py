"""Every baseline is held to its facts: what scikit-learn alone would answer, and what any of them must be."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from baselines.estimators import BASELINES
from tests.baselines.estimators.facts import FACTS
from tests.baselines.estimators.made import blobs
from wdiv.errors import UnknownName

every_baseline = pytest.mark.parametrize("name", list(BASELINES))
FOLDS, SEED = 2, 5


@cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))  # they are sorted by who wrote them
    x, y = x[order], y[order]
    return x[:300], y[:300], x[300:900], y[300:900]


@cache
def on_digits(name: str) -> Any:
    x, y, *_ = digits()
    return BASELINES[name].make(FOLDS, SEED).fit(x, y)


def test_every_baseline_has_facts_and_all_facts_a_baseline() -> None:
    assert sorted(FACTS) == sorted(BASELINES)


@every_baseline
def test_the_record_is_complete(name: str) -> None:
    record = BASELINES[name]
    assert record.name == name
    assert record.long_name.strip()
    assert any(character.isdigit() for character in record.source), "a source has a year"
    with pytest.raises(FrozenInstanceError):
        record.name = "other"  # type: ignore[misc]


def test_no_two_baselines_are_described_alike() -> None:
    for text in ("long_name", "make"):
        assert len({getattr(record, text) for record in BASELINES.values()}) == len(BASELINES)
    assert len({repr(record.make(3, 0)) for record in BASELINES.values()}) == len(BASELINES)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(UnknownName, match="unknown baseline 'svn'; did you mean 'svm'"):
        BASELINES["svn"]


@every_baseline
def test_folds_and_seed_are_handed_on(name: str) -> None:
    made = BASELINES[name].make(4, 9)
    assert made.folds == 4
    assert made.random_state == 9


@every_baseline
def test_on_digits_it_answers_as_scikit_learn_alone(name: str) -> None:
    x, y, more, true = digits()
    ours, facts = on_digits(name), FACTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plain ones warn of constant features
        theirs = facts.plain(FOLDS, SEED).fit(x, y)
    assert (ours.predict(more) == theirs.predict(more)).mean() >= facts.agreement
    assert ours.cv_score_ == pytest.approx(theirs.best_score_, abs=0.01 if facts.agreement < 1 else 1e-12)
    assert ours.score(more, true) >= facts.digits
    assert ours.fallback_ is None


@every_baseline
def test_probabilities_where_there_are_some(name: str) -> None:
    _, _, more, true = digits()
    ours = on_digits(name)
    assert hasattr(ours, "predict_proba") == FACTS[name].probabilities
    if FACTS[name].probabilities:
        p = ours.predict_proba(more)
        np.testing.assert_allclose(p.sum(axis=1), 1)
        assert (p >= 0).all()
        assert (ours.classes_[p.argmax(axis=1)] == ours.predict(more)).mean() > 0.98
        assert -np.log(np.maximum(p[np.arange(len(true)), true], 1e-3)).mean() < np.log(10) / 2


@every_baseline
def test_the_same_seed_gives_the_same_machine(name: str) -> None:
    x, y = blobs(40, 60, 3, apart=0.3)
    a, b = (BASELINES[name].make(3, 1).fit(x, y) for _ in range(2))
    assert a.cv_score_ == b.cv_score_
    np.testing.assert_array_equal(a.predict(x[::-1]), b.predict(x[::-1]))
    np.testing.assert_array_equal(clone(a).fit(x, y).predict(x), a.predict(x))


@every_baseline
@pytest.mark.parametrize("counts", [(5, 5), (3, 2, 4), (4, 1, 5), (1, 1)])
def test_very_few_images_and_dead_features_are_no_trouble(name: str, counts: tuple[int, ...]) -> None:
    """Quietly: a warning would be an error here."""
    y = np.repeat(np.array(["x", "yy", "z"])[: len(counts)], counts)
    x = np.maximum(np.random.default_rng(0).normal(size=(len(y), 30)) - 1, 0)
    x[:, :10] = 0
    ours = BASELINES[name].make(5, 0).fit(x, y)
    assert set(ours.predict(x)) <= set(y)
    assert bool(ours.fallback_) == (min(counts) < 5)
    assert np.isnan(ours.cv_score_) == (sorted(counts)[-2] < 2)
