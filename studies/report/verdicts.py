"""Does a claim hold, and where? A test in each cell of what it does not name, and one over all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from studies.report import statements
from studies.report.effects import Answers, Design
from studies.report.findings import DEPENDS, FAILS, HOLDS, NOT_DECIDED, Cell, Verdict
from studies.report.pairing import Pairs, of_claim, prepare
from studies.report.statements import Members, Statement
from studies.spec.claim import LEVEL, Claim
from studies.spec.rates import rates
from wdiv.numerics import false_discovery
from wdiv.numerics.comparison import Effect, mcnemar

__all__ = ["judge"]

MOST = 700.0
"""The greatest logarithm whose ratio is still a number."""
TRAINING = frozenset({"train_accuracy", "fitted_accuracy"})
"""Measures that ask whether a run has learned its images; for all others it must have."""
FAR = 10.0
"""How many times another rate must be to be told."""
UNEQUAL = 1.05
"""How many times the steps of the other side are no longer as many."""
EQUAL = "every seed gives the same number, so nothing tells how far noise goes"


def judge(
    claims: Sequence[Claim], observations: pd.DataFrame, level: float = LEVEL, answers: Answers | None = None,
    in_modes: Collection[str] = (),
) -> list[Verdict]:  # fmt: skip
    """A verdict on each claim of a report.

    observations  one row a value, with the columns of :data:`~studies.spec.columns.COLUMNS`
    answers       which test images each run got right: then accuracies are tested, and their intervals are, for other
                  images too, paired by image (:func:`wdiv.numerics.comparison.crossed_effect`); else verdicts are
                  about these
    in_modes      strategies that are to run in several BN modes (:attr:`~studies.spec.study.Study.in_modes`): where
                  one of those is not there yet, the other does not stand for it

    A cell is a combination of what a claim does not name, seeds apart. In it and over all, on average or in each, as
    the claim says, differences make one number a seed (one draw of the training images, the new head and the order of
    batches), or a source network where the sides start from different ones; t tests are of these. p values of the
    claims are adjusted by Benjamini and Hochberg (1995), and so, apart from them, are those of all cells, and those of
    the tests that cells differ (t tests of each value of a column against the others, and of how that differs with
    another column, Bonferroni). At or below ``level`` a claim holds where what was found is as claimed, and fails where
    it is against it. A cell in which a run has not learned its training images is not decided, and enters nothing else.

    Raises :class:`~wdiv.errors.BadInput` for a table that lacks a column.
    """
    prepared = prepare(observations, in_modes)
    asked = [_Question.of(claim, of_claim(claim, prepared), answers or {}) for claim in claims]
    whole = _findings([one.whole for one in asked], level)
    inner = iter(_findings([test for one in asked for test in one.in_cells], level))
    differ = false_discovery([one.differ_p for one in asked]).tolist()
    found = []
    for one, values, q in zip(asked, whole, differ, strict=True):
        cells = tuple(Cell(where=test.where, **next(inner)) for test in one.in_cells)
        told = {"claim": one.claim, "cells": cells, "differ": one.differ, "differ_q": q, "notes": one.notes}
        found.append(_concluded(Verdict(**values, **told)))
    return found


# ---------------------------------------------------------------------------------------------------------- questions


@dataclass(frozen=True, eq=False)
class _Test:
    """One test: what it is of, and what it says. Without a statement there is none, and ``reason`` says why."""

    claim: Claim
    seeds: frozenset[int]
    design: Design | None
    statement: Statement | None
    answers: Answers
    where: Mapping[str, str]
    left_out: int = 0
    reason: str = ""

    @property
    def p(self) -> float:
        return math.nan if self.statement is None else self.statement.p(self.statement.value > 0)


@dataclass(frozen=True, eq=False)
class _Question:
    """All tests of one claim."""

    claim: Claim
    whole: _Test
    in_cells: tuple[_Test, ...] = ()
    differ: str = ""
    differ_p: float = math.nan
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, claim: Claim, pairs: Pairs, answers: Answers) -> _Question:
        if pairs.missing:
            nothing = _Test(claim, frozenset(), None, None, {}, {}, pairs.left_out, pairs.missing)
            return cls(claim, nothing)
        if set(claim.measures) != {"accuracy"} or claim.scale == "ratio":
            answers = {}
        design = Design.of(pairs)
        axes = [key for key in pairs.keys if design.rows[key].nunique() > 1]
        tests, learned = [], np.zeros(len(design.rows), dtype=bool)
        for cell, rows in design.cells(axes).items():
            where = dict(zip(axes, cell, strict=True))
            table = _of_cell(pairs.table, where)
            reason, ours = _not_comparable(claim, table, pairs), design.where(rows)
            statement = None if reason else _statement(claim, ours, answers)
            tests.append(_Test(claim, frozenset(table["seed"]), ours, statement, answers, where, reason=reason))
            learned |= rows & (statement is not None)
        inside = [one for one in tests if one.statement is not None]
        kept = design.where(learned)
        seeds = frozenset().union(*(one.seeds for one in inside or tests))
        statement = _over_cells(claim, kept, [one.statement for one in tests if one.statement is not None], answers)
        whole = _Test(claim, seeds, kept, statement, answers, {}, pairs.left_out, "" if inside else tests[0].reason)
        axis, p = _differ(claim, kept, axes, answers) if len(inside) > 1 else ("", math.nan)
        return cls(claim, whole, tuple(tests) if len(tests) > 1 else (), axis, p, _notes(claim, pairs, tests))


def _of_cell(table: pd.DataFrame, where: Mapping[str, str]) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def _not_comparable(claim: Claim, table: pd.DataFrame, pairs: Pairs) -> str:
    """Why a cell cannot be judged; empty where it can."""
    if claim.than != "mean":
        if pairs.lacking:
            return pairs.lacking[0]
        if len(table[["left", "right"]].drop_duplicates()) < len(pairs.table[["left", "right"]].drop_duplicates()):
            return "some of what is compared has no run here"
    runs = dict.fromkeys(run for several in table["untrained"] for run in several)
    if runs and not set(claim.measures) <= TRAINING:
        (condition, first), *more = runs
        name = f"{condition}/{first}" if condition else first
        have = f" and {len(more)} more have" if more else " has"
        return f"{name}{have} not learned the training images: no better on them than always the largest class"
    return ""


def _notes(claim: Claim, pairs: Pairs, tests: Sequence[_Test]) -> tuple[str, ...]:
    found = [*pairs.lacking] if claim.than == "mean" else []
    times = float(pairs.table["steps"].median())
    if "per_class" in claim.compared and times > 0 and max(times, 1.0 / times) > UNEQUAL:
        found.append(f"the left side's runs took {times:.2g} times the steps of the right one's, which may be why")
    found += _rates(claim)
    out = [one.reason for one in tests if one.reason]
    if out and len(out) < len(tests):
        found.append(f"{len(out)} of {len(tests)} cells enter nothing: {out[0]}")
    return tuple(found)


def _rates(claim: Claim) -> list[str]:
    """What trains at very different rates on the two sides, by design."""
    if "strategy" not in claim.compared:
        return []
    left, right = (claim.side(side) for side in ("left", "right"))
    asked = [
        (one.partition(":")[0], other.partition(":")[0])
        for one, other in itertools.product(left.get("layers", ()), right.get("layers", ()))
    ]
    found: dict[str, list[str]] = {}
    for one, other in itertools.product(left["strategy"], right["strategy"]):
        ours, theirs = rates(one), rates(other)
        for kind, against in asked or itertools.product(ours, theirs):
            alone = kind not in theirs and against not in ours  # each stands for what its strategy is
            if kind in ours and against in theirs and (asked or kind == against or alone):
                times = f"{ours[kind] / theirs[against]:.3g}"
                if not 1 / FAR < float(times) < FAR:
                    named = kind if kind == against else f"{kind} (beside {against})"
                    found.setdefault(times, []).append(named)
    return [
        f"by design the left side trains {' and '.join(dict.fromkeys(kinds))} at {times} times the right one's rate"
        for times, kinds in found.items()
    ]


# ------------------------------------------------------------------------------------------------------------- tests


def _statement(claim: Claim, design: Design, answers: Answers) -> Statement:
    """What the claim says of some rows of a design, those of several cells averaged."""
    effects = {key: design.effect(weights, answers) for key, weights in _weights(claim, design).items()}
    return statements.of_claim(claim, effects, _margin(claim))


def _weights(claim: Claim, design: Design) -> dict[tuple[int, int], NDArray[np.float64]]:
    """(left, right) -> weights of the rows that are of it, all cells alike; for the mean, of all of them as one."""
    if claim.than == "mean":
        shares = np.zeros(len(design.rows))
        for rows in design.cells(design.keys).values():
            shares[rows] = 1.0 / rows.sum()
        return {(0, 0): shares / shares.sum()}
    found = {}
    for side in dict.fromkeys(map(tuple, design.sides.tolist())):
        rows = (design.sides == side).all(axis=1)
        found[side] = rows / rows.sum()
    return found


def _over_cells(claim: Claim, design: Design, inside: Sequence[Statement], answers: Answers) -> Statement | None:
    if not inside:
        return None
    if claim.cells != "average" and len(inside) > 1:
        return Members(tuple(inside), len(inside) if claim.cells == "each" else len(inside) // 2 + 1)
    return _statement(claim, design, answers)


def _differ(claim: Claim, design: Design, axes: Sequence[str], answers: Answers) -> tuple[str, float]:
    """The axis, or the two, along which cells differ most, and p of that they differ along any."""
    families = []
    for count in (1, 2):  # what differs along one; and along two, as where one turns round what the other does
        found = []
        for weights in _weights(claim, design).values():
            for several in itertools.combinations(axes, count):
                for contrast in _contrasts(design, weights, several):
                    effect = design.effect(contrast, answers)
                    found.append((2.0 * min(effect.p_above(), effect.p_below()), " and ".join(several)))
        known = [one for one in found if not math.isnan(one[0])]
        families += [(p * len(known), name) for p, name in sorted(known)[:1]]
    if not families:
        return "", math.nan
    p, name = min(families)
    return name, min(1.0, p * len(families))


def _contrasts(design: Design, weights: NDArray[np.float64], axes: Sequence[str]) -> Iterator[NDArray[np.float64]]:
    """Each value of an axis against its others; of several axes, how that differs with the others' values."""
    splits = []
    for axis in axes:
        values = design.rows[axis]
        levels = list(dict.fromkeys(values[weights != 0]))
        kept = levels[: -1 if len(levels) < 3 else None]  # of two, one against the other says it all
        splits.append([np.where(values == one, 1, -1) for one in kept])
    for signs in itertools.product(*splits):
        contrast = np.zeros(len(weights))
        for corner in itertools.product((1, -1), repeat=len(signs)):
            ours = np.where([(split == side) for split, side in zip(signs, corner, strict=True)], weights, 0.0).min(0)
            if not ours.any():
                break
            contrast += math.prod(corner) * ours / ours.sum()
        else:
            yield contrast


