"""Verdicts beside SciPy's tests, their laws, and how often they are wrong."""

from __future__ import annotations

import itertools
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

from studies.report import verdicts
from studies.report.effects import Design
from studies.report.findings import DEPENDS, FAILS, HOLDS, NOT_DECIDED, Verdict
from studies.report.verdicts import EQUAL, judge
from studies.spec.claim import LEVEL, Claim
from tests.studies.observed import claim, row, table, two
from wdiv.numerics import false_discovery

FEW = settings(max_examples=6)  # a verdict takes tens of milliseconds
NUMBERS = st.lists(st.integers(-1000, 1000).map(lambda k: k / 1000), min_size=2, max_size=8)
UNEVEN = NUMBERS.filter(lambda x: len(set(x)) > 1)


def one(asked: Claim, observations: pd.DataFrame) -> Verdict:
    return judge([asked], observations)[0]


# ---------------------------------------------------------------------------------------------------------- verdicts

A, B = [0.80, 0.82, 0.81], [0.70, 0.71, 0.72]


def test_a_claim_holds_with_its_numbers() -> None:
    found = one(claim(), two(A, B))
    x = np.subtract(A, B)
    assert (found.verdict, found.reason) == (HOLDS, "")
    assert found.effect == pytest.approx(0.1)
    assert found.p == found.q == pytest.approx(stats.ttest_1samp(x, 0).pvalue)
    assert (found.seeds, found.pairs, found.agreeing, found.left_out) == (3, 3, 3, 0)
    wanted = stats.ttest_1samp(x, 0).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert (found.cells, found.images, found.sources, found.in_cells) == ((), 0, 0, "")
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
    assert set(found) == {*Verdict.__dataclass_fields__, "in_words", "in_cells"}
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


# --------------------------------------------------------------------------------------------------------------- cells


def effects(by_cell: dict[tuple[str, str], float], seeds: int = 5, noise: float = 0.01, seed: int = 0) -> pd.DataFrame:
    """(BN mode, size) -> by how much ``bn+fc`` beats ``fc``; a luck that the seed has in all cells cancels."""
    rng, luck = np.random.default_rng(seed), np.random.default_rng(seed + 1).normal(0, 0.05, seeds)
    return table(
        row(0.5 + luck[s] + effect + noise * rng.normal(), strategy=name, bn_mode=mode, per_class=size, seed=s)
        for (mode, size), more in by_cell.items()
        for name, effect in (("bn+fc", more), ("fc", 0.0))
        for s in range(seeds)
    )


MODES = {(mode, size): more for mode, more in (("batch", 0.12), ("frozen", -0.12)) for size in ("5", "20")}


def test_opposite_effects_do_not_cancel() -> None:
    found = one(claim(), effects(MODES))
    assert found.verdict == DEPENDS
    assert found.in_cells == "holds with batch statistics; fails with frozen statistics"
    assert [cell.verdict for cell in found.cells] == [HOLDS, HOLDS, FAILS, FAILS]
    assert dict(found.cells[0].where) == {"bn_mode": "batch", "per_class": "5"}, "sizes from small to large"
    assert found.differ == "bn_mode"
    assert found.differ_q < 0.001
    assert found.cells[0].effect == pytest.approx(0.12, abs=0.02)
    json.dumps(found.to_json(), allow_nan=False)


def test_what_one_column_turns_round_in_another_is_found_between_them() -> None:
    turned = {("batch", "5"): 0.1, ("batch", "20"): -0.1, ("frozen", "5"): -0.1, ("frozen", "20"): 0.1}
    found = one(claim(), effects(turned))
    assert found.verdict == DEPENDS
    assert found.in_cells == (
        "holds with batch statistics and 5 images a class, and frozen statistics and 20 images a class; "
        "fails with batch statistics and 20 images a class, and frozen statistics and 5 images a class"
    )
    assert found.differ == "bn_mode and per_class"
    assert found.differ_q < 0.001


