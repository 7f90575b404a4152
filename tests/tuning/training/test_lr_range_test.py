"""The learning-rate range test: its arithmetic against plain loops, and what it does to a run's images and weights."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tuning.tiny import small_run
from wdiv.errors import BadInput, WdivError
from wdiv.tuning.data.images import Split
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import Loop
from wdiv.tuning.training.lr_range_test import minimum, range_test, scaled, smooth, steepest, valley
from wdiv.tuning.training.run_spec import RunSpec


def test_the_moving_average_is_the_weighted_mean() -> None:
    losses, beta = np.random.default_rng(0).random(50), 0.98
    for count, found in enumerate(smooth(losses.tolist()), 1):
        weights = beta ** np.arange(count)[::-1]
        assert found == pytest.approx(np.average(losses[:count], weights=weights), rel=1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_the_valley_is_at_a_half_of_the_longest_falling_subsequence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = np.concatenate([rng.random(5) + 3, np.linspace(3, 0, 10) + rng.normal(0, 0.2, 10), [5.0, 6.0]])
    best = []  # the last place of the longest falling subsequence among all of them, the first of equals
    for end in range(len(losses)):
        chains = [1 + length for length, last in best if losses[end] < losses[last]]
        best.append((max(chains, default=1), end))
    length, end = max(best, key=lambda pair: (pair[0], -pair[1]))
    place = max(0, end - length + int(length / 3) + int(length / 3 / 2))
    assert valley(range(len(losses)), losses.tolist()) == place


def test_a_loss_that_only_rises_has_a_valley_at_its_start() -> None:
    assert valley([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 1.0
    assert valley([1.0, 2.0, 3.0], [2.0, 1.0, 3.0]) == 1.0


def test_the_steepest_and_the_lowest_of_a_known_curve() -> None:
    rates = np.geomspace(1e-5, 1, 101)
    losses = 1 - np.exp(-((np.log10(rates) + 2) ** 2))  # lowest at 1e-2, steepest √½ decades below
    assert steepest(rates.tolist(), losses.tolist()) == pytest.approx(10 ** (-2 - math.sqrt(0.5)), rel=0.15)
    assert minimum(rates.tolist(), losses.tolist()) == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("strategy", "factor", "phase", "spelled"),
    [
        ("bn+fc", 0.3, -1, "bn=3e-3,fc=3e-3"),
        ("bn+fc", 1, -1, "bn+fc"),
        ("by-kind", 12.345, -1, "conv=1.2e-3,bn=1.2e-1,fc=1.2e-2"),
        ("bn@stage1-2+fc", 2, -1, "bn@stage1-2=2e-2,fc=2e-2"),
        ("conv@stage1=1e-4+conv@stage2=1e-3", 2, -1, "conv@stage1=2e-4,conv@stage2=2e-3"),
        ("scratch", 2, -1, "scratch=2e-3"),
        ("bn-random", 2, -1, "bn=2e-2,random"),
        ("all=1e-3,decay=0.75,l2sp=0.1", 2, -1, "all=2e-3,decay=0.75,l2sp=0.1"),
        ("lp-ft", 2, 0, "fc=2e-3 for 0.5 then all"),
        ("fc for 5 then bn+fc then all", 3, 1, "fc for 5 then bn=3e-2,fc=3e-2 then all"),
    ],
)
def test_a_strategy_is_spelled_with_its_rates_scaled(strategy: str, factor: float, phase: int, spelled: str) -> None:
    found = scaled(parse(strategy), factor, phase)
    assert found == parse(spelled).name
    assert parse(found).name == found


@pytest.fixture
def bn_fc(weights: Path) -> RunSpec:
    return small_run(weights, "bn=1e-2,fc=1e-3", per_class=10)


def test_the_rates_rise_and_the_suggestions_lie_between(bn_fc: RunSpec, digits: Split) -> None:
    found = range_test(bn_fc, digits, steps=40, low=1e-5, high=1.0, device="cpu")
    assert (found.strategy, found.phase, found.phases, found.leading) == ("bn=1e-2,fc=1e-3", 1, 1, "bn")
    assert found.rates == pytest.approx(np.geomspace(1e-5, 1, 40)[: len(found.rates)])
    assert found.factors == pytest.approx(np.array(found.rates) / 1e-2)
    assert found.rate == pytest.approx(1e-2)
    assert len(found.losses) == len(found.smoothed) == len(found.rates)
    assert [s.name for s in found.suggestions] == ["valley", "steepest", "minimum/10"]
    for suggestion in found.suggestions:
        assert 1e-6 < suggestion.rate < 1
        assert suggestion.rate == pytest.approx(suggestion.factor * 1e-2)
        rates = [term.lr for term in parse(suggestion.strategy).last.terms]
        assert rates == pytest.approx([suggestion.rate, suggestion.rate / 10], rel=0.06), "to two digits"


def test_the_optimizer_has_the_rates_of_each_kind(
    bn_fc: RunSpec, digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, float]] = []
    step = torch.optim.Adam.step

    def watched(self: torch.optim.Adam, *args: object) -> object:
        seen.append({key: group["lr"] for group in self.param_groups for key in group["keys"]})
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    spec = replace(bn_fc, recipe=replace(bn_fc.recipe, schedule="one-cycle", epochs=3))
    found = range_test(spec, digits, steps=20, low=1e-5, high=1e-2, device="cpu")
    assert len(seen) == 20
    assert [max(rates.values()) for rates in seen] == pytest.approx(found.rates), "whatever the schedule"
    assert [rates["classifier.1.weight"] for rates in seen] == pytest.approx([rate / 10 for rate in found.rates])


def test_it_is_the_same_each_time_and_of_its_seed(bn_fc: RunSpec, digits: Split) -> None:
    found = range_test(bn_fc, digits, steps=20, low=1e-5, high=1e-2, device="cpu")
    assert range_test(bn_fc, digits, steps=20, low=1e-5, high=1e-2, device="cpu") == found
    assert range_test(replace(bn_fc, seed=1), digits, steps=20, low=1e-5, high=1e-2, device="cpu") != found


def test_the_batches_go_through_the_images_pass_after_pass(
    bn_fc: RunSpec, digits: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[list[int]] = []
    batches = Loop.batches

    def watched(self: Loop, epoch: int) -> list[torch.Tensor]:
        found = list(batches(self, epoch))
        drawn.extend(rows.tolist() for rows in found)
        return found

    monkeypatch.setattr(Loop, "batches", watched)
    range_test(bn_fc, digits, steps=20, low=1e-5, high=1e-2, device="cpu")
    order = [row for rows in drawn for row in rows]
    assert {len(rows) for rows in drawn} == {8}
    assert sorted(order[:50]) == sorted(order[50:100]) == list(range(50))


def test_it_leaves_no_trace(
    bn_fc: RunSpec, digits: Split, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, generator = weights.read_bytes(), torch.get_rng_state()
    range_test(bn_fc, digits, steps=20, low=1e-5, high=1e-2, device="cpu")
    assert weights.read_bytes() == content
    assert torch.equal(torch.get_rng_state(), generator)
    assert list(tmp_path.iterdir()) == []


def test_it_begins_with_the_runs_weights(digits: Split, weights: Path) -> None:
    """At a rate that moves nothing, the first batch's loss is that of the start; kept or not, it is the same."""
    spec = small_run(weights, "fc", per_class=10)
    kept = range_test(spec, digits, steps=20, low=1e-12, high=1e-11, device="cpu")
    whole = replace(spec, recipe=replace(spec.recipe, keep_prefix=False))
    assert range_test(whole, digits, steps=20, low=1e-12, high=1e-11, device="cpu").losses == pytest.approx(kept.losses)
    random = replace(spec, strategy="scratch")
    assert range_test(random, digits, steps=20, low=1e-12, high=1e-11, device="cpu").losses[0] != kept.losses[0]


