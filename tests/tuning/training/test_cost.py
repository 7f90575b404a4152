"""What a run will take: the arithmetic exactly, the measuring as loosely as a shared machine allows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tuning.tiny import small_run
from wdiv.tuning.data.images import Split
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.training import cost
from wdiv.tuning.training.cost import Cost, Line, Pace, PrefixCost, estimate_seconds, measure_cost
from wdiv.tuning.training.recipe import Recipe
from wdiv.tuning.training.run import fine_tune

CPU = torch.device("cpu")


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Strategies that were probed; a made cost of 1 s an epoch, and 1 ms for an image of the prefix of ``fc``."""
    found: list[str] = []

    def made(spec, split, device, networks):  # type: ignore[no-untyped-def]
        found.append(f"{spec.parsed.name} {spec.bn_mode}")
        prefix = {"fc": PrefixCost("a", 0.001), "bn@stage2+fc": PrefixCost(None, 0.001)}.get(spec.parsed.name)
        epochs = spec.recipe.epochs
        pace = Pace(epochs, Line(0.0, 0.0), Line(1.0, 0.0), training=prefix, judging=prefix)
        return Cost(spec.recipe, 0.0, (pace,))

    monkeypatch.setattr(cost, "measure_cost", made)
    return found


def test_an_epoch_is_its_steps_and_its_judging() -> None:
    pace = Pace(epochs=2, step=Line(0.1, 0.01), judge=Line(0.5, 0.001))
    assert pace.seconds(40, 100, Recipe(batch_size=32)) == pytest.approx(2 * (2 * 0.1 + 40 * 0.01 + 0.6))
    assert pace.seconds(8, 100, Recipe(batch_size=32)) == pytest.approx(2 * (0.1 + 8 * 0.01 + 0.6))
    fixed = Recipe(batch_size=32, steps_per_epoch=5)
    assert pace.seconds(8, 0, fixed) == pytest.approx(2 * (5 * 0.1 + 5 * 8 * 0.01 + 0.5))


def test_estimating_statistics_and_looking_at_gradients_take_time_too() -> None:
    pace, recipe = Pace(2, Line(0.1, 0.01), Line(0.0, 0.001)), Recipe(batch_size=32)
    plain = pace.seconds(64, 0, recipe)
    assert replace(pace, passes=2, passing=0.002).seconds(64, 0, recipe) == pytest.approx(plain + 2 * 64 * 0.002)
    assert replace(pace, looks=5).seconds(64, 0, recipe) == pytest.approx(plain + 2 * 5 * (0.1 + 32 * 0.01))


def test_epoch_0_and_setting_up_count_once() -> None:
    paces = (Pace(1, Line(0.0, 0.0), Line(2.0, 0.0)), Pace(3, Line(0.0, 0.0), Line(1.0, 0.0)))
    assert Cost(Recipe(), 10.0, paces).seconds(10, 10) == 10 + 2 + 2 + 3 + 1, "at the end its own images are judged"


def test_a_line_goes_through_both_points_and_never_falls() -> None:
    line = cost._line((4, 0.2), (32, 0.9))
    assert (line(4), line(32)) == pytest.approx((0.2, 0.9))
    assert cost._line((4, 0.3), (32, 0.2))(32) == pytest.approx(0.2)
    assert cost._line((4, 0.1), (32, 3.2)) == Line(0.0, 0.1), "no less than nothing for a batch"
    assert cost._line((4, 0.2), (4, 0.2)) == Line(0.0, 0.05)


def test_a_kind_of_run_is_probed_once(probed: list[str], digits: Split, weights: Path) -> None:
    specs = [
        small_run(weights, strategy, per_class=size, seed=seed, bn_mode=mode)
        for strategy in ("fc", "bn+fc") for mode in ("auto", "frozen") for size in (3, 5) for seed in (0, 1)
    ]  # fmt: skip
    estimate_seconds(specs, digits, "cpu")
    assert probed == ["fc auto", "fc frozen", "bn+fc auto", "bn+fc frozen"]