@pytest.mark.parametrize("columns", [("bn_mode",), ("bn_mode", "per_class", "dataset")])
def test_where_cells_do_not_differ_it_is_seldom_said(columns: tuple[str, ...]) -> None:
    """300 draws of 2 or 8 cells of three seeds, one run missing."""
    rng, said, cells = np.random.default_rng(4), 0, [*itertools.product("xy", repeat=len(columns))]
    rows = pd.DataFrame(cells, columns=list(columns)).assign(left=0, right=0)
    parts = np.empty((len(cells), 3), dtype=object)
    parts[:] = [[()] * 3] * len(cells)
    for _ in range(300):
        values = rng.normal(size=parts.shape)
        values[0, 0] = math.nan
        design = Design(rows, values, parts, ((0,), (1,), (2,)), sources=False)
        said += verdicts._differ(claim(), design, columns, {})[1] <= 0.05
    assert said / 300 < 0.07


def test_one_cell_of_one_seed_decides_nothing_and_hides_nothing() -> None:
    rows = effects(MODES)
    lonely = rows["bn_mode"].eq("batch") & rows["per_class"].eq("20") & rows["seed"].gt(0)
    found = one(claim(cells="each"), rows[~lonely])
    assert found.verdict == FAILS
    assert [cell.reason for cell in found.cells if cell.verdict == NOT_DECIDED] == [
        "one seed; a verdict needs two or more"
    ]
    apart = rows[rows["bn_mode"].eq("batch") & rows["seed"].eq(rows["per_class"].map({"5": 0, "20": 1}))]
    assert one(claim(), apart).reason == "one seed in each cell; a verdict needs two or more"


def test_a_mode_that_has_not_run_yet_is_not_stood_for_by_another() -> None:
    rows = effects(MODES)
    running = rows[~(rows["strategy"].eq("fc") & rows["bn_mode"].eq("frozen"))]
    found = judge([claim()], running, in_modes={"fc", "bn+fc"})[0]
    assert {cell.where.get("bn_mode") for cell in found.cells} == {None}
    assert found.verdict == HOLDS
    assert len(one(claim(), running).cells) == 4, "a strategy of one mode, such as a baseline, is set against each"


def test_what_is_the_same_on_average_only_is_not_the_same() -> None:
    found = one(claim("same", margin=0.05), effects(MODES))
    assert found.verdict == FAILS
    assert abs(found.effect) == pytest.approx(0.12, abs=0.02), "that of the cell where they differ most"
    alike = one(claim("same", margin=0.05), effects(dict.fromkeys(MODES, 0.01)))
    assert alike.verdict == HOLDS


def test_cells_that_are_alike_say_so() -> None:
    found = one(claim(), effects(dict.fromkeys(MODES, 0.1)))
    assert (found.verdict, found.in_cells) == (HOLDS, "holds in each of 4 cells")
    assert found.differ_q > LEVEL


def test_in_most_cases_is_a_count_of_cells() -> None:
    most = {(mode, size): -0.1 if (mode, size) == ("frozen", "20") else 0.1 for mode, size in MODES}
    assert one(claim(cells="most"), effects(most)).verdict == HOLDS
    assert one(claim("less", cells="most"), effects(most)).verdict == FAILS
    half = one(claim(cells="most"), effects(MODES))
    assert half.verdict == FAILS, "two of four are not most"
    assert half.effect == pytest.approx(-0.12, abs=0.02), "that of the third best"
    assert one(claim(cells="most"), effects(most, noise=0.3)).verdict == NOT_DECIDED
    assert one(claim(cells="each"), effects(most)).verdict == FAILS


def test_q_of_cells_is_adjusted_for_all_cells_of_all_claims() -> None:
    rows = effects(MODES, noise=0.1)
    claims = [claim(name="one"), claim("less", name="other"), claim(name="none", left={"strategy": "svm"})]
    found = judge(claims, rows)
    cells = [cell for verdict in found for cell in verdict.cells]
    assert len(cells) == 8
    np.testing.assert_array_equal([c.q for c in cells], false_discovery([c.p for c in cells]))


def test_a_missing_run_changes_little() -> None:
    """Cells that lie far apart, and a seed that lacks one of them: its mean over the others is of other cells."""
    far = {("batch", "5"): 0.3, ("batch", "20"): 0.05, ("frozen", "5"): 0.1}
    rows = effects(far, seeds=3, noise=0.002)
    whole, less = one(claim(), rows), one(claim(), rows.iloc[1:])
    assert (less.pairs, less.seeds) == (whole.pairs - 1, 3)
    assert less.effect == pytest.approx(whole.effect, abs=0.003)
    assert less.p < 3 * whole.p < 0.003


