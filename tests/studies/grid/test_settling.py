"""A study of one's own images: what is settled for it, and what stays as it was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from studies.grid import settling
from studies.grid.settling import settle
from studies.grid.study_file import merge_axes, write_study_json
from studies.spec.registry import load, names_images
from studies.spec.study import Study
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput

Settled = Callable[..., Study]


@pytest.fixture
def settled(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settled:
    """``settled(data, minutes=…, field=value)``; each step of a run takes a second."""
    monkeypatch.setattr(settling, "estimate_seconds", _a_second_a_step)

    def of(data: str | Path, minutes: float = float("inf"), curve: bool = False, **values: Any) -> Study:
        given = {"models": [MOBILENET], "weights": str(weights), **values}
        study = load(str(data), values=given)
        return settle(study, {"data": str(data), **given}, tmp_path / "out", minutes=minutes, curve=curve)

    return of


def _a_second_a_step(specs: Any, split: Any, device: str) -> list[float]:
    return [float(spec.recipe.epochs * spec.recipe.steps_per_epoch) for spec in specs]


def test_a_folder_stands_for_a_study_of_its_images(folder: Callable[..., Path]) -> None:
    root = folder(a=5, b=5)
    study = load(str(root))
    assert (study.name, study.data, study.recommend) == ("compare-strategies", str(root), True)
    assert load("digits", values={"seeds": 4}).seeds == (4,)
    assert not names_images("quickstart"), "a study goes before a folder of its name"
    assert not names_images("no such folder")


def test_what_is_left_open_is_settled_by_the_images(settled: Settled) -> None:
    study = settled("digits-0-4")
    assert study.image_size == 64, "the pictures have 8 pixels"
    assert (study.validation, study.steps, study.epochs) == (0.2, 510, 5), "30 passes over 541 images in 32s"
    assert study.strategies == ("fc", "bn+fc", "conv+fc", "conv+bn+fc")
    assert (study.bn_modes, study.seeds, study.per_class) == (("frozen", "batch"), (0, 1, 2), (None,))
    assert any("the pictures have 8" in note for note in study.notes)


def test_what_is_given_stays(settled: Settled) -> None:
    given: Mapping[str, Any] = {
        "image_size": 32, "steps": 10, "epochs": 2, "validation": 0.5, "seeds": [7], "strategies": ["fc"],
        "bn_modes": ["batch"], "per_class": [9],
    }  # fmt: skip
    study = settled("digits-0-4", minutes=0.01, **given)
    assert (study.image_size, study.steps, study.epochs, study.validation) == (32, 10, 2, 0.5)
    assert (study.seeds, study.strategies, study.bn_modes, study.per_class) == ((7,), ("fc",), ("batch",), (9,))


def test_few_images_are_all_trained_on(settled: Settled, folder: Callable[..., Path]) -> None:
    study = settled(folder(a=3, b=3))
    assert study.validation == 0.0
    assert any("too few to hold some out" in note for note in study.notes)
    assert study.steps == 100, "the least"


def test_steps_follow_the_images_that_are_asked_for(settled: Settled) -> None:
    assert settled("digits-0-4", per_class=[40]).steps == 150, "30 passes over 160 images in 32s"


def test_a_curve_is_over_sizes_that_there_are(settled: Settled) -> None:
    assert settled("digits-0-4", curve=True).per_class == (5, 10, 20, 40, 80, None)
    assert settled("digits-0-4", curve=True, per_class=[3, 7]).per_class == (3, 7)


@pytest.mark.parametrize(
    ("minutes", "left_out", "kept"),
    [
        (500.0, [], {"seeds": (0, 1, 2), "steps": 510}),
        (110.0, ["255 steps a run"], {"steps": 255, "strategies": ("fc", "bn+fc", "conv+fc", "conv+bn+fc")}),
        (33.0, ["100 steps a run", "no conv+fc"], {"steps": 100, "bn_modes": ("frozen", "batch")}),
        (20.0, ["no conv+fc", "no batch statistics"], {"bn_modes": ("frozen",), "seeds": (0, 1, 2)}),
        (11.0, ["no batch statistics", "2 seeds"], {"seeds": (0, 1), "image_size": 64}),
    ],
)  # fmt: skip
def test_what_the_time_does_not_allow_is_left_out_and_named(
    minutes: float, left_out: list[str], kept: dict[str, Any], settled: Settled
) -> None:
    study = settled("digits-0-4", minutes=minutes)
    assert {name: getattr(study, name) for name in kept} == kept
    said = [note for note in study.notes if "minutes" in note]
    assert len(said) == bool(left_out)
    assert all(what in said[0] for what in left_out)


def test_what_does_not_fit_into_the_time_even_so_says_what_it_takes(settled: Settled) -> None:
    study = settled("digits-0-4", minutes=0.5)
    assert study.strategies == ("fc", "conv+bn+fc")
    assert any("and what is left about" in note for note in study.notes)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan")])
def test_no_time_is_an_error(minutes: float, settled: Settled) -> None:
    with pytest.raises(BadInput, match="minutes: a number above 0, or inf"):
        settled("digits-0-4", minutes=minutes)


def test_a_network_without_batchnorm_has_no_statistics_to_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"models": ["squeezenet1_1"], "weights": "random", "data": "digits-0-4"}
    study = settle(load("digits-0-4", values=given), given, tmp_path, minutes=float("inf"))
    assert (study.strategies, study.bn_modes) == (("fc", "conv+fc"), ("auto",))
    assert sum(note.startswith("left out: strategy") for note in study.notes) == 2


def test_what_was_settled_once_holds(settled: Settled, tmp_path: Path) -> None:
    first = settled("digits-0-4", minutes=20.0)
    write_study_json(tmp_path / "out", {"study": merge_axes(first, tmp_path / "out"), "runs": [], "facts": {}})
    again = settled("digits-0-4", minutes=500.0)
    assert (again.steps, again.bn_modes, again.seeds) == (first.steps, first.bn_modes, first.seeds)
    assert any("--minutes counts no more" in note for note in again.notes)
    assert any("without conv+fc; give another --out" in note for note in again.notes)
    more = settled("digits-0-4", seeds=[5])
    assert more.seeds == (5,), "an axis may grow"
    assert merge_axes(more, tmp_path / "out")["seeds"] == [0, 1, 2, 5]


def test_without_images_it_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="'wdiv run FOLDER', or give --data FOLDER"):
        settle(load("compare-strategies"), {}, tmp_path)
