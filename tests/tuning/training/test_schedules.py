"""Schedules against torch's own, step by step."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

from tests.conftest import ROOT
from wdiv.errors import BadInput
from wdiv.tuning.training.schedules import SCHEDULES, factor

Oracle = Callable[[torch.optim.Optimizer, int], LRScheduler]
ORACLES: dict[str, Oracle] = {
    "constant": lambda optimizer, steps: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0),
    "linear": lambda optimizer, steps: LinearLR(optimizer, 1.0, 0.0, steps),
    "cosine": lambda optimizer, steps: CosineAnnealingLR(optimizer, steps),
    "one-cycle": lambda optimizer, steps: OneCycleLR(optimizer, max_lr=1.0, total_steps=steps),
}
LENGTHS = (1, 2, 3, 4, 7, 10, 100)


def optimizer(name: str = "SGD") -> torch.optim.Optimizer:
    extra = {"momentum": 0.9} if name in ("SGD", "RMSprop") else {}
    return getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **extra)


def torchs(oracle: Oracle, steps: int, chosen: torch.optim.Optimizer) -> list[tuple[float, float]]:
    """(rate, momentum) with which each step is taken."""
    scheduler, taken = oracle(chosen, steps), []
    for step in range(steps):
        group = chosen.param_groups[0]
        taken.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        chosen.step()
        if step + 1 < steps:
            scheduler.step()
    return taken


def test_every_schedule_has_an_oracle() -> None:
    assert set(ORACLES) == set(SCHEDULES)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", LENGTHS)
def test_rates_are_torchs(name: str, steps: int) -> None:
    expected = [rate for rate, _ in torchs(ORACLES[name], steps, optimizer())]
    found = [SCHEDULES[name].lr_factor(step, steps) for step in range(steps)]
    assert found == pytest.approx(expected, rel=0, abs=1e-12)
    assert [factor(SCHEDULES[name], step, steps) for step in range(steps)] == found


@pytest.mark.parametrize("kind", ["SGD", "RMSprop", "Adam", "AdamW"])
@pytest.mark.parametrize("steps", LENGTHS)
def test_the_momentum_of_one_cycle_is_torchs_whatever_the_optimizer_had(kind: str, steps: int) -> None:
    expected = [momentum for _, momentum in torchs(ORACLES["one-cycle"], steps, optimizer(kind))]
    found = [SCHEDULES["one-cycle"].momentum(step, steps) for step in range(steps)]
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(SCHEDULES) - {"one-cycle"}))
def test_the_others_leave_the_momentum_alone(name: str) -> None:
    assert [SCHEDULES[name].momentum(step, 5) for step in range(5)] == [None] * 5


@pytest.mark.parametrize("name", sorted(name for name, schedule in SCHEDULES.items() if not schedule.warms_up))
@pytest.mark.parametrize(("steps", "warmup"), [(10, 1), (10, 4), (30, 29)])
def test_a_warm_up_is_torchs_linear_one_before_the_schedule(name: str, steps: int, warmup: int) -> None:
    def oracle(chosen: torch.optim.Optimizer, steps: int) -> LRScheduler:
        parts = [LinearLR(chosen, 1 / (warmup + 1), 1.0, warmup), ORACLES[name](chosen, steps - warmup)]
        return SequentialLR(chosen, parts, [warmup])

    expected = [rate for rate, _ in torchs(oracle, steps, optimizer())]
    found = [factor(SCHEDULES[name], step, steps, warmup) for step in range(steps)]
    assert found == pytest.approx(expected, rel=0, abs=1e-12)


@given(name=st.sampled_from(sorted(SCHEDULES)), steps=st.integers(1, 2000), share=st.floats(0, 1), warm=st.floats(0, 1))
def test_a_factor_is_a_share_above_zero(name: str, steps: int, share: float, warm: float) -> None:
    schedule = SCHEDULES[name]
    warmup = 0 if schedule.warms_up else int(warm * (steps - 1))
    assert 0 < factor(schedule, int(share * (steps - 1)), steps, warmup) <= 1


def test_the_records_are_whole() -> None:
    assert all(s.long_name and s.formula and s.source for s in SCHEDULES.values())
    rising = {name for name, s in SCHEDULES.items() if s.lr_factor(1, 20) > s.lr_factor(0, 20)}
    assert rising == {name for name, s in SCHEDULES.items() if s.warms_up}


@pytest.mark.parametrize("warmup", [-1, 10, 11])
def test_a_warm_up_leaves_steps_to_the_schedule(warmup: int) -> None:
    with pytest.raises(BadInput, match="warm-up: from 0 to 9 of 10 steps, not"):
        factor(SCHEDULES["cosine"], 0, 10, warmup)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_schedule_starves_a_stretch_that_is_as_short_as_it_takes(name: str) -> None:
    schedule = SCHEDULES[name]
    assert max(schedule.lr_factor(step, schedule.least) for step in range(schedule.least)) > 0.5


def test_one_cycle_warms_up_by_itself() -> None:
    with pytest.raises(BadInput, match="schedule 'one-cycle' has its own"):
        factor(SCHEDULES["one-cycle"], 0, 10, 2)


def test_names_are_known_without_torch() -> None:
    names = ("wdiv.tuning.training.schedules", "wdiv.tuning.training.losses", "wdiv.tuning.data.augment")
    program = f"import {', '.join(names)}, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
