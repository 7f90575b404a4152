"""The grid of Gupta and Gupta, against their text; what they left to others; and a run of all of it in small."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from studies.grid.study_runner import run
from studies.gupta2020 import BLOCKS, MINI_RATE, RATE, both, unfrozen
from studies.gupta2020_networks import NETWORKS, SMALL, Network
from studies.papers import published
from studies.report.figures.augmented import MOST, TIMES, sample
from studies.report.findings import HOLDS
from studies.report.finish import conclude
from studies.report.verdicts import judge
from studies.spec.registry import load
from studies.spec.study import Study
from tests.conftest import once
from tests.studies.observed import row, table
from wdiv.errors import BadInput
from wdiv.layers import LayerTable
from wdiv.tuning.data.augment import AUGMENTATIONS, PRESETS
from wdiv.tuning.networks.heads import HEADS
from wdiv.tuning.networks.models import ModelSpec, head_layers, layer_table
from wdiv.tuning.strategy.spelling import parse

STUDY = load("gupta2020")
SUBSETS = load("gupta2020-subsets")
NET = load("gupta2020-networks")


@pytest.fixture
def text(shared: Path) -> str:
    (file,) = (shared / "seeds").glob("gupta2020*.txt")
    return file.read_text(encoding="utf-8")


def number(pattern: str, text: str) -> float:
    """The one number that the text has at a place, however often."""
    found = set(re.findall(pattern, text))
    assert len(found) == 1, (pattern, found)
    return float(found.pop())


def trained(strategy: str, model: str, size: int = 150) -> tuple[set[str], LayerTable]:
    """The stages that a strategy trains, by the network's own layers."""
    spec = ModelSpec.parse(model)
    table, head = layer_table(spec, 2, size), head_layers(spec)
    parsed = parse(strategy)
    parsed.check(table, head, model)
    return {layer.stage for layer in table if parsed.last.lr(layer, head) is not None}, table


# --- the paper's recipe --------------------------------------------------------------------------------------------


def test_the_recipe_is_the_papers(text: str) -> None:
    assert number(r"batch size of (\d+) examples", text) == STUDY.batch_size
    assert number(r"examples, (\d+) steps per epoch", text) == STUDY.steps_per_epoch
    assert number(r"steps per epoch for\s+(\d+) epochs", _joined(text)) == STUDY.epochs
    assert number(r"learning rate hyperparameter of (\S+) is", text) == float(RATE)
    assert number(r"resized to (\d+)x150", text) == STUDY.image_size
    assert "RMSprop optimizer" in text
    assert STUDY.optimizer == "rmsprop"
    assert "Binary cross-entropy is used" in text
    assert STUDY.loss == "sigmoid"
    assert STUDY.models == ("vgg16",)
    assert (STUDY.weights, STUDY.pretrain, STUDY.data) == ("IMAGENET1K_V1", None, None)
    rates = {term.lr for name in STUDY.strategies for term in parse(name).last.terms}
    assert rates == {float(RATE)}, "one rate for all that trains"


def _joined(text: str) -> str:
    """Without what stands between the halves of the sentence, where table 3 does."""
    return re.sub(r"(steps per epoch for)\s.*?(100 epochs and the Keras)", r"\1 \2", text, flags=re.DOTALL)


def test_the_head_is_the_papers(text: str) -> None:
    head = HEADS[STUDY.head or ""]
    assert {number(r"parameters used here were (\d+) units", text)} == set(head.hidden)
    assert len(head.hidden) == 2, "another Dense layer followed by a Dropout layer, with the same parameters"
    assert number(r"with a (0\.\d) dropout rate", text) == head.dropout


def test_the_augmentation_is_table_2(text: str) -> None:
    rows = {"zoom": "Zoom Range", "rotate": "Rotation Range", "shift": "Width Shift Range", "shear": "Shear Range"}
    strengths = {name: number(rf"{row}\t(\S+)", text) for name, row in rows.items()}
    assert number(r"Height Shift Range\t(\S+)", text) == strengths["shift"]
    assert STUDY.augment == Study("", augment=PRESETS["gupta2020"].entries).augment
    ours = dict(entry.split("=") if "=" in entry else (entry, "") for entry in STUDY.augment)
    assert {name: float(ours[name] or AUGMENTATIONS[name].default) for name in rows} == strengths
    assert set(ours) == {*rows, "flip"}


# --- what is unfrozen ----------------------------------------------------------------------------------------------


def test_both_readings_of_every_block_are_run() -> None:
    blocks = list(published("gupta2020")["block"].unique())
    for reading, of in both(BLOCKS).items():
        assert list(of) == blocks == ["5", "4", "3", "2", "1", "0"]
        for block, strategy in of.items():
            k = int(block)
            own = {"only": {f"stage{k}"}, "upwards": {f"stage{i}" for i in range(k, 6)}}[reading] if k else set()
            assert trained(strategy, "vgg16:head=mlp512")[0] == own | {"head"}
    assert set(STUDY.strategies) == {name for of in both(BLOCKS).values() for name in of.values()}
    assert len(STUDY.strategies) == 10, "block 5 and none are the same in both"


