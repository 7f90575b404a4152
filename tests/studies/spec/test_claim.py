"""A claim as data: what is allowed, what is not, and the way through a file and back."""

from __future__ import annotations

import tomllib
from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from studies.spec.claim import Claim
from studies.spec.columns import COLUMNS, SELECTABLE
from tests.studies.observed import PLAIN, claim
from wdiv.errors import BadInput

TOML = """
name = "less-data-more-change"
text = "The fewer the images, the farther BN moves."
where = "figure 5"
direction = "more"
scale = "ratio"
question = "4"
left = { per_class = 20 }
right = { per_class = ["40", "all"] }
of = { measure = "gaussian_kl", against = "start", layers = ["bn:gamma", "bn:beta"], part = "all" }
"""


def test_a_claim_is_read_from_toml_and_written_as_json() -> None:
    read = Claim.from_mapping(tomllib.loads(TOML))
    assert read.left == {"per_class": "20"}
    assert read.right == {"per_class": ("40", "all")}
    assert read.side("left") == {
        "measure": ("gaussian_kl",), "against": ("start",), "layers": ("bn:gamma", "bn:beta"), "part": ("all",),
        "per_class": ("20",),
    }  # fmt: skip
    assert Claim.from_mapping(read.to_json()) == read
    assert read.to_json() == {**tomllib.loads(TOML), "left": {"per_class": "20"}}


def test_every_field_survives_the_way_there_and_back() -> None:
    given = {
        "of": {"model": "net"},
        "margin": 0.01,
        "scale": "difference",
        "over": "scratch",
        "question": "2",
        "than": "each",
        "cells": "most",
    }
    whole = claim("same", **given)
    assert set(whole.to_json()) == {field.name for field in fields(Claim)}
    assert Claim.from_mapping(whole.to_json()) == whole


def test_a_claim_is_frozen_and_does_not_follow_what_it_was_made_from() -> None:
    left = {"strategy": "bn+fc"}
    made = claim(left=left)
    left["strategy"] = "fc"
    assert made.left == {"strategy": "bn+fc"}
    assert {made: 1}[claim()] == 1
    with pytest.raises(FrozenInstanceError):
        made.direction = "less"  # type: ignore[misc]


TWO = {
    "per_class": ("20", "all"), "strategy": ("fc", "svm"), "bn_mode": ("batch", "frozen"),
    "measure": ("accuracy", "gaussian_kl"), "layers": ("bn:gamma", "bn:beta"),
}  # fmt: skip
"""Of columns whose values are checked."""


def test_every_column_of_an_observation_but_the_numbers_may_be_selected() -> None:
    assert set(COLUMNS) - set(SELECTABLE) == {"n_train", "seed", "run", "value"}
    assert set(PLAIN) == set(COLUMNS) - {"run", "value"}
    for column in SELECTABLE:
        one, other = TWO.get(column, ("x", "y"))
        own = {"dataset"} if column == "condition" else set()  # a condition may bring its own images
        assert claim(left={column: one}, right={column: other}).compared == {column} | own