# -------------------------------------------------------------------------------------------------------------- groups

BLOCKS = {"5": 0.93, "4": 0.95, "3": 0.90, "2": 0.62, "1": 0.60}


def blocks(none: float, seeds: int = 5, noise: float = 0.004) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return table(
        row(value + noise * rng.normal(), strategy=f"conv@stage{block}+fc" if block != "0" else "fc", seed=s)
        for block, value in {**BLOCKS, "0": none}.items()
        for s in range(seeds)
    )


def against(direction: str, than: str, left: str = "fc") -> Claim:
    others = [f"conv@stage{block}+fc" for block in BLOCKS]
    sides = {"left": {"strategy": left}, "right": {"strategy": others}}
    return claim(direction, than=than, **sides)


@pytest.mark.parametrize(
    ("none", "direction", "than", "verdict", "effect"),
    [
        (0.70, "less", "mean", HOLDS, 0.70 - 0.80),
        (0.70, "less", "each", FAILS, 0.70 - 0.60),
        (0.70, "less", "worst", FAILS, 0.70 - 0.60),
        (0.70, "less", "best", HOLDS, 0.70 - 0.95),
        (0.50, "less", "each", HOLDS, 0.50 - 0.60),
        (0.70, "more", "worst", HOLDS, 0.70 - 0.60),
        (0.70, "more", "each", FAILS, 0.70 - 0.95),
        (0.92, "more", "best", FAILS, 0.92 - 0.95),
        (0.99, "more", "best", HOLDS, 0.99 - 0.95),
        (0.60, "less", "each", NOT_DECIDED, 0.0),
    ],
)
def test_a_group_is_compared_by_the_member_that_is_meant(
    none: float, direction: str, than: str, verdict: str, effect: float
) -> None:
    found = one(against(direction, than), blocks(none))
    assert found.verdict == verdict
    assert found.effect == pytest.approx(effect, abs=0.01)
    assert found.low <= found.effect <= found.high


def test_the_best_of_the_left_side_may_be_any_of_them() -> None:
    turned = claim(left={"strategy": ["conv@stage1+fc", "conv@stage4+fc"]}, right={"strategy": "fc"}, than="best")
    assert one(turned, blocks(0.70)).verdict == HOLDS
    assert one(replace(turned, than="each"), blocks(0.70)).verdict == FAILS
    assert one(replace(turned, than="worst"), blocks(0.70)).verdict == FAILS
    best = one(turned, blocks(0.70))
    assert best.effect == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("than", ["each", "best", "worst"])
def test_a_member_that_has_no_run_is_not_passed_over(than: str) -> None:
    rows = blocks(0.5)
    found = one(against("less", than), rows[rows["strategy"] != "conv@stage1+fc"])
    assert (found.verdict, found.reason[:40]) == (NOT_DECIDED, "nothing with strategy 'conv@stage1+fc'; ")
    mean = one(against("less", "mean"), rows[rows["strategy"] != "conv@stage1+fc"])
    assert mean.verdict == HOLDS
    assert mean.notes[0].startswith("nothing with strategy 'conv@stage1+fc'")


# --------------------------------------------------------------------------------------------------------------- units


def sourced(networks: int, spread: float = 0.05, better: float = 0.0, seeds: int = 6, crossed: bool = False) -> Any:
    """Sources that differ by their own seed; what is fine-tuned from one of them differs little."""
    rng, rows = np.random.default_rng(5), []
    for condition, more in (("near", better), ("few", 0.0)):
        quality = 0.7 + more + spread * rng.normal(size=networks)
        for s in range(seeds):
            for k in range(networks) if crossed else [s % networks]:
                value = quality[k] + 0.002 * rng.normal()
                rows.append(row(value, condition=condition, source=f"{condition} #{k}", seed=s))
    return table(rows)


BETWEEN = claim(left={"condition": "near"}, right={"condition": "few"})


def test_one_source_of_each_kind_says_nothing_of_sources() -> None:
    found = one(BETWEEN, sourced(1))
    assert (found.verdict, found.seeds, found.sources) == (NOT_DECIDED, 6, 1)
    assert found.reason == "one pair of source networks; a verdict needs two or more"