# ----------------------------------------------------------------------------------------------------------- findings


def _findings(tests: Sequence[_Test], level: float) -> list[dict[str, Any]]:
    """What each test came to, as fields of a :class:`~studies.report.findings.Finding`; decided together."""
    adjusted = false_discovery([one.p for one in tests]).tolist()
    known = sum(not math.isnan(q) for q in adjusted)
    passed = sum(q <= level for q in adjusted)
    least = level * min(passed + 1, known) / known if known else math.nan  # below it one more would have passed
    return [_finding(one, q, level, least) for one, q in zip(tests, adjusted, strict=True)]


def _finding(test: _Test, q: float, level: float, least: float) -> dict[str, Any]:
    agreeing, pairs = _agreeing(test.claim, test.design)
    found: dict[str, Any] = {
        "seeds": len(test.seeds), "pairs": pairs, "agreeing": agreeing, "left_out": test.left_out,
        "reason": test.reason,
    }  # fmt: skip
    if test.statement is None or test.design is None:
        return found
    claim, statement, binding = test.claim, test.statement, test.statement.binding
    effect, (low, high) = _effect_of(claim, statement)
    spelled = {"effect": _spelled(claim, effect), "low": _spelled(claim, low), "high": _spelled(claim, high)}
    found |= spelled | {"p": test.p, "q": q, "sources": binding.units if test.design.sources else 0}
    found |= _of_images(test) | _power(claim, statement, least)
    return found | _decision(found, statement, level)