def test_what_both_name_with_other_values_keeps_them_apart() -> None:
    claim(left={"strategy": "bn+fc", "bn_mode": "frozen"}, right={"strategy": "fc"})
    claim(left={"measure": "train_accuracy"}, right={"measure": "accuracy"})
    claim(left={"measure": "train_accuracy"}, right={})  # which is accuracy, if nothing is said


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": "BN helps"}, "lower-case words joined by hyphens"),
        ({"name": 3}, "name is text, not 3"),
        ({"text": " "}, "the text is empty"),
        ({"left": {"stratgy": "bn+fc"}}, "unknown column 'stratgy' in left; did you mean 'strategy'"),
        ({"of": {"seed": "0"}}, "unknown column 'seed' in of"),
        ({"left": "fc"}, "left is a table of columns and values, not 'fc'"),
        ({"left": {"strategy": []}}, "left.strategy is a value or a list of at least one"),
        ({"left": {"per_class": True}}, "left.per_class is a value or a list"),
        ({"left": {"per_class": 0.5}}, "left.per_class is a value or a list"),
        ({"direction": "better"}, "direction is one of more, less, same, not 'better'"),
        ({"direction": ["more"]}, "direction is one of"),
        ({"scale": "log"}, "scale is one of difference, ratio, not 'log'"),
        ({"direction": "same"}, "'same' needs a margin"),
        ({"margin": 0.1}, "only 'same' has a margin"),
        ({"direction": "same", "margin": 0}, "margin is a number above 0 for a difference, not 0"),
        ({"direction": "same", "margin": True}, "margin is a number above 0"),
        ({"direction": "same", "margin": float("nan")}, "margin is a number above 0"),
        ({"direction": "same", "margin": "1"}, "margin is a number above 0"),
        ({"direction": "same", "margin": 0.9, "scale": "ratio"}, "margin is a number above 1 for a ratio, not 0.9"),
        ({"right": {"strategy": "bn+fc"}}, "left and right overlap"),
        ({"right": {"strategy": ["bn+fc", "fc"]}}, "left and right overlap"),
        ({"right": {"bn_mode": "auto"}}, "left and right overlap"),
        ({"left": {}, "right": {}}, "left and right overlap"),
        ({"of": {"strategy": "conv+fc"}}, "'strategy' stands in 'of', which is for both sides, and in 'left'"),
        ({"over": None}, "over is text, not None"),
        ({"over": "fcc"}, "over: unknown strategy 'fcc'"),
        ({"left": {"strategy": "bm+fc"}}, "left.strategy: unknown strategy 'bm+fc': 'bm' is no kind of layer"),
        ({"left": {"strategy": "svn"}}, "left.strategy: unknown strategy 'svn'"),
        ({"left": {"bn_mode": "frosen"}}, "left.bn_mode: unknown BN mode 'frosen'; did you mean 'frozen'?"),
        ({"of": {"measure": "acuracy"}}, "of.measure: unknown 'acuracy'; did you mean 'accuracy'"),
        ({"of": {"measure": "linear_cka"}}, "of.measure: metric 'linear_cka' compares features on images, not weights"),
        ({"of": {"layers": "bn:gama"}}, "of.layers: unknown 'bn:gama'; did you mean 'bn:gamma'"),
        (
            {"of": {"per_class": "few"}},
            "of.per_class: whole numbers from 1, 'smallest', 'middle', 'largest', '<1000' images, or 'all', not 'few'",
        ),
    ],
)
def test_what_could_not_be_judged_is_refused_when_it_is_made(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as error:
        claim(**{"direction": "more", **wrong})
    assert said in str(error.value)
    assert str(error.value).startswith(f"claim {wrong.get('name', 'made')!r}: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sclae": "ratio"}, "unknown key 'sclae' in claim 'made'; did you mean 'scale'?"),
        ({"text": None, "direction": None}, "claim 'made' needs direction, text"),
        ({"name": None, "left": None}, "a claim needs left, name"),
    ],
)
def test_unknown_and_missing_keys_are_errors(change: dict[str, Any], said: str) -> None:
    data = {key: value for key, value in {**claim().to_json(), **change}.items() if value is not None}
    with pytest.raises(BadInput) as error:
        Claim.from_mapping(data)
    assert str(error.value) == said


def test_the_place_may_be_left_out_of_a_file() -> None:
    data = claim().to_json()
    del data["where"]
    assert Claim.from_mapping(data).where == ""


def test_strategies_are_spelled_as_runs_spell_them() -> None:
    spelled = claim(left={"strategy": ["by-kind", "fc+bn", "bn+fc"]}, right={"strategy": "ncm@stage3"}, over="fc+conv")
    assert spelled.left == {"strategy": ("conv=1e-4,bn=1e-2,fc=1e-3", "bn+fc")}
    assert (spelled.right, spelled.over) == ({"strategy": "ncm@stage3"}, "conv+fc")


def test_words_of_several_lines_are_one_line() -> None:
    assert (
        claim(
            text="""BN helps,
        a lot.""",
            question="which\none?",
        ).to_json()["text"]
        == "BN helps, a lot."
    )


def test_over_nothing_is_over_no_strategy() -> None:
    assert claim(over=[]) == claim()
    assert claim(over=[]).over_sides == ("", "")


def test_what_a_claim_measures_is_what_its_sides_name() -> None:
    assert claim().measures == ("accuracy",)
    both = claim(left={"measure": "gaussian_kl"}, right={"measure": ["relative_l2", "gaussian_kl_peng2020"]})
    assert both.measures == ("gaussian_kl", "relative_l2", "gaussian_kl_peng2020")
