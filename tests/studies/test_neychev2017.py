"""The review's four scenarios: all of them in the study, on as many classes, and a toy of it from end to end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from studies.grid.conditions import parts
from studies.grid.planning import open_data, plan_grid
from studies.grid.study_runner import run
from studies.report.writing import write
from studies.spec.registry import load
from studies.spec.study import Condition, Pretrain, Study, override
from tests.conftest import once
from tests.tuning.tiny import MOBILENET
from wdiv.errors import BadInput
from wdiv.tuning.strategy.spelling import parse

PAPER, MINI = load("neychev2017"), load("neychev2017", "mini")


def test_each_corner_of_size_and_similarity_has_its_claims() -> None:
    places = {(claim.question, claim.of["condition"], claim.of["per_class"]) for claim in PAPER.claims[:7]}
    assert places == {
        ("1", "near", "smallest"), ("2", "near", "largest"), ("3", "far", "smallest"), ("4", "far", "largest"),
    }  # fmt: skip
    sides = {claim.name: (claim.left.get("strategy"), claim.right.get("strategy")) for claim in PAPER.claims}
    assert sides["few-near-classify"] == ("svm@bottleneck", "conv+bn+fc")
    assert sides["many-near-tune"] == ("conv+bn+fc", "svm@bottleneck")
    assert sides["few-far-earlier"] == (("svm@stage2", "svm@stage3"), "svm@bottleneck")
    assert sides["many-far-pretrained"] == ("conv+bn+fc", "scratch")
    assert sides["second-network-helps"] == (parse("modular").name, "fc")


@pytest.mark.parametrize("study", [PAPER, MINI], ids=["paper", "mini"])
def test_everything_that_is_compared_is_run(study: Study) -> None:
    rivals = {*study.strategies, *study.baselines}
    named = [claim.side(side).get("strategy", ()) for claim in study.claims for side in ("left", "right")]
    assert {name for names in named for name in names} <= rivals
    assert set(study.tables[0].where["strategy"]) == rivals
    assert {claim.over for claim in study.claims} <= {"", *rivals}
    assert study.figures[0].where["per_class"] == tuple(map(str, study.per_class))


def test_near_and_far_have_as_many_classes_and_enough_images() -> None:
    for part in parts(MINI, Path("out")):
        split = open_data(part.study, 32)
        assert len(split.pool.classes) == 5
        assert split.pool.counts().min() >= max(size for size in MINI.per_class if size)
    assert len({part.sources for part in parts(MINI, Path("out"))}) == 1, "one source network for both"


def test_near_images_are_the_users_and_far_ones_come_along() -> None:
    near, far = parts(PAPER, Path("out"))
    assert (near.study.data, far.study.data) == (None, "ferrographs")
    with pytest.raises(BadInput, match="give --data FOLDER"):
        plan_grid(near.study)
    given = parts(override(PAPER, {"data": "digits", "test_count": 20}), Path("out"))
    assert [part.study.data for part in given] == ["digits", "ferrographs"]
    assert [part.study.test_count for part in given] == [20, None], "ferrographs have their own test images"
    assert len(open_data(given[1].study, 8).pool.classes) == 5


@once
def test_a_toy_of_it_trains_and_concludes(tmp_path: Path) -> None:
    assert isinstance(MINI.pretrain, Pretrain)
    toy = override(MINI, {
        "models": [MOBILENET], "pretrain": replace(MINI.pretrain, epochs=1, steps_per_epoch=1), "test_count": 5,
        "conditions": [Condition("near", {}), Condition("far", {"data": "digits"})], "epochs": 1,
        "steps_per_epoch": 1, "seeds": [0], "baselines": ["svm@bottleneck", "svm@stage2"],
    })  # fmt: skip
    assert run(toy, tmp_path / "out", device="cpu") == []
    report, files = write(tmp_path / "out")
    assert (tmp_path / "out" / "report" / "report.md") in files
    assert report.unfinished == (0, 2 * 2 * 4)
    assert report.missing == {}
    assert {name: len(drawn) for name, drawn in report.figures.items()} == {"corners": 1, "layers": 1}
    cells = report.tables[0].cells
    assert len(cells) == 2 * 2 * 6, "every corner and rival, the second network among them"
    assert np.isfinite(cells["ours"]).all()
    most = {"second-network-helps": 4, "early-is-generic": 4, "more-images-favour-tuning": 2}
    for verdict in report.verdicts:
        assert verdict.pairs or verdict.reason, "what is not compared, as for a rival that has not learned, says why"
        assert verdict.pairs <= most.get(verdict.claim.name, 1)
    assert any(verdict.pairs for verdict in report.verdicts)
    said = json.loads((tmp_path / "out" / "report" / "claims.json").read_text())
    assert {row["verdict"] for row in said} == {"not decided"}, "one seed decides nothing"