def _decision(found: Mapping[str, Any], statement: Statement, level: float) -> dict[str, Any]:
    binding = statement.binding
    if found["q"] <= level and statement.value != 0:
        return {"verdict": HOLDS if statement.value > 0 else FAILS}
    if binding.units < 2 or math.isnan(found["p"]):
        one = "one pair of source networks" if found["sources"] else "one seed"
        of = "" if binding.units < 2 else " in each cell"
        return {"verdict": NOT_DECIDED, "reason": f"{one}{of}; a verdict needs two or more"}
    over = f"{binding.units} pairs of source networks" if found["sources"] else f"{found['seeds']} seeds"
    reason = f"undecided: p = {found['p']:.2g}, q = {found['q']:.2g} over {over}"
    return {"verdict": NOT_DECIDED, "reason": f"{reason}; {EQUAL}" if binding.error == 0 else reason}


def _of_images(test: _Test) -> dict[str, Any]:
    assert test.design is not None
    weights, *others = _weights(test.claim, test.design).values()
    tables = list(test.design.where(weights != 0).answered(weights[weights != 0], test.answers).values())
    alone = len(tables) == 1 and not others
    return {
        "images": sum(table.shape[1] for table in tables),
        "mcnemar": mcnemar(tables[0].mean(axis=0)) if alone else math.nan,
    }


