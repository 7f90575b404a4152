"""What a grid, and a baseline, are refused for, before anything is trained or written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from baselines import trials
from studies.grid import frozen_features
from studies.grid.planning import plan_grid, sources_of
from studies.grid.runner import describe_grid, run_grid
from studies.spec.study import Study, override
from tests.studies.cli.test_cli import wdiv
from tests.tuning.tiny import contents, write_weights
from wdiv.errors import BadInput


@pytest.fixture
def own(small: Study, tmp_path: Path) -> Study:
    """The study with a file of weights that may be overwritten."""
    (tmp_path / "made").mkdir()
    return override(small, {"weights": str(shutil.copy(small.weights, tmp_path / "made")), "strategies": ["fc"]})


def overwritten(study: Study) -> Study:
    write_weights(Path(study.weights), seed=5)
    return study


@pytest.mark.parametrize("do", [run_grid, lambda study, out, device: describe_grid(plan_grid(study), out, device)])
def test_a_seed_of_other_weights_leaves_the_store_as_it_was(
    own: Study, tmp_path: Path, do: Callable[..., object]
) -> None:
    """Its study.json too: a run that cannot be would be waited for, for ever."""
    out, _ = run_grid(own, tmp_path / "out", device="cpu")
    before = contents(out)
    with pytest.raises(BadInput, match="is of other weights called"):
        do(override(overwritten(own), {"seeds": [1]}), out, device="cpu")
    assert contents(out) == before


def test_nothing_is_trained_beside_a_baseline_of_other_weights(own: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    frozen_features.run(own, ["ncm"], [], device="cpu", out=out)
    before = contents(out)
    with pytest.raises(BadInput, match="ncm-frozen-s0 of other weights called"):
        run_grid(overwritten(own), out, device="cpu")
    assert contents(out) == before


def test_no_baseline_is_fitted_beside_runs_of_other_weights_or_images(own: Study, tmp_path: Path) -> None:
    out, _ = run_grid(own, tmp_path / "out", device="cpu")
    before = contents(out)
    with pytest.raises(BadInput, match="fc-auto-s0 of other images called 'digits-5-9'"):
        frozen_features.run(override(own, {"test_count": 6}), ["ncm"], [], device="cpu", out=out)
    with pytest.raises(BadInput, match="fc-auto-s0 of other weights called"):
        frozen_features.run(overwritten(own), ["ncm"], [], device="cpu", out=out)
    assert contents(out) == before


def test_a_baseline_of_weights_that_are_fed_in_another_way_is_refused(own: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (source,), split = sources_of(own), plan_grid(own).split
    for outcome in trials.run(source, split, [trials.Trial("ncm", per_class=3)], device="cpu"):
        trials.save(outcome, out)
    other = replace(source, input=replace(source.input, std=(0.3, 0.3, 0.3)))
    with pytest.raises(BadInput, match=r"of weights fed in another way called .*std .*, now \[0\.3, 0\.3, 0\.3\]"):
        trials.kept(out, other, split)
    assert [*trials.kept(out, source, split)] == [outcome.id]


def test_a_baseline_of_other_folds_is_not_the_study_s(own: Study, tmp_path: Path) -> None:
    out, study = tmp_path / "out", override(own, {"baselines": ["ncm"], "strategies": ["fc"]})
    frozen_features.run(own, ["ncm"], [], cv=3, device="cpu", out=out)
    run_grid(study, out, device="cpu")
    assert [outcome.cv for outcome in trials.load(out)] == [5]


@pytest.mark.parametrize("command", [("noise",), ("plot", "heatmap")])
def test_a_store_where_nothing_is_finished(own: Study, tmp_path: Path, command: tuple[str, ...]) -> None:
    too_fast = override(own, {"strategies": ["fc=1e38"], "optimizer": "sgd"})
    out, diverged = run_grid(too_fast, tmp_path / "out", device="cpu")
    assert diverged
    done = wdiv(command[0], out, *command[1:], *(["--out", tmp_path / "x.png"] if command[1:] else []), code=2)
    assert "no run is finished" in done.stderr
