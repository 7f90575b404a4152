"""The rates of strategies are those that their layers are given."""

from __future__ import annotations

import pytest

from studies.spec.rates import rate_ratios, rates
from studies.spec.registry import STUDIES
from wdiv.errors import BadInput
from wdiv.layers import KINDS, Layer
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import STRATEGIES

NAMES = sorted({*STRATEGIES, *(name for study in STUDIES.values() for name in study.strategies)})


@pytest.mark.parametrize("name", NAMES)
def test_each_kind_has_the_highest_rate_that_any_layer_of_it_gets(name: str) -> None:
    stages = ("stem", *(f"stage{number}" for number in range(1, 6)), "head", "beside")
    given: dict[str, float] = {}
    for phase in parse(name).phases:
        for kind in KINDS:
            for stage in stages:
                layer = Layer("head" if kind == "fc" else "x", kind, ("weight",), (2, 2), 0, stage)
                lr = phase.lr(layer, frozenset({"head"}))
                if lr is not None and stage != "beside":
                    given[kind] = max(lr, given.get(kind, 0.0))
    found = rates(name)
    assert {kind: rate for kind, rate in found.items() if kind in KINDS} == given
    assert set(rate_ratios(name, name).values()) == {1.0}


@pytest.mark.parametrize("name", ["svm", "svm@stage3", "ncm@bottleneck,max"])
def test_a_baseline_has_none(name: str) -> None:
    assert rates(name) == rate_ratios(name, "bn+fc") == rate_ratios("bn+fc", name) == {}


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(BadInput, match="did you mean"):
        rates("bm+fc")