def test_it_stops_where_the_loss_runs_away(bn_fc: RunSpec, digits: Split) -> None:
    sgd = replace(bn_fc, strategy="all=1e-3", recipe=replace(bn_fc.recipe, optimizer="sgd"))
    found = range_test(sgd, digits, steps=60, low=1e-5, high=1e9, device="cpu")
    assert found.stopped in ("the smoothed loss was above 4 times its best", "the loss was no longer a number")
    assert len(found.losses) < 60
    assert np.isfinite(found.losses).all()
    with pytest.raises(WdivError, match=r"stopped after \d+ of 60 steps, too soon to tell; start from a lower rate"):
        range_test(sgd, digits, steps=60, low=1e8, high=1e9, device="cpu")


@pytest.mark.parametrize(("phase", "leading"), [(None, "all"), (2, "all"), (1, "fc")])
def test_a_phase_is_chosen(digits: Split, weights: Path, phase: int | None, leading: str) -> None:
    spec = small_run(weights, "lp-ft", per_class=10)
    found = range_test(spec, digits, steps=20, low=1e-6, high=1e-4, phase=phase, device="cpu")
    assert (found.phase, found.phases, found.leading) == (phase or 2, 2, leading)


@pytest.mark.parametrize(
    ("strategy", "bn_mode"),
    [("gradual", "auto"), ("l2-sp", "auto"), ("auto-rgn", "auto"), ("fc", "adabn"), ("modular", "frozen")],
)
def test_every_method_can_be_tested(digits: Split, weights: Path, strategy: str, bn_mode: str) -> None:
    spec = small_run(weights, strategy, per_class=5, bn_mode=bn_mode, epochs=8)
    assert len(range_test(spec, digits, steps=20, low=1e-6, high=1e-4, device="cpu").losses) == 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 5}, "steps of a range test: at least 20, not 5"),
        ({"low": 0.0}, "from above 0 to a higher one, not from 0 to 10"),
        ({"low": 1.0, "high": 0.1}, "not from 1 to 0.1"),
        ({"high": math.nan}, "not from 1e-07 to nan"),
        ({"phase": 2}, "phase 1 to 1, not 2"),
    ],
)
def test_what_is_wrong_is_said(bn_fc: RunSpec, digits: Split, wrong: dict[str, float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        range_test(bn_fc, digits, device="cpu", **wrong)  # type: ignore[arg-type]
