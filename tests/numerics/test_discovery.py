"""Benjamini and Hochberg: against a loop and SciPy, and the laws of an adjusted p value."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from wdiv.numerics import false_discovery

KNOWN = st.lists(st.floats(0, 1), min_size=1, max_size=30)
VALUES = st.lists(st.floats(0, 1) | st.just(math.nan), max_size=30)


def benjamini_hochberg(p: list[float]) -> list[float]:
    known = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    found, least = list(p), 1.0
    for rank in range(len(known), 0, -1):
        value, i = known[rank - 1]
        least = min(least, value * len(known) / rank)
        found[i] = least
    return found


@given(VALUES)
def test_it_is_that_of_benjamini_and_hochberg(p: list[float]) -> None:
    np.testing.assert_allclose(false_discovery(p), benjamini_hochberg(p), rtol=1e-12)


@given(KNOWN)
def test_it_is_that_of_scipy_where_all_are_known(p: list[float]) -> None:
    np.testing.assert_allclose(false_discovery(p), stats.false_discovery_control(p), rtol=1e-12)


@given(KNOWN)
def test_it_keeps_the_order_and_lies_between_p_and_1(p: list[float]) -> None:
    adjusted = false_discovery(p)
    assert (adjusted >= np.array(p) * (1 - 1e-12)).all()
    assert (adjusted <= 1).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_in_which_they_come_does_not_matter(p: list[float], random: object) -> None:
    order = list(range(len(p)))
    random.shuffle(order)  # type: ignore[attr-defined]
    np.testing.assert_allclose(false_discovery([p[i] for i in order]), false_discovery(p)[order], rtol=1e-12)


@given(KNOWN, st.integers(0, 5))
def test_what_was_not_tested_does_not_count(p: list[float], missing: int) -> None:
    adjusted = false_discovery([*p, *[math.nan] * missing])
    np.testing.assert_array_equal(adjusted[: len(p)], false_discovery(p))
    assert np.isnan(adjusted[len(p) :]).all()


def test_its_argument_is_left_alone_and_may_be_empty() -> None:
    p = np.array([0.01, np.nan, 0.5])
    false_discovery(p)
    np.testing.assert_array_equal(p, [0.01, np.nan, 0.5])
    assert false_discovery([]).size == 0
    assert np.isnan(false_discovery([np.nan, np.nan])).all()
