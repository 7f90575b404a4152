"""What is said of several differences: true, false, and how seldom it is taken for the one when it is the other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.report.statements import Above, Members, Within
from wdiv.numerics.comparison import paired_effect

ROWS = st.lists(st.lists(st.integers(-50, 50), min_size=4, max_size=4), min_size=1, max_size=5)


def above(rows: list[list[int]], noise: float = 0.25) -> tuple[Above, ...]:
    jitter = noise * np.arange(4)
    return tuple(Above(paired_effect(np.asarray(row) + jitter)) for row in rows)


@settings(max_examples=60)
@given(ROWS, st.data())
def test_at_least_so_many_is_true_where_so_many_values_are(rows: list[list[int]], data: st.DataObject) -> None:
    members = above(rows)
    least = data.draw(st.integers(1, len(rows)))
    found = Members(members, least)
    assert (found.value > 0) == (sum(one.value > 0 for one in members) >= least)
    assert found.value == sorted((one.value for one in members), reverse=True)[least - 1]
    low, high = found.interval()
    assert low <= found.value <= high
    assert 0 <= found.p(True) <= 1
    assert 0 <= found.p(False) <= 1


@settings(max_examples=40)
@given(ROWS)
def test_of_all_and_of_one_it_is_the_largest_p_and_the_least_times_their_number(rows: list[list[int]]) -> None:
    members, n = above(rows), len(rows)
    p, against = ([one.p(true) for one in members] for true in (True, False))
    assert Members(members, n).p(True) == max(p)
    assert Members(members, n).p(False) == min(1.0, n * min(against))
    assert Members(members, 1).p(True) == min(1.0, n * min(p))
    assert Members(members, 1).p(False) == max(against)


def test_of_what_one_member_does_not_know_nothing_is_said_and_of_the_others_all() -> None:
    good, bad, unknown = above([[1, 2, 3, 4]]) + above([[-1, -2, -3, -4]]) + (Above(paired_effect([1.0])),)
    both = Members((good, unknown), 2)
    assert both.p(True) == 1
    assert all(map(math.isnan, both.interval()))
    assert Members((bad, unknown), 2).p(False) == 2 * bad.p(False)
    assert Members((good, good, unknown), 2).p(True) == 2 * good.p(True)
    assert math.isnan(Members((unknown, unknown), 2).p(True))


def test_what_would_decide_is_told_of_the_member_that_does() -> None:
    """The least value is sure, and the greater one is not: it is the greater one that lacks seeds."""
    rows = [0.050, 0.051, 0.049, 0.050], [0.3, -0.2, 0.2, -0.05]
    sure, unsure = (Above(paired_effect(numbers)) for numbers in rows)
    each = Members((sure, unsure), 2)
    assert each.binding == sure.effect
    assert each.p(True) == unsure.p(True) > 0.05
    assert each.needed(0.05, True) == unsure.needed(0.05, True) > 4
    assert each.smallest(0.05) == unsure.smallest(0.05) > 0.05
    assert Members((sure, unsure), 1).needed(0.05, True) == sure.needed(0.025, True) < 4
    assert each.needed(0.05, False) == math.inf


@pytest.mark.parametrize(("true", "least"), [(2, 3), (0, 1), (3, 4)])
def test_where_one_too_few_is_true_it_is_seldom_said(true: int, least: int) -> None:
    """600 draws of four differences, some far above 0, the others 0: p of "at least so many" at 2.5 % a side."""
    rng, said, held = np.random.default_rng(9), 0, 0
    for _ in range(600):
        x = rng.normal(size=(4, 5)) + np.where(np.arange(4) < true, 9.0, 0.0)[:, None]
        found = Members(tuple(Above(paired_effect(row)) for row in x), least)
        said += found.p(True) <= 0.05
        low, high = found.interval()
        held += low <= sorted([9.0] * true + [0.0] * (4 - true), reverse=True)[least - 1] <= high
    assert said / 600 < 0.035
    assert held / 600 > 0.93


def test_within_a_margin_the_farthest_decides() -> None:
    members = tuple(Within(paired_effect(np.arange(4) * 0.01 + far), 1.0) for far in (0.1, -0.7, 0.3))
    found = Members(members, 3)
    assert found.binding.value == pytest.approx(-0.685)
    assert found.p(True) == max(one.p(True) for one in members)
    low, high = found.interval()
    assert low < -0.685 < high