@pytest.mark.parametrize("crossed", [False, True])
def test_several_sources_are_tested_over_sources(crossed: bool) -> None:
    noise = one(BETWEEN, sourced(3, crossed=crossed))
    assert noise.verdict == NOT_DECIDED
    assert noise.sources == 3
    assert noise.p > 0.05
    assert one(BETWEEN, sourced(3, better=0.4, spread=0.02, crossed=crossed)).verdict == HOLDS


def test_crossed_sources_are_two_samples() -> None:
    rows = sourced(3, crossed=True)
    means = rows.groupby("source")["value"].mean()
    near, few = (means[means.index.str.startswith(kind)] for kind in ("near", "few"))
    assert one(BETWEEN, rows).p == pytest.approx(stats.ttest_ind(near, few, equal_var=False).pvalue)


def test_scratch_has_no_source_and_is_compared_by_seeds() -> None:
    rows = two([0.8, 0.9, 0.85], [0.5, 0.55, 0.56])
    rows.loc[rows["strategy"] == "fc", "source"] = "random"
    found = one(claim(), rows)
    assert (found.verdict, found.sources) == (HOLDS, 0)


def test_a_rival_that_has_not_learned_is_no_rival() -> None:
    rows = effects(dict.fromkeys(MODES, 0.1)).assign(trained="yes")
    lost = rows["strategy"].eq("fc") & rows["per_class"].eq("5") & rows["seed"].eq(1)
    found = one(claim(), rows.assign(trained=rows["trained"].mask(lost, "no")))
    assert found.verdict == HOLDS
    assert [cell.verdict for cell in found.cells] == [NOT_DECIDED, HOLDS, NOT_DECIDED, HOLDS]
    assert "not learned the training images" in found.cells[0].reason
    rate = "by design the left side trains fc at 10 times the right one's rate"
    assert found.notes == (rate, f"2 of 4 cells enter nothing: {found.cells[0].reason}")
    assert found.pairs == 10
    never = one(claim(), rows.assign(trained="no"))
    assert (never.verdict, never.effect) == (NOT_DECIDED, pytest.approx(math.nan, nan_ok=True))
    assert "not learned" in never.reason
    asked = claim(of={"measure": "train_accuracy"})
    assert one(asked, rows.assign(trained="no", measure="train_accuracy")).verdict == HOLDS, "that is what it asks"


def test_sizes_at_unequal_steps_say_so() -> None:
    sizes = [(k, s) for k in (5, 9) for s in range(3)]
    rows = table(row(0.1 * k + 0.01 * s * k, per_class=str(k), n_train=k, seed=s) for k, s in sizes)
    asked = claim(left={"per_class": "largest"}, right={"per_class": "smallest"})
    unequal = one(asked, rows.assign(steps=rows["n_train"] * 10.0))
    assert unequal.notes == ("the left side's runs took 1.8 times the steps of the right one's, which may be why",)
    assert one(asked, rows.assign(steps=40.0)).notes == one(asked, rows).notes == ()


# -------------------------------------------------------------------------------------------------------------- images


def answered(seeds: int, images: int, better: float, seed: int = 0) -> tuple[pd.DataFrame, dict[Any, Any]]:
    """``bn+fc`` is right on ``better`` of the images that ``fc`` gets wrong."""
    rng = np.random.default_rng(seed)
    hard, rows, answers = rng.random(images), [], {}
    for s in range(seeds):
        base = hard + 0.1 * rng.normal(size=images) < 0.7
        more = base | (rng.random(images) < better)
        for name, right in (("bn+fc", more), ("fc", base)):
            rows.append(row(right.mean(), strategy=name, seed=s))
            answers["", rows[-1]["run"]] = ("test", right.astype("float64"))
    return table(rows), answers


def test_with_their_answers_accuracies_are_compared_for_other_images_too() -> None:
    rows, answers = answered(4, 200, 0.2)
    about_these, about_others = judge([claim()], rows)[0], judge([claim()], rows, answers=answers)[0]
    assert (about_these.images, about_others.images) == (0, 200)
    assert about_others.effect == pytest.approx(about_these.effect)
    assert about_others.verdict == HOLDS
    assert about_others.mcnemar < 0.001
    assert math.isnan(about_these.mcnemar)
    from wdiv.numerics.comparison import crossed_effect

    x = np.array([answers["", f"net-data-all-bn+fc-auto-{s}"][1] - answers["", f"net-data-all-fc-auto-{s}"][1]
                  for s in range(4)])  # fmt: skip
    wanted = crossed_effect(x.mean(1), [x])
    assert (about_others.low, about_others.high) == pytest.approx(wanted.interval())


