"""Peng and Wang (2020) as a study: the paper's grid, and everything of the paper filled from a toy of it."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pandas as pd
import pytest

from studies.grid import study_runner
from studies.papers import published
from studies.peng2020 import FAST_CONV, FAST_SCRATCH, SLOW_BN
from studies.report.findings import NOT_DECIDED
from studies.report.report import Report
from studies.report.tables import fill
from studies.report.writing import write
from studies.spec.registry import load
from studies.spec.study import override
from tests.conftest import ROOT, once
from tests.tuning.tiny import MOBILENET
from wdiv.tuning.data.datasets import DATASETS
from wdiv.tuning.data.ferrographs import COUNTS
from wdiv.tuning.strategy.spelling import parse


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """All strategies and three sizes on a tiny network, 27 runs of one step and their source's; and its report."""
    study = override(
        load("peng2020", "mini"),
        {
            "models": MOBILENET, "per_class": [1, 2, 3], "data": "digits-5-9", "test_count": 5, "epochs": 1,
            "steps": 1, "bn_modes": "batch",
            "pretrain": {"data": "digits-0-4", "epochs": 1, "per_class": 5},
        },
    )  # fmt: skip
    out = tmp_path_factory.mktemp("peng2020") / "store"
    assert study_runner.run(study, out, device="cpu") == []
    return out, write(out)[0]


def test_the_grid_is_the_papers() -> None:
    study, paper = load("peng2020"), published("peng2020")
    assert set(study.models) == set(paper["model"])
    assert {"all" if size is None else str(size) for size in study.per_class} == set(paper["per_class"])
    ours = {SLOW_BN, FAST_CONV, FAST_SCRATCH}
    assert set(study.strategies) == set(paper["strategy"]) | ours, "and each kind at the other one's rate"
    assert study.bn_modes == ("batch", "frozen"), "the paper does not say; both are run"
    assert DATASETS[str(study.data)].classes == 7
    assert study.optimizer == "adam"
    assert study.steps == study.epochs * math.ceil(sum(COUNTS["train"]) / study.batch_size), "passes over all images"
    assert study.paper == "peng2020"


def test_rates_are_those_of_the_text(shared: Path) -> None:
    (text,) = (file.read_text() for file in (shared / "seeds").glob("peng2020*"))
    said = re.search(r"learning rate ([\d.]+), ([\d.]+) and ([\d.]+) in BN layers, FC layers and CNN layers", text)
    assert said is not None
    rates = {term.kind: term.lr for phase in parse("by-kind").phases for term in phase.terms}
    assert (rates["bn"], rates["fc"], rates["conv"]) == tuple(map(float, said.groups()))


def test_every_question_and_table_is_there() -> None:
    study = load("peng2020")
    assert {claim.question for claim in study.claims} == {"1", "2", "3", "4", "5"}
    assert [table.name for table in study.tables] == sorted(set(published("peng2020")["table"]))
    assert len({claim.text for claim in study.claims}) == len(study.claims)
    numbers = [int(n) for figure in study.figures for n in re.findall(r"\d", figure.name)]
    assert numbers == [1, 2, 3, 4, 5, 6]


def test_the_example_report_is_what_its_command_makes() -> None:
    folder, study = ROOT / "studies" / "reports" / "peng2020-neu", load("peng2020", "mini")
    text = " ".join((folder / "README.md").read_text("utf-8").split())
    assert "wdiv run peng2020 --scale mini --data neu" in text
    assert f"in batches of {study.batch_size}" in text
    assert "--epochs 10 --steps 80" in text, "sizes are compared at equal steps"
    told = [claim["claim"] for claim in json.loads((folder / "claims.json").read_text("utf-8"))]
    assert told == [claim.name for claim in study.claims]
    assert {file.stem for file in (folder / "tables").iterdir()} == {table.name for table in study.tables}
    drawn = {file.stem.partition("-mobilenet")[0] for file in (folder / "figures").iterdir()}
    assert drawn == {figure.name for figure in study.figures} | {f"claims-{one.question}" for one in study.claims}


@once
def test_every_cell_of_the_papers_tables_for_a_network_is_filled(toy: tuple[Path, Report]) -> None:
    found = pd.read_csv(toy[0] / "report" / "observations.csv", dtype={"per_class": str}, keep_default_na=False)
    found["value"] = pd.to_numeric(found["value"])
    paper = published("peng2020")
    found["per_class"] = found["per_class"].map({"1": "20", "2": "40", "3": "all"})
    cells = 0
    for table in load("peng2020").tables:
        filled = fill(table, found, paper).cells
        assert filled["ours"].notna().all()
        cells += len(filled)
    assert cells == len(paper.drop_duplicates(["table", "per_class", "strategy"])), "of one network"


@once
def test_every_claim_finds_its_runs_and_one_seed_decides_none(toy: tuple[Path, Report]) -> None:
    _, found = toy
    assert len(found.verdicts) == len(load("peng2020").claims)
    for verdict in found.verdicts:
        assert verdict.pairs or "not learned" in verdict.reason, verdict.claim.name
        assert (verdict.seeds, verdict.verdict) == (1, NOT_DECIDED)
    assert found.missing == {}
    assert {name: len(files) for name, files in found.figures.items()} == {
        "figures1-2": 1, "figures3-4": 1, "figures5-6": 1,
    }  # fmt: skip
    assert found.unfinished == (0, 36)
