"""The abstract's factors: each in the study, varied alone, and a toy of it from end to end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studies.grid.conditions import parts
from studies.grid.domain_distance import FILE, SCORED
from studies.grid.planning import open_data, plan_grid, source_study
from studies.grid.study_runner import run
from studies.report.writing import write
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.conftest import once
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput
from wdiv.tuning.strategy.spelling import parse

PAPER, MINI = load("li2020"), load("li2020", "mini")
BOTH = pytest.mark.parametrize("study", [PAPER, MINI], ids=["paper", "mini"])


def test_every_factor_has_its_claims_and_none_is_the_documents() -> None:
    assert {claim.question for claim in PAPER.claims} == {"rate", "source", "distance", "amount", "parameters"}
    assert {claim.where for claim in PAPER.claims} == {"ours; the abstract names the factor"}
    measures = {name for claim in PAPER.claims for name in claim.side("left")["measure"]}
    assert measures == {"accuracy", "output_change", *SCORED}


@BOTH
def test_rates_rise_tenfold_and_the_new_classifiers_stays(study: Study) -> None:
    head, *tuned = (parse(name).last.terms for name in study.strategies)
    assert [(term.kind, term.lr) for term in head] == [("fc", 1e-3)]
    rates = [{term.kind: term.lr for term in terms} for terms in tuned]
    assert [rate["conv"] for rate in rates] == [1e-5, 1e-4, 1e-3, 1e-2]
    assert all(rate["bn"] == rate["conv"] and rate["fc"] == 1e-3 for rate in rates)


@BOTH
def test_each_condition_differs_from_near_in_one_factor(study: Study) -> None:
    near, *others = (part.study for part in parts(study, Path("out")))
    for other, factor in zip(others, ("pretrain", "pretrain", "data"), strict=True):
        changed = {name for name in ("pretrain", "data") if getattr(near, name) != getattr(other, name)}
        assert changed == {factor}
    sources = [
        plan_grid(source_study(override(one, {"image_size": 32, "models": [MOBILENET]}))) for one in (near, *others)
    ]
    images = [grid.runs[0].n_train for grid in sources]
    assert images == [676, 100, 100, 676], "as many of few categories as of many"
    assert [len(grid.split.pool.classes) for grid in sources] == [5, 5, 2, 5]
    assert len({(grid.runs[0].steps, grid.study.epochs) for grid in sources}) == 1, "each trained for as long"
    where = [part.sources for part in parts(study, Path("out"))]
    assert where[0] == where[3]
    assert len(set(where)) == 3


@BOTH
def test_near_and_far_have_as_many_classes_and_enough_images(study: Study) -> None:
    for part in (parts(study, Path("out"))[0], parts(study, Path("out"))[-1]):
        split = open_data(part.study, 16)
        assert len(split.pool.classes) == 5
        assert split.pool.counts().min() >= max(size for size in study.per_class if size)


@BOTH
def test_everything_that_is_compared_is_run(study: Study) -> None:
    conditions = {part.condition: part.study for part in parts(study, Path("out"))}
    for claim in study.claims:
        for side in ("left", "right"):
            chosen = claim.side(side)
            for condition in chosen.get("condition", ()):
                assert {*chosen.get("strategy", ()), *filter(None, [claim.over])} <= {*conditions[condition].strategies}
    for figure in study.figures:
        assert {figure.where["per_class"]} <= {str(size) for size in study.per_class}
        assert set(figure.where["condition"]) <= set(conditions)


def test_near_images_can_be_given_and_sources_cannot() -> None:
    given = parts(override(PAPER, {"data": "digits"}), Path("out"))
    assert [part.study.data for part in given] == ["digits"] * 3 + ["ferrographs"]
    with pytest.raises(BadInput, match="pretrain: each condition of study 'li2020' has its own"):
        override(PAPER, {"weights": "IMAGENET1K_V1"})


@once
def test_a_toy_of_it_trains_and_concludes(tmp_path: Path) -> None:
    head, tuned = PAPER.strategies[0], PAPER.strategies[2]
    conditions = [
        replace(condition, values=condition.values | {
            "pretrain": replace(condition.values["pretrain"], epochs=1, steps_per_epoch=1),
            "data": "digits" if condition.name == "far" else "digits-5-9", "test_count": 5,
        })
        for condition in MINI.conditions
    ]  # fmt: skip
    toy = override(MINI, {
        "models": [MOBILENET], "conditions": conditions, "strategies": [head, tuned], "steps_per_epoch": 1,
        "seeds": [0], "per_class": [100],
    })  # fmt: skip
    assert run(toy, tmp_path / "out", device="cpu") == []
    assert sorted(path.parent.name for path in (tmp_path / "out").glob(f"*/{FILE}")) == [
        "far", "few-categories", "few-images", "near",
    ]  # fmt: skip
    report, _ = write(tmp_path / "out")
    assert report.unfinished == (0, 4 * 2)
    tables = {filled.table.name: filled.cells for filled in report.tables}
    assert len(tables["distance"]) == 4 * 2
    assert np.isfinite(tables["distance"]["ours"]).all()
    assert set(tables["moved"]["condition"]) == {part.condition for part in parts(toy, Path("out"))}
    verdicts = {verdict.claim.name: verdict for verdict in report.verdicts}
    for name in ("source-images-help", "source-categories-help", "poor-source-moves", "far-by-frechet", "far-by-mmd",
                 "far-gains", "far-moves", "deep-moves"):  # fmt: skip
        assert verdicts[name].pairs == 1 or "not learned" in verdicts[name].reason, name
    assert {"profile-source", "profile-distance"} <= set(report.figures)
