"""Change and gain: the correlation beside SciPy's, and how often it is found where there is none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from studies.report import gains
from studies.report.gains import change_and_gain
from studies.report.observations import observe
from studies.spec.columns import COLUMNS


def seen(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A table made of whole cloth: accuracy and movement of stage1 for each run."""
    found = []
    for i, given_row in enumerate(rows):
        facts = {
            "condition": "", "model": "m", "source": "s", "dataset": "d", "per_class": "20", "n_train": 60,
            "bn_mode": "auto", "run": f"r{i}",
        } | given_row  # fmt: skip
        gained, moved = facts.pop("accuracy"), facts.pop("moved")
        found.append(facts | {"measure": "accuracy", "against": "", "layers": "", "part": "", "value": gained})
        found.append(
            facts | {"measure": "l2", "against": "start", "layers": "bn:gamma", "part": "stage1", "value": moved}
        )
    return pd.DataFrame(found)[list(COLUMNS)]


@settings(max_examples=15)
@given(
    fc=st.lists(st.integers(0, 9), min_size=2, max_size=6),
    data=st.data(),
)
def test_change_and_gain_is_the_correlation_of_ranks(fc: list[int], data: st.DataObject) -> None:
    moved = data.draw(st.lists(st.integers(0, 4), min_size=len(fc), max_size=len(fc)))
    gained = data.draw(st.lists(st.integers(-3, 3), min_size=len(fc), max_size=len(fc)))
    rows = [{"strategy": "fc", "seed": i, "accuracy": float(x), "moved": 0.0} for i, x in enumerate(fc)]
    rows += [
        {"strategy": "bn+fc", "seed": i, "accuracy": float(x + gain), "moved": float(far)}
        for i, (x, gain, far) in enumerate(zip(fc, gained, moved, strict=True))
    ]
    (found,) = change_and_gain(seen(rows)).to_dict("records")
    assert (found["n"], found["stage"], found["layers"], found["measure"]) == (len(fc), "stage1", "bn:gamma", "l2")
    if len(fc) < 3 or len(set(moved)) == 1 or len(set(gained)) == 1:
        assert np.isnan(found["rho"])
    else:
        assert found["rho"] == pytest.approx(np.corrcoef(rankdata(moved), rankdata(gained))[0, 1])
        assert found["within"] == pytest.approx(found["rho"]), "one cell: nothing but it"
        assert found["p_adjusted"] == found["p"] >= 1 / math.factorial(len(fc))


def test_fc_is_that_of_the_same_mode_or_the_only_one() -> None:
    rows: list[dict[str, Any]] = [
        {"strategy": "fc", "seed": 0, "bn_mode": "frozen", "accuracy": 0.5, "moved": 0.0},
        {"strategy": "fc", "seed": 0, "bn_mode": "train", "accuracy": 0.1, "moved": 0.0},
        {"strategy": "a", "seed": 0, "bn_mode": "frozen", "accuracy": 0.6, "moved": 1.0},
        {"strategy": "a", "seed": 0, "bn_mode": "train", "accuracy": 0.7, "moved": 1.0},
        {"strategy": "a", "seed": 0, "bn_mode": "adabn", "accuracy": 0.9, "moved": 1.0},
        {"strategy": "a", "seed": 1, "bn_mode": "train", "accuracy": 0.9, "moved": 1.0},
        {"strategy": "b", "seed": 0, "bn_mode": "train", "accuracy": 0.9, "moved": 1.0, "source": "random"},
        {"strategy": "a", "seed": 0, "accuracy": 0.8, "moved": 1.0, "per_class": "40", "bn_mode": "adabn"},
        {"strategy": "fc", "seed": 0, "accuracy": 0.5, "moved": 1.0, "per_class": "40", "bn_mode": "auto"},
    ]
    found = gains._gains(seen(rows)).set_index("run")["gain"].round(6).to_dict()
    assert found == {"r2": 0.1, "r3": 0.6, "r7": 0.3}
    unfinished = gains._gains(seen(rows), lone=False).set_index("run")["gain"].round(6).to_dict()
    assert unfinished == {"r2": 0.1, "r3": 0.6}


def test_change_and_gain_of_nothing() -> None:
    assert change_and_gain(observe({})).empty


def made(rng: np.random.Generator, seeds: int, tied: float = 0.0) -> pd.DataFrame:
    """Four strategies at three sizes: which moves and which gains is the strategy's, the size's and the seed's."""
    rows: list[dict[str, Any]] = []
    luck = rng.normal(size=seeds)
    for size in ("5", "10", "20"):
        rows += [{"strategy": "fc", "per_class": size, "seed": s, "accuracy": 0.0, "moved": 0.0} for s in range(seeds)]
        for k in range(4):
            far, good = rng.normal(size=2)
            for s in range(seeds):
                more = 0.3 * rng.normal()
                gain = good + luck[s] + 0.3 * rng.normal() + tied * more
                rows.append({"strategy": f"s{k}", "per_class": size, "seed": s, "accuracy": gain, "moved": far + more})
    return seen(rows)


@pytest.mark.parametrize("seeds", [3, 5])
def test_where_they_have_no_relation_it_is_seldom_found(seeds: int) -> None:
    """120 draws. Luck that a seed has everywhere makes runs depend on one another; p of single runs is then far off."""
    p = [change_and_gain(made(np.random.default_rng(k), seeds))["p"].item() for k in range(120)]
    assert np.mean(np.array(p) <= 0.05) < 0.09
    if seeds == 3:
        assert min(p) == pytest.approx(1 / 6)


def test_where_they_have_one_it_is_found() -> None:
    (found,) = change_and_gain(made(np.random.default_rng(0), 6, tied=10.0)).to_dict("records")
    assert found["within"] > 0.7
    assert found["p"] < 0.01


def test_a_run_that_is_missing_leaves_its_seed_out_of_its_cell() -> None:
    rows = made(np.random.default_rng(1), 4)
    less = rows[rows["run"] != rows["run"].iloc[-1]]
    (whole,), (found,) = (change_and_gain(one).to_dict("records") for one in (rows, less))
    assert found["n"] == whole["n"] - 1
    assert found["within"] == pytest.approx(whole["within"], abs=0.2)
