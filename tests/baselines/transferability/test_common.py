"""Every score is held to the facts of its record, to its laws, and to an oracle that shares no code with it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.transferability import SCORES, TAKES
from tests.baselines.transferability.facts import CALLS, KEEPS, LAWS, Given, Law, example, given_to
from tests.baselines.transferability.oracles import ORACLES

every_score = pytest.mark.parametrize("name", list(SCORES))
EVERY_LAW = [pytest.param(name, law, id=f"{name}-{law.__name__}") for name in KEEPS for law in LAWS[SCORES[name].takes]]


def value(name: str, given: Given) -> float:
    return SCORES[name].function(*given)


def same(name: str, given: Given, other: Given) -> bool:
    return math.isclose(value(name, given), value(name, other), rel_tol=1e-8, abs_tol=1e-10)


def test_every_score_has_an_oracle_and_laws_and_they_a_score() -> None:
    assert sorted(ORACLES) == sorted(KEEPS) == sorted(SCORES)


def test_everything_that_a_score_may_take_can_be_drawn_and_is_taken() -> None:
    assert sorted(CALLS) == sorted(LAWS) == sorted(TAKES) == sorted({score.takes for score in SCORES.values()})
    for name, kept in KEEPS.items():
        assert kept <= set(LAWS[SCORES[name].takes])


@every_score
@settings(max_examples=40)
@given(data=st.data())
def test_agrees_with_its_oracle_and_keeps_its_bounds(name: str, data: st.DataObject) -> None:
    given = data.draw(given_to(name))
    found = value(name, given)
    assert type(found) is float
    assert found == pytest.approx(ORACLES[name](*given), rel=1e-9, abs=1e-11)
    assert SCORES[name].lower <= found <= SCORES[name].upper


@pytest.mark.parametrize(("name", "law"), EVERY_LAW)
@settings(max_examples=20)
@given(data=st.data(), seed=st.integers(0, 1000))
def test_keeps_its_laws(name: str, law: Law, data: st.DataObject, seed: int) -> None:
    if law in KEEPS[name]:
        given = data.draw(given_to(name))
        assert same(name, given, law(np.random.default_rng(seed), *given))


@pytest.mark.parametrize(("name", "law"), EVERY_LAW)
def test_keeps_no_other_law(name: str, law: Law) -> None:
    given = example(name, n=12, d=4)
    if law not in KEEPS[name]:
        assert not same(name, given, law(np.random.default_rng(0), *given))


@every_score
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numbers_of_any_kind_are_computed_in_float64(name: str, dtype: type) -> None:
    x, y = example(name, n=12, d=4)
    y = y.astype(dtype) if y.ndim == 2 else y
    low = x.astype(dtype)
    assert value(name, (low, y)) == value(name, (low.astype(np.float64), y.tolist()))


@every_score
def test_what_is_given_stays_as_it_was(name: str) -> None:
    given = example(name, n=12, d=4)
    before = [array.copy() for array in given]
    value(name, given)
    for array, kept in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, kept)


def separated(takes: str, apart: bool) -> Given:
    """Something that fits the labels, or not; two sets that lie together, or not."""
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 3
    told = labels if not apart else rng.permutation(labels)
    if takes == "features":
        return 5 * np.eye(3)[told] + rng.normal(size=(60, 3)), labels
    if takes == "probabilities":
        return np.eye(3)[told] * 0.7 + 0.1, labels
    return rng.normal(size=(30, 3)), rng.normal(5.0 * apart, 1.0, (40, 3))


@every_score
def test_the_better_fit_has_the_better_score(name: str) -> None:
    record = SCORES[name]
    good, bad = (value(name, separated(record.takes, apart)) for apart in (False, True))
    assert (good > bad + 0.05) == record.higher_is_better
    assert (good < bad - 0.05) != record.higher_is_better


@every_score
def test_the_record_is_complete(name: str) -> None:
    record = SCORES[name]
    assert record.name == name == record.function.__name__
    assert all(getattr(record, text).strip() for text in ("long_name", "formula", "source", "units"))
    assert record.lower < record.upper
    assert record.function.__doc__
    assert ">>>" in record.function.__doc__, "an example that runs"


def test_no_two_scores_are_described_alike() -> None:
    for text in ("function", "long_name", "formula"):
        assert len({getattr(record, text) for record in SCORES.values()}) == len(SCORES)


def test_a_record_takes_what_is_known() -> None:
    with pytest.raises(ValueError, match="takes is one of features, probabilities, source, not 'weights'"):
        replace(SCORES["logme"], takes="weights")
