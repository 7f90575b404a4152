"""What a study needs before its first step is found out once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studies.grid import planning, study_runner
from studies.spec.columns import SCORED
from studies.spec.study import Condition, Pretrain, Study
from studies.spec.table import Table
from tests.tuning.tiny import MOBILENET

STUDY = Study(
    "once", models=(MOBILENET,), pretrain=Pretrain("digits-0-4", 1, steps_per_epoch=1), data="digits-5-9",
    per_class=(3,), strategies=("fc",), image_size=32, epochs=1,
    tables=(Table("apart", columns=("measure",), measure=SCORED),),
)  # fmt: skip


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each data set was decoded."""
    found, real = Counter[str](), planning.open_split

    def open_split(name: str, *given: Any, **how: Any) -> Any:
        found[name] += 1
        return real(name, *given, **how)

    monkeypatch.setattr(planning, "open_split", open_split)
    return found


def test_images_are_decoded_once_of_the_source_too(decoded: Counter[str], tmp_path: Path) -> None:
    """Planned, trained, its networks started from, and the distance of both measured."""
    study_runner.run(STUDY, tmp_path, device="cpu")
    assert (tmp_path / "distance.json").exists()
    assert decoded == {"digits-0-4": 1, "digits-5-9": 1}


def test_of_conditions_they_are_decoded_for_the_plan_and_for_the_runs(decoded: Counter[str], tmp_path: Path) -> None:
    """Not kept in between: the images of all would be in memory together."""
    conditions = (Condition("a", {}), Condition("b", {"batch_size": 8}))
    study_runner.run(replace(STUDY, conditions=conditions, tables=()), tmp_path, device="cpu")
    assert decoded == {"digits-0-4": 4, "digits-5-9": 4}


def test_a_dry_run_decodes_them_once(decoded: Counter[str], tmp_path: Path) -> None:
    found = study_runner.describe(STUDY, tmp_path, "cpu")
    assert [part["condition"] for part in found["parts"]] == ["source", ""]
    assert decoded == {"digits-0-4": 1, "digits-5-9": 1}


@pytest.mark.parametrize(
    ("recipe", "words", "each"),
    [
        ({}, "sizes are compared at unequal steps, 4 on 10 images and 8 on 30: more images are more training too; "
             "--steps 8 gives each run as many", {10: 2, 30: 4}),
        ({"steps": 6}, "each run takes 6 steps, passes over its images: 4.8 on 10 images and 1.6 on 30 images",
         {10: 3, 30: 3}),
        ({"steps_per_epoch": 3}, "", {10: 3, 30: 3}),
        ({"per_class": (2,)}, "", {10: 2}),
    ],
)  # fmt: skip
def test_a_dry_run_says_how_sizes_are_compared(
    recipe: dict[str, Any], words: str, each: dict[int, int], tmp_path: Path
) -> None:
    study = replace(
        STUDY, pretrain=None, weights="random", per_class=(2, 6), epochs=2, batch_size=8, tables=()
    )  # fmt: skip
    study = replace(study, **recipe)
    grid = planning.plan_grid(study)
    assert {planned.n_train: planned.steps for planned in grid.runs} == each
    notes = study_runner.describe(study, tmp_path, "cpu")["notes"]
    assert [note for note in notes if "steps" in note] == [words] * bool(words)
