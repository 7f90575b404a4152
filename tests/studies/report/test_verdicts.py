"""Verdicts beside SciPy's tests, their laws, and how often they are wrong."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from studies.report.verdicts import EQUAL, FAILS, HOLDS, LEVEL, NOT_DECIDED, Verdict, bootstrap, judge, p_value
from studies.spec.claim import Claim
from tests.studies.observed import claim, row, table, two
from wdiv.numerics import false_discovery

FEW = settings(max_examples=6)  # a verdict takes tens of milliseconds
NUMBERS = st.lists(st.integers(-1000, 1000).map(lambda k: k / 1000), min_size=2, max_size=8)
UNEVEN = NUMBERS.filter(lambda x: len(set(x)) > 1)


def one(asked: Claim, observations: pd.DataFrame) -> Verdict:
    return judge([asked], observations)[0]


# ------------------------------------------------------------------------------------------------------------ p


@settings(max_examples=40)
@given(UNEVEN)
def test_without_a_margin_it_is_the_t_test_of_mean_zero(x: list[float]) -> None:
    assert p_value(x) == pytest.approx(stats.ttest_1samp(x, 0.0).pvalue, rel=1e-6, abs=1e-12)


@settings(max_examples=40)
@given(UNEVEN, st.floats(0.01, 1.0))
def test_within_the_margin_it_is_two_one_sided_t_tests_and_beyond_it_one_of_the_nearer(
    x: list[float], m: float
) -> None:
    mean = float(np.mean(x))
    if abs(mean) < m:
        above, below = stats.ttest_1samp(x, -m, alternative="greater"), stats.ttest_1samp(x, m, alternative="less")
        wanted = max(above.pvalue, below.pvalue)
    else:
        wanted = stats.ttest_1samp(x, math.copysign(m, mean)).pvalue
    assert p_value(x, m) == pytest.approx(wanted, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_equal_numbers_are_tested_by_their_signs(n: int) -> None:
    assert p_value([0.1] * n) == p_value([-7.0] * n) == stats.binomtest(n, n).pvalue
    assert p_value([0.1 + 0.2, *[0.3] * (n - 1)]) == 2 * 0.5**n, "they differ by rounding alone"
    assert p_value([0.0] * n) == 1
    assert p_value([0.0] * n, 0.1) == p_value([0.05] * n, 0.1) == 0.5**n
    assert p_value([0.2] * n, 0.1) == 2 * 0.5**n
    assert p_value([0.1] * n, 0.1) == 1


@pytest.mark.parametrize("x", [[], [0.5]])
def test_fewer_than_two_numbers_have_no_p_and_no_interval(x: list[float]) -> None:
    assert math.isnan(p_value(x))
    assert all(map(math.isnan, bootstrap(x)))


# ----------------------------------------------------------------------------------------------------- the interval


def test_the_interval_is_that_of_scipys_percentile_bootstrap() -> None:
    x = np.random.default_rng(4).normal(1.0, 0.2, 7)
    drawn = stats.bootstrap((x,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1))
    np.testing.assert_allclose(bootstrap(x), drawn.confidence_interval, atol=0.02)
    assert bootstrap(x) == bootstrap(x)


def test_of_two_seeds_the_interval_is_from_the_one_to_the_other() -> None:
    assert bootstrap([1.0, 3.0]) == (1.0, 3.0)


def test_the_interval_of_three_seeds_covers_three_quarters() -> None:
    """As its documentation says: 400 draws of noise about 0."""
    ends = np.array([bootstrap(x, draws=500) for x in np.random.default_rng(0).normal(size=(400, 3))])
    assert ((ends[:, 0] <= 0) & (ends[:, 1] >= 0)).mean() == pytest.approx(0.75, abs=0.05)


# ---------------------------------------------------------------------------------------------------------- verdicts

A, B = [0.80, 0.82, 0.81], [0.70, 0.71, 0.72]


def test_a_claim_holds_with_its_numbers() -> None:
    found = one(claim(), two(A, B))
    x = np.subtract(A, B)
    assert (found.verdict, found.reason) == (HOLDS, "")
    assert found.effect == pytest.approx(0.1)
    assert found.p == found.q == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert (found.seeds, found.pairs, found.agreeing, found.left_out) == (3, 3, 3, 0)
    assert found.low <= found.effect <= found.high
    assert found.in_words == "+10.0 points, 3 of 3 pairs"


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"direction": "more"}, HOLDS),
        ({"direction": "less"}, FAILS),
        ({"direction": "same", "margin": 0.05}, FAILS),
        ({"direction": "same", "margin": 0.15}, HOLDS),
        ({"direction": "same", "margin": 0.1}, NOT_DECIDED),
    ],
)
def test_the_same_numbers_by_direction(fields: dict[str, Any], verdict: str) -> None:
    assert one(claim(**fields), two(A, B)).verdict == verdict


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"direction": "more"}, HOLDS),
        ({"direction": "less"}, FAILS),
        ({"direction": "same", "margin": 2.0}, FAILS),
        ({"direction": "same", "margin": 20.0}, HOLDS),
    ],
)
def test_ratios_are_judged_by_their_logarithms(fields: dict[str, Any], verdict: str) -> None:
    rows = two([1.2, 13.0, 145.0], [0.1, 1.0, 10.0], measure="gaussian_kl")
    found = one(claim(**fields, scale="ratio", of={"measure": "gaussian_kl"}), rows)
    assert found.verdict == verdict
    assert found.effect == pytest.approx(stats.gmean([12.0, 13.0, 14.5]))
    assert found.low < found.effect < found.high
    agreeing = {"more": 3, "less": 0, "same": 3 if fields.get("margin") == 20 else 0}[fields["direction"]]
    assert found.in_words == f"×13.1, {agreeing} of 3 pairs"


def test_a_ratio_too_great_for_a_number_is_infinite_and_null_in_json() -> None:
    found = one(claim(scale="ratio"), two([1e300, 1e301, 1e302], [1e-300, 1e-300, 1e-301]))
    assert (found.verdict, found.effect) == (HOLDS, math.inf)
    assert found.to_json()["effect"] is None


def test_pairs_are_averaged_within_a_seed_before_the_test() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.02, 0.05, (4, 6))
    rows = [
        row(value, strategy=name, seed=seed, dataset=f"d{k}")
        for seed in range(4)
        for k in range(6)
        for name, value in (("bn+fc", values[seed, k]), ("fc", 0.0))
    ]
    found = one(claim(), table(rows))
    assert found.p == pytest.approx(stats.ttest_1samp(values.mean(1), 0).pvalue)
    assert (found.seeds, found.pairs, found.agreeing) == (4, 24, int((values > 0).sum()))


def test_q_is_p_adjusted_for_the_claims_that_were_tested() -> None:
    rng = np.random.default_rng(1)
    names = ["scratch", "fc", "conv+fc", "bn+fc", "conv+bn+fc", "bn@stage4+fc"]
    rows = [
        row(rng.normal(0.03 * i, 0.02), strategy=name, seed=s)
        for i, name in enumerate(names)
        for s in range(3 - (i == 5))
    ]
    claims = [
        claim(name=f"claim-{i}", left={"strategy": name}, right={"strategy": "scratch"})
        for i, name in enumerate([*names[1:], "svm"])
    ]
    found = judge(claims, table(rows))
    np.testing.assert_array_equal([v.q for v in found], false_discovery([v.p for v in found]))
    assert math.isnan(found[-1].q)
    alone = judge(claims[:1], table(rows))[0]
    assert alone.q == alone.p == found[0].p
    assert [v.claim for v in found] == claims


def test_a_claim_that_holds_alone_may_not_hold_among_many() -> None:
    rows = two([0.80, 0.82, 0.84], [0.79, 0.80, 0.81])
    noise = [
        row(v, strategy=n, seed=s)
        for n in ("conv+fc", "conv+bn+fc")
        for s, v in enumerate(np.random.default_rng(0).random(3))
    ]
    others = [claim(name=f"noise-{i}", left={"strategy": "conv+fc"}, right={"strategy": "fc"}) for i in range(9)]
    everything = pd.concat([rows, table(noise)])
    assert one(claim(), everything).p > LEVEL, "two degrees of freedom decide little"
    assert judge([claim()], everything, level=0.1)[0].verdict == HOLDS
    among = judge([claim(), *others], everything, level=0.1)[0]
    assert among.verdict == NOT_DECIDED
    assert among.reason == f"undecided: p = {among.p:.2g}, q = {among.q:.2g} over 3 seeds"


@pytest.mark.parametrize(
    ("left", "right", "reason"),
    [
        ([0.9], [0.1], "one seed; a verdict needs two or more"),
        ([0.9, 0.9, 0.9], [0.5, 0.5, 0.5], f"undecided: p = 0.25, q = 0.25 over 3 seeds; {EQUAL}"),
        ([0.9], [math.nan], "no runs to compare: none of 1 values is a number"),
        ([0.9], [], "no runs to compare: nothing with strategy 'fc'; known: bn+fc"),
        ([], [], "no runs to compare: there are no observations"),
    ],
)
def test_what_is_not_decided_says_why(left: list[float], right: list[float], reason: str) -> None:
    found = one(claim(), two(left, right))
    assert (found.verdict, found.reason) == (NOT_DECIDED, reason)
    json.dumps(found.to_json(), allow_nan=False)
    if not found.pairs:
        assert found.in_words == reason
        assert math.isnan(found.effect)


def test_no_claims_have_no_verdicts() -> None:
    assert judge([], two(A, B)) == []


def test_as_json_it_is_plain_and_whole() -> None:
    found = one(claim(), two([0.5, 0.75, math.nan], [0.25, 0.25, 0.0])).to_json()
    assert found["claim"] == "made"
    assert (found["seeds"], found["pairs"], found["agreeing"], found["left_out"]) == (2, 2, 2, 1)
    assert set(found) == {*Verdict.__dataclass_fields__, "in_words"}
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "-1.5 points, 0 of 1 pair"),
        ({"of": {"measure": "train_accuracy"}}, "-1.5 points, 0 of 1 pair"),
        ({"of": {"measure": "relative_l2"}}, "-0.015, 0 of 1 pair"),
        ({"scale": "ratio"}, "×0.97, 0 of 1 pair"),
        ({"direction": "same", "margin": 0.02}, "-1.5 points, 1 of 1 pair"),
    ],
)
def test_in_words(fields: dict[str, Any], words: str) -> None:
    measure = fields.get("of", {}).get("measure", "accuracy")
    assert one(claim(**fields), two([0.485], [0.5], measure=measure)).in_words == words


# --------------------------------------------------------------------------------------------------------------- laws

SHARES = st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), min_size=1, max_size=6)
ASKED = st.sampled_from([claim(), claim("less"), claim("same", margin=0.1), claim("same", margin=1.5, scale="ratio")])
MIRROR = {HOLDS: FAILS, FAILS: HOLDS, NOT_DECIDED: NOT_DECIDED}


def frame(shares: list[tuple[int, int]], more: float = 0.0) -> pd.DataFrame:
    return two(*([share / 100 + more for share in side] for side in zip(*shares, strict=True)))


@FEW
@given(SHARES, ASKED)
def test_swapping_the_sides_turns_the_verdict_round(shares: list[tuple[int, int]], asked: Claim) -> None:
    here = one(asked, frame(shares))
    there = one(replace(asked, left=asked.right, right=asked.left), frame(shares))
    assert there.verdict == (here.verdict if asked.direction == "same" else MIRROR[here.verdict])
    turned = 1 / here.effect if asked.scale == "ratio" else -here.effect
    assert there.effect == pytest.approx(turned, abs=1e-9)
    assert there.p == pytest.approx(here.p, rel=1e-6, nan_ok=True)
    assert (there.seeds, there.pairs) == (here.seeds, here.pairs)


@FEW
@given(SHARES, ASKED.filter(lambda asked: asked.scale == "difference"))
def test_what_is_added_to_both_sides_changes_nothing(shares: list[tuple[int, int]], asked: Claim) -> None:
    here, there = one(asked, frame(shares)), one(asked, frame(shares, more=3.0))
    assert (there.verdict, there.pairs) == (here.verdict, here.pairs)
    for name in ("effect", "low", "high", "p"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), rel=1e-6, abs=1e-9, nan_ok=True)


@FEW
@given(SHARES, ASKED, st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(shares: list[tuple[int, int]], asked: Claim, seed: int) -> None:
    here = one(asked, frame(shares))
    there = one(asked, frame(shares).sample(frac=1, random_state=seed))
    assert there.to_json() == here.to_json()


@FEW
@given(SHARES, ASKED, st.integers(1, 4))
def test_one_seed_decides_nothing_however_many_its_pairs(shares: list[tuple[int, int]], asked: Claim, k: int) -> None:
    rows = frame(shares).assign(seed=0, dataset=[f"d{i}" for i in range(len(shares))] * 2)
    found = one(asked, rows)
    assert (found.verdict, found.seeds, found.pairs) == (NOT_DECIDED, 1, len(shares))


# --------------------------------------------------------------------------------------------- how often it is wrong


@pytest.mark.parametrize("images", [None, 100, 20], ids=["normal", "100 test images", "20 test images"])
def test_where_nothing_differs_few_reports_decide_anything(images: int | None) -> None:
    """500 reports of 5 claims over 3 seeds. On few test images seeds often agree to the image, which is no proof."""
    rng = np.random.default_rng(7)
    size = (500, 5, 3)
    x = (
        rng.normal(size=size)
        if images is None
        else (rng.binomial(images, 0.95, size) - rng.binomial(images, 0.95, size))
    )
    q = np.array([false_discovery([p_value(numbers) for numbers in report]) for report in x])
    assert (q <= LEVEL).any(axis=1).mean() < LEVEL + 0.02


def test_of_what_is_decided_few_are_wrong() -> None:
    """200 reports of 8 claims: half of the effects are 0, half are not."""
    rng = np.random.default_rng(11)
    true = np.repeat([0.0, 4.0], 4)
    wrong = []
    for report in rng.normal(size=(200, 8, 5)) + true[:, None]:
        decided = false_discovery([p_value(numbers) for numbers in report]) <= LEVEL
        wrong.append((decided & (true == 0)).sum() / max(decided.sum(), 1))
    assert np.mean(wrong) < LEVEL


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_what_lies_within_the_margin_seldom_fails_and_beyond_it_seldom_holds(share: float) -> None:
    x = np.random.default_rng(5).normal(share, 0.2, size=(800, 4))
    p = np.array([p_value(numbers, margin=1.0) for numbers in x])
    beyond = np.abs(x.mean(axis=1)) > 1
    assert ((p <= LEVEL) & beyond).mean() < LEVEL
    if share == 1.0:
        assert ((p <= LEVEL) & ~beyond).mean() < LEVEL + 0.01