@pytest.mark.parametrize("scale", ["paper", "mini"])
def test_claims_tables_and_figures_speak_of_strategies_that_are_run(scale: str) -> None:
    study = load("gupta2020", scale)
    run_ = set(study.strategies)
    spoken = [name for claim in study.claims for side in ("left", "right") for name in claim.side(side)["strategy"]]
    shown = [table.where["strategy"] for table in study.tables]
    drawn = [figure.where["strategy"] for figure in study.figures if figure.kind != "augmented"]
    assert run_ == set(spoken) == {*chain(*shown)} == {*chain(*drawn)}
    assert {parse(name).last.terms[0].lr for name in run_} == {float(RATE if scale == "paper" else MINI_RATE)}
    for one in study.tables:
        assert one.of == "table1"
        assert tuple(one.reading["block"].values()) == one.where["strategy"]


def test_the_papers_own_numbers_bear_its_claims_out() -> None:
    """In either reading, whose claims are the same: a claim that its own table contradicts would be ours."""
    paper, rng = published("gupta2020"), np.random.default_rng(0)
    for reading, of in both(BLOCKS).items():
        claims = [claim for claim in STUDY.claims if claim.name.startswith(reading)]
        assert len(claims) == len(STUDY.claims) // 2
        rows = [
            row(value / 100 + 1e-4 * rng.normal(), strategy=of[block], measure=measure, seed=seed)
            for block, measure, value in paper[["block", "measure", "value"]].itertuples(index=False)
            for seed in range(6)
        ]
        for verdict in judge(claims, table(rows)):
            assert verdict.verdict == HOLDS, verdict


def test_all_32_subsets_of_the_blocks() -> None:
    subsets = [frozenset(trained(name, "vgg16:head=mlp512")[0] - {"head"}) for name in SUBSETS.strategies]
    assert len(SUBSETS.strategies) == len(set(subsets)) == 2 ** len(BLOCKS) == 32
    assert set().union(*subsets) == set(BLOCKS)
    assert set(STUDY.strategies) <= set(SUBSETS.strategies)
    assert len(load("gupta2020-subsets", "mini").strategies) == 32
    assert replace(
        SUBSETS, name="", title="", strategies=("fc",), claims=(), tables=(), figures=(), mini={}
    ) == replace(STUDY, name="", title="", strategies=("fc",), claims=(), tables=(), figures=(), mini={}), "else alike"


@pytest.mark.parametrize("network", [*NETWORKS, *SMALL], ids=lambda network: network.name)
def test_every_block_of_the_other_networks_is_unfrozen_and_nothing_else(network: Network) -> None:
    model = ModelSpec.parse(network.model).but(head="mlp512").label
    for of in network.readings(RATE).values():
        assert [trained(name, model)[0] for name in of.values()][-1] == {"head"}
    every, table = trained(network.readings(RATE)["upwards"]["1"], model)
    assert every == set(table.stages), "from the first block up, everything trains"
    assert set(network.blocks) == set(table.stages) - {"head"}


def test_the_other_networks_are_conditions() -> None:
    small = load("gupta2020-networks", "mini")
    for study, networks in ((NET, NETWORKS), (small, SMALL)):
        assert [condition.name for condition in study.conditions] == [network.name for network in networks]
        for claim in study.claims:
            (condition,) = claim.side("left")["condition"]
            strategies = next(one.values["strategies"] for one in study.conditions if one.name == condition)
            assert {*claim.side("left")["strategy"], *claim.side("right")["strategy"]} <= set(strategies)


def test_a_strategy_of_stages_that_are_no_neighbours() -> None:
    assert unfrozen(["stage1", "stage3"], "1e-4") == "conv@stage1+conv@stage3+fc"


# --- in small ------------------------------------------------------------------------------------------------------


@once
def test_the_study_runs_and_concludes(tmp_path: Path) -> None:
    """One step with the last block, and without, from random weights."""
    mini = load("gupta2020", "mini")
    shown = [unfrozen(blocks, MINI_RATE) for blocks in (["stage5"], [])]
    small = replace(
        mini, pretrain=None, weights="random", strategies=tuple(shown), epochs=1, steps_per_epoch=1, batch_size=2,
        seeds=(0,), per_class=(2,), test_count=2, metrics=("relative_l2",),
    )  # fmt: skip
    assert run(small, tmp_path, device="cpu") == []
    table, files = conclude(small, tmp_path)
    assert set(table["strategy"]) == set(shown)
    report = next(file for file in files if file.name == "report.md").read_text(encoding="utf-8")
    for claim in small.claims:
        assert claim.text in report
    for name in ("figure1-only", "figure2-only", "figure4"):
        with Image.open(tmp_path / "report" / "figures" / f"{name}.png") as image:
            assert min(image.size) > 100
    observed = pd.read_csv(tmp_path / "report" / "observations.csv")
    assert {"accuracy", "train_accuracy"} <= set(observed["measure"])


def test_a_sample_of_the_augmentation_shows_one_image_of_a_class_in_many_ways() -> None:
    digits = replace(load("gupta2020", "mini"), classes=None)
    figure = sample(digits, "digits")
    grid = np.array([ax.images[0].get_array() for ax in figure.axes]).reshape(MOST, 1 + TIMES, 32, 32, 3)
    assert all(len(np.unique(row.reshape(len(row), -1), axis=0)) == 1 + TIMES for row in grid), "no two alike"
    assert [ax.get_ylabel() for ax in figure.axes[:: 1 + TIMES]] == ["5", "6", "7", "8"]
    again = sample(digits, "digits")
    assert all(
        np.array_equal(a.images[0].get_array(), b.images[0].get_array())
        for a, b in zip(figure.axes, again.axes, strict=True)
    )


def test_a_study_that_augments_nothing_has_no_sample() -> None:
    with pytest.raises(BadInput, match="study 'quickstart' augments nothing"):
        sample(load("quickstart"), "")