def _power(claim: Claim, statement: Statement, least: float) -> dict[str, Any]:
    """What could have been decided among so many tests, and with how many seeds the effect that was found would be."""
    smallest = math.inf if math.isnan(least) else statement.smallest(least)
    if math.isinf(smallest):
        return {}
    needed = statement.needed(least, statement.value > 0)
    return {"smallest": _spelled(claim, smallest), "needed": None if math.isinf(needed) else int(needed)}


def _effect_of(claim: Claim, statement: Statement) -> tuple[float, tuple[float, float]]:
    """Left less right, and its interval."""
    if claim.direction == "same":
        return statement.binding.value, statement.interval()
    sign = 1 if claim.direction == "more" else -1
    low, high = sorted(sign * end for end in statement.interval())
    return sign * statement.value, (low, high)


def _agreeing(claim: Claim, design: Design | None) -> tuple[int, int]:
    """How many combinations of a cell and a unit come out as claimed, each for itself, and how many there are."""
    if design is None:
        return 0, 0
    found = []
    for rows in design.cells(design.keys).values():
        sides = design.sides[rows].tolist()
        for values in design.values[rows].T:
            known = {tuple(side): value for side, value in zip(sides, values.tolist(), strict=True) if value == value}
            if not known:
                continue
            if claim.than == "mean":
                known = {(0, 0): sum(known.values()) / len(known)}
            effects = {side: Effect(value, 1, *[math.nan] * 4) for side, value in known.items()}
            value = statements.of_claim(claim, effects, _margin(claim)).value
            found.append(value >= 0 if claim.direction == "same" else value > 0)
    return sum(found), len(found)


def _margin(claim: Claim) -> float:
    """On the scale of the pairs' differences."""
    return math.log(claim.margin or 1.0) if claim.scale == "ratio" else float(claim.margin or 0.0)


def _spelled(claim: Claim, number: float) -> float:
    return float(number) if claim.scale == "difference" else math.exp(number) if not number > MOST else math.inf


def _concluded(found: Verdict) -> Verdict:
    """The verdict on an average, in the light of each cell: where some hold and others fail, it depends."""
    said = [cell.verdict for cell in found.cells]
    holds, fails = said.count(HOLDS), said.count(FAILS)
    against = {HOLDS: fails, FAILS: holds, NOT_DECIDED: min(holds, fails)}
    if found.claim.cells == "average" and against[found.verdict]:
        return replace(found, verdict=DEPENDS, reason="")
    return found
