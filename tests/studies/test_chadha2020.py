"""The guidelines of Chadha and Jain as a grid, against their text; and a run of all of it in small."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from studies.chadha2020 import FROZEN, FULL, RANDOM, SVM, TENTH
from studies.grid.conditions import parts
from studies.grid.study_runner import run
from studies.report.finish import conclude
from studies.spec.registry import load
from studies.spec.study import Pretrain, Study
from tests.conftest import once
from tests.tuning.tiny import MOBILENET
from wdiv.tuning.networks.models import ModelSpec, head_layers, layer_table
from wdiv.tuning.strategy.spelling import parse

STUDY = load("chadha2020")
MINI = load("chadha2020", "mini")


def test_the_rates_are_the_notes(shared: Path) -> None:
    (file,) = (shared / "seeds").glob("chadha2020*.txt")
    text = file.read_text(encoding="utf-8")
    (times,) = map(float, re.findall(r"initial learning rate (\d+) times smaller than the one used for scratch", text))

    def rates(strategy: str) -> set[float]:
        return {term.lr for term in parse(strategy).last.terms}

    (scratch,) = rates("scratch")
    assert rates(FULL) == {scratch}
    (tenth,) = rates(TENTH)
    assert tenth == pytest.approx(scratch / times)
    assert {term.kind for term in parse(FULL).last.terms} == {term.kind for term in parse(TENTH).last.terms}
    for words in ("less than a thousand samples", "bottleneck features", "SVM", "Freeze the weights of the first few"):
        assert words in text
    classes = 7  # as ferrographs have
    assert min(n for n in STUDY.per_class if n) * classes < 1000 <= max(n for n in STUDY.per_class if n) * 10


@pytest.mark.parametrize("study", [STUDY, MINI], ids=["paper", "mini"])
def test_the_first_layers_are_frozen_one_stage_more_at_a_time(study: Study) -> None:
    (model,) = study.models
    spec = ModelSpec.parse(model)
    table, head = layer_table(spec, 7, 64), head_layers(spec)
    frozen = []
    for strategy in FROZEN.values():
        parsed = parse(strategy)
        parsed.check(table, head, model)
        frozen.append([stage for stage in table.stages if not any(
            parsed.last.lr(layer, head) is not None for layer in table if layer.stage == stage
        )])  # fmt: skip
    assert frozen == [list(table.stages[:count]) for count in range(len(table.stages))], "from the input on"


@pytest.mark.parametrize("study", [STUDY, MINI], ids=["paper", "mini"])
def test_every_claim_compares_what_is_run(study: Study) -> None:
    grids = {part.condition: part.study for part in parts(study, Path("none"))}
    assert list(grids) == ["plain", "augmented", "validated", "cross-validated"]
    assert grids["augmented"].augment
    assert not grids["plain"].augment
    assert grids["validated"].validation > 0 < grids["validated"].patience
    assert (grids["cross-validated"].folds, grids["cross-validated"].test_count) == (5, None)
    there = {(name, strategy) for name, grid in grids.items() for strategy in (*grid.strategies, *grid.baselines)}
    for claim in study.claims:
        for side in (claim.side("left"), claim.side("right")):
            for condition in side.get("condition", ("plain",)):
                assert {(condition, strategy) for strategy in side["strategy"]} <= there, claim.name


@once
def test_the_study_runs_and_concludes(tmp_path: Path) -> None:
    """Some strategies, one epoch of each on a few images."""
    some = ("scratch", RANDOM, "fc", TENTH)
    small = replace(
        MINI, models=(MOBILENET,), pretrain=Pretrain("digits-0-4", epochs=1, per_class=10),
        strategies=some, per_class=(5,), seeds=(0,), epochs=1, test_count=4, metrics=("relative_l2",),
    )  # fmt: skip
    assert run(small, tmp_path, device="cpu") == []
    _, files = conclude(small, tmp_path)
    report = next(file for file in files if file.name == "report.md").read_text(encoding="utf-8")
    assert f"{len(small.claims)} not decided" in report, "one seed decides nothing"
    observed = pd.read_csv(tmp_path / "report" / "observations.csv", dtype={"per_class": str})
    accuracy = observed[observed["measure"] == "accuracy"]
    found = sorted(zip(accuracy["condition"], accuracy["strategy"], strict=True))
    beside = [(name, TENTH) for name in ("augmented", "cross-validated", "validated")]
    assert found == sorted([*(("plain", name) for name in (*some, "svm", SVM)), *beside])
    figures = {file.name for file in (tmp_path / "report" / "figures").iterdir()}
    assert figures == {"sizes.png", "conditions.png"}, "not all images were trained on, which the other one shows"