def test_without_the_answers_of_one_run_the_verdict_is_about_these_images() -> None:
    rows, answers = answered(3, 50, 0.5)
    answers.popitem()
    assert judge([claim()], rows, answers=answers)[0].images == 0


# --------------------------------------------------------------------------------------------------------------- power


def test_beside_each_verdict_stands_what_could_have_been_decided() -> None:
    from wdiv.numerics.comparison import paired_effect, smallest_effect, units_needed

    found = one(claim(), two([0.52, 0.51, 0.58], [0.5, 0.5, 0.5]))
    effect = paired_effect([0.02, 0.01, 0.08])
    assert found.verdict == NOT_DECIDED
    assert found.smallest == pytest.approx(smallest_effect(effect.error, 2, LEVEL))
    assert found.needed == units_needed(effect, effect.value, LEVEL)
    assert found.smallest > found.effect
    ratio = one(claim(scale="ratio"), two([2.0, 3.0, 9.0], [1.0, 1.0, 1.0]))
    assert ratio.smallest > ratio.effect > 1
    same = one(claim("same", margin=0.05), two([0.52, 0.51, 0.58], [0.5, 0.5, 0.5]))
    assert same.smallest > 0.05


# --------------------------------------------------------------------------------------------- how often it is wrong


@pytest.mark.parametrize("test_images", [None, 100, 20], ids=["normal", "100 test images", "20 test images"])
def test_where_nothing_differs_few_reports_decide_anything(test_images: int | None) -> None:
    """500 reports of 5 claims over 3 seeds. On few test images seeds often agree to the image, which is no proof."""
    from studies.report.statements import Above
    from wdiv.numerics.comparison import paired_effect

    rng, size = np.random.default_rng(7), (500, 5, 3)
    x = rng.normal(size=size)
    if test_images is not None:
        x = 0.0 + rng.binomial(test_images, 0.95, size) - rng.binomial(test_images, 0.95, size)
    tested = [[Above(paired_effect(numbers)) for numbers in report] for report in x]
    q = np.array([false_discovery([one.p(one.value > 0) for one in report]) for report in tested])
    assert (q <= LEVEL).any(axis=1).mean() < LEVEL + 0.02


@pytest.mark.parametrize("than", ["each", "best", "worst"])
def test_of_groups_that_do_not_differ_few_verdicts_decide(than: str) -> None:
    """300 draws of one strategy and four others, all as good: the best of four is better than the one by chance."""
    from studies.report import statements
    from wdiv.numerics.comparison import paired_effect

    asked, rng, decided = against("more", than), np.random.default_rng(8), 0
    for _ in range(300):
        x = rng.normal(size=(5, 4))
        effects = {(0, k): paired_effect(x[4] - x[k]) for k in range(4)}
        found = statements.of_claim(asked, effects, 0.0)
        decided += found.p(found.value > 0) <= 0.05
    assert decided / 300 < 0.07


@pytest.mark.parametrize("share", [0.9, 1.0])
def test_what_lies_within_the_margin_seldom_fails_and_beyond_it_seldom_holds(share: float) -> None:
    from studies.report.statements import Within
    from wdiv.numerics.comparison import paired_effect

    x = np.random.default_rng(5).normal(share, 0.2, size=(800, 4))
    found = [Within(paired_effect(numbers), 1.0) for numbers in x]
    decided = [one.value > 0 for one in found if one.p(one.value > 0) <= LEVEL]
    assert decided.count(False) / 800 < LEVEL
    if share == 1.0:
        assert decided.count(True) / 800 < LEVEL + 0.01


def test_crossed_sources_are_not_tested_for_other_images_and_say_so() -> None:
    rows = sourced(3, crossed=True, seeds=2)
    rows["run"] = [f"r{k}" for k in range(len(rows))]
    rng = np.random.default_rng(0)
    answers = {(one.condition, one.run): ("test", (rng.random(40) < one.value).astype("float64"))
               for one in rows.itertuples()}  # fmt: skip
    found = judge([BETWEEN], rows, answers=answers)[0]
    assert (found.sources, found.images) == (3, 0)
    assert math.isnan(found.mcnemar)