def test_the_prefix_of_an_image_counts_once_for_the_grid(probed: list[str], digits: Split, weights: Path) -> None:
    whole = small_run(weights, "fc", per_class=None)
    first, second = estimate_seconds([whole, replace(whole, seed=1)], digits, "cpu")
    blocks = sum(-(-len(images) // 16) for images in (digits.pool, digits.test))
    assert (first, second) == pytest.approx((4 + blocks * 16 * 0.001, 4))
    own = small_run(weights, "bn@stage2+fc", per_class=None)
    first, second = estimate_seconds([own, replace(own, seed=1)], digits, "cpu")
    assert first == second == pytest.approx(4 + blocks * 16 * 0.001), "a prefix that no other run has"


def test_random_weights_of_two_seeds_have_two_prefixes(probed: list[str], digits: Split) -> None:
    runs = [small_run("random", "fc", per_class=None, seed=seed) for seed in (0, 1)]
    first, second = estimate_seconds(runs, digits, "cpu")
    assert first == second


@pytest.mark.parametrize(
    ("strategy", "bn_mode", "recipe", "kept", "shared"),
    [
        ("fc", "auto", {}, (True, True), True),
        ("bn@stage2+fc", "frozen", {}, (True, True), True),
        ("fc", "auto", {"augment": ("flip",)}, (False, True), True),
        ("fc", "auto", {"keep_prefix": False}, (False, False), False),
        ("conv+fc", "auto", {}, (False, False), False),
        ("fc", "adabn", {}, (True, True), False),
        ("all=1e-3,rgn", "adapt", {"mixup": 0.2, "validation": 0.3, "patience": 1}, (False, False), False),
    ],
)
def test_what_is_probed_is_what_would_run(
    digits: Split, weights: Path, strategy: str, bn_mode: str, recipe: dict[str, object], kept: tuple[bool, bool],
    shared: bool,
) -> None:  # fmt: skip
    (pace,) = measure_cost(small_run(weights, strategy, bn_mode=bn_mode, epochs=3, **recipe), digits, CPU).paces
    assert (pace.training is not None, pace.judging is not None) == kept
    assert {prefix.name is not None for prefix in (pace.training, pace.judging) if prefix} == (
        {shared} if any(kept) else set()
    )
    assert (pace.passes, pace.looks) == ({"adapt": 3, "adabn": 1}.get(bn_mode, 0), 5 if "rgn" in strategy else 0)
    assert all(line(8) > 0 for line in (pace.step, pace.judge))


def test_a_prefix_that_an_earlier_phase_has_trained_is_the_runs_own(digits: Split, weights: Path) -> None:
    first, second = measure_cost(small_run(weights, "conv+bn+fc for 1 then fc", epochs=3), digits, CPU).paces
    assert (first.epochs, first.training) == (1, None)
    assert second.epochs == 2
    assert second.training is not None
    assert second.training.name is None


def test_probing_leaves_no_trace(digits: Split, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    before, threads, pixels = torch.get_rng_state(), torch.get_num_threads(), digits.pool.pixels.copy()
    spec = small_run(weights, "bn+fc")
    measure_cost(replace(spec, recipe=replace(spec.recipe, schedule="one-cycle")), digits, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, True)
    assert (digits.pool.pixels == pixels).all()
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_here_need_not_be(digits: Split) -> None:
    """A dry run downloads nothing."""
    spec = small_run("random", "fc")
    gone = replace(spec.source, name="elsewhere", file=Path("/nowhere/weights.pth"))
    assert measure_cost(replace(spec, source=gone), digits, CPU).seconds(10, 10) > 0


def test_the_estimate_is_of_the_order_of_what_it_takes(
    digits: Split, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In seconds of this process alone, whatever else the machine does."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    specs = [small_run(weights, strategy, per_class=40, epochs=4) for strategy in ("fc", "conv+fc")]
    features, took = FeatureStore(), 0.0
    for spec in specs:
        start = time.perf_counter()
        fine_tune(spec, digits, tmp_path, device="cpu", features=features)
        took += time.perf_counter() - start
    expected = sum(estimate_seconds(specs, digits, "cpu"))
    assert took / 5 < expected < took * 5
