"""Advice: every question has an answer, every rule a case in which it decides, and a study comes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from baselines.advice import RULES, Findings, Place, advise, look
from baselines.advice.rules import QUESTIONS
from baselines.advice.toml import as_study
from baselines.transferability import SCORES
from wdiv.errors import BadData
from wdiv.numerics.comparison import images_needed
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES


def found(folds: dict[str, float | None], **facts: object) -> Findings:
    places = tuple(
        Place(name, 8, score, 0.2, {}, None if score is None else (score, score)) for name, score in folds.items()
    )
    return replace(FOUND, places=places, **facts)  # type: ignore[arg-type]


FOUND = Findings(
    dataset="photos", model="resnet18", source="IMAGENET1K_V1", image_size=224, classes=4, images=80, scarcest=20,
    richest=20, looked_at=80, held_out=80, test_images=24, test_groups=0, majority=0.25, statistics=True, places=(),
    by_class=(), scores={}, fallback="", seconds=1.0,
)  # fmt: skip
EASY = {"stage1": 0.7, "stage4": 1.0, "bottleneck": 1.0}
HARD = {"stage1": 0.4, "stage4": 0.8, "bottleneck": 0.7}
CASES = {
    "told-apart": found(EASY),
    "single-images": found({"stage1": None, "bottleneck": None}, scarcest=1, images=7),
    "fine-tune": found(HARD),
    "all-stages": found(HARD),
    "frozen-statistics": found(HARD),
    "papers-rates": found(HARD),
}
"""A rule -> what is found where it decides."""


def test_every_rule_has_a_case_and_decides_in_it() -> None:
    assert set(CASES) == set(RULES)
    for name, case in CASES.items():
        decided = {answer.rule: answer for answer in advise(case).answers}
        assert name in decided
        assert "{" not in decided[name].why
        assert decided[name].source


def test_the_last_rule_of_every_question_always_holds() -> None:
    assert {rule.question for rule in RULES.values()} == set(QUESTIONS)
    for question in QUESTIONS:
        *_, last = (rule for rule in RULES.values() if rule.question == question)
        assert all(last.when(case) for case in CASES.values())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_advised_can_be_run(case: Findings) -> None:
    advice = advise(case)
    assert advice.bn_mode in BN_MODES
    if advice.trains:
        parse(advice.strategy)
    else:
        assert advice.strategy.partition("@")[2] in ("", *(place.name for place in case.places))
    assert as_study(advice, {"data": "photos"}, "compare-strategies").count("strategies = ") == advice.trains


def test_the_svm_is_put_where_it_is_best_and_of_equals_deepest() -> None:
    assert advise(found(EASY)).strategy == "svm@bottleneck"
    assert advise(found({"stage4": 0.9, "stages": 1.0})).strategy == "svm"
    assert advise(found({"stage1": 1.0, "stage4": 0.9, "bottleneck": 0.9})).strategy == "svm@stage1"


def test_looking_measures_every_place_and_every_score(source: Source, digits: Split) -> None:
    seen = look(source, digits, per_class=4, seed=1, folds=3, device="cpu")
    assert (seen.images, seen.scarcest, seen.richest, seen.classes, seen.looked_at) == (20, 4, 4, 5, 20)
    assert [p.name for p in seen.places] == ["stem", "stage1", "stage2", "stage3", "stage4", "bottleneck", "stages"]
    assert set(seen.places[0].scores) == {s.name for s in SCORES.values() if s.takes == "features"}
    assert set(seen.scores) == {s.name for s in SCORES.values() if s.takes == "probabilities"}
    assert seen.best.folds == max(p.folds for p in seen.places if p.folds is not None)
    assert seen.drift is not None


def test_of_many_images_some_of_each_class_are_looked_at(source: Source, digits: Split, monkeypatch) -> None:
    monkeypatch.setattr("baselines.advice.findings.MOST", 40)
    seen = look(source, digits, device="cpu", folds=2)
    assert seen.images == len(digits.pool)
    assert 35 <= seen.looked_at <= 45


def test_few_images_are_said_to_say_little() -> None:
    few = found({"stage1": 0.5, "stages": 0.75}, scarcest=2, richest=2, held_out=8)
    assert few.caution.startswith("2 training images a class: cross-validation says little: 75.0 % (")
    assert few.caution.endswith(") is of 8 images")
    unequal = found({"stage1": None}, scarcest=1, richest=20).caution
    assert unequal.startswith("1 training image of the scarcest class: nothing could be held out")
    assert found(HARD).caution == ""


def test_what_the_test_images_will_tell_is_plain_data() -> None:
    told = found({"stage4": 0.9}, test_images=24).to_json()["testing"]
    wanted = stats.binomtest(216, 240).proportion_ci(method="wilson")
    assert told["low"] < wanted.low < 0.9 < wanted.high < told["high"], "of fewer images it is wider"
    assert told["images_needed"] == images_needed(0.9, 0.05) > 24
    assert told["smallest_difference"] > 0.05
    assert found({"stage4": 0.9}, test_images=2).testing["smallest_difference"] is None
    assert found({"stage4": None}).testing["images_needed"] is None


def test_one_class_is_an_error(source: Source, digits: Split) -> None:
    def alone(images: ImageSet) -> ImageSet:
        rows = (images.labels == 0).nonzero()[0]
        return ImageSet(images.pixels[rows], images.labels[rows], ("5",), tuple(images.names[i] for i in rows))

    with pytest.raises(BadData, match="one class, '5'; at least two are needed"):
        look(source, Split("fives", alone(digits.pool), alone(digits.test)))
