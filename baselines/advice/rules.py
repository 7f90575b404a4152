"""The rules of advice, as data: each a question, an answer, when it holds, why, and whence it is.

Of the rules that answer a question the first that holds decides. What they cost, measured against whole grids, is in
``docs/advice.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from baselines.advice.findings import Findings
from baselines.trials import STAGES
from wdiv.registry import Registry

__all__ = ["QUESTIONS", "RULES", "Advice", "Answer", "Rule", "advise"]

QUESTIONS = ("train", "stages", "statistics", "rates")
"""What to train, if anything; which layers, as a strategy; what BatchNorm normalises by; how fast: what is added to the
strategy, nothing where its own rates are right."""
SATURATED = 0.995
"""Accuracy in cross-validation above which a test of some hundred images tells no strategies apart."""


@dataclass(frozen=True)
class Rule:
    """One rule.

    question  of :data:`QUESTIONS`;  answer: to it
    when      whether it holds for what was found
    why       a reason for people; ``{name}`` is filled from the findings
    """

    name: str
    question: str
    answer: str
    when: Callable[[Findings], bool]
    why: str
    source: str


@dataclass(frozen=True)
class Answer:
    """What a rule has decided, and why in these circumstances."""

    question: str
    answer: str
    rule: str
    why: str
    source: str


@dataclass(frozen=True)
class Advice:
    """``strategy`` is a strategy's spelling or a baseline's (``svm@stage3``); ``bn_mode`` goes with the former."""

    strategy: str
    bn_mode: str
    answers: tuple[Answer, ...]

    @property
    def trains(self) -> bool:
        """False where a baseline on frozen features is advised."""
        return not self.strategy.startswith("svm")

    def to_json(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy, "bn_mode": self.bn_mode, "trains": self.trains,
            "answers": [vars(answer) for answer in self.answers],
        }  # fmt: skip


def advise(found: Findings) -> Advice:
    """What to do with these images.

    Every question has an answer: the last rule of each always holds.
    """
    answers = {question: _answer(question, found) for question in QUESTIONS}
    if answers["train"].answer == "svm":
        place = answers["stages"] = _svm_place(found)
        at = "" if place.answer == STAGES else f"@{place.answer}"
        return Advice(f"svm{at}", "frozen", (answers["train"], place))
    strategy = answers["stages"].answer + answers["rates"].answer
    return Advice(strategy, answers["statistics"].answer, tuple(answers.values()))


def _answer(question: str, found: Findings) -> Answer:
    rule = next(rule for rule in RULES.values() if rule.question == question and rule.when(found))
    return Answer(question, rule.answer, rule.name, rule.why.format(**_words(found)), rule.source)


def _svm_place(found: Findings) -> Answer:
    """On which features the SVM is best in cross-validation: measured, so no rule."""
    best = found.best
    why = "best in cross-validation" if best.folds is not None else "too few images for a cross-validation"
    return Answer("stages", best.name, "measured", why, "")


def _words(found: Findings) -> dict[str, Any]:
    return {
        "images": found.images, "scarcest": found.scarcest, "richest": found.richest, "classes": found.classes,
        "best": found.best.name, "best_folds": found.best.in_words or "unknown",
        "drift": "unknown" if found.drift is None else f"{found.drift:.2f}",
    }  # fmt: skip


_OURS = "measured by wdiv, docs/advice.md"
RULES: Registry[Rule] = Registry(
    "rule of advice",
    [
        Rule(
            "told-apart",
            "train",
            "svm",
            lambda found: (found.best.folds or 0.0) >= SATURATED,
            "a linear SVM on {best} is right on {best_folds} in cross-validation; a test could hardly show"
            " anything better",
            _OURS,
        ),
        Rule(
            "single-images",
            "train",
            "svm",
            lambda found: found.scarcest < 2,
            "a class has {scarcest} training image, so that nothing could be held out to see whether training helps",
            "Chadha et al. (2020) and Neychev et al. (2017): a linear SVM on bottleneck features for very small data",
        ),
        Rule(
            "fine-tune",
            "train",
            "fine-tune",
            lambda found: True,
            "{scarcest} images of the scarcest class; a linear SVM is right on {best_folds} in cross-validation, and"
            " where both were measured, fine-tuning with frozen statistics was the better of the two more often than"
            " not",
            _OURS,
        ),
        Rule(
            "all-stages",
            "stages",
            "conv+fc",
            lambda found: True,
            "the convolutions of all stages and the classifier: leaving the early stages frozen made no difference that"
            " two seeds would show",
            _OURS,
        ),
        Rule(
            "frozen-statistics",
            "statistics",
            "frozen",
            lambda found: True,
            "{images} images: batch statistics of few images cost several points",
            "measured by wdiv, README.md",
        ),
        Rule(
            "papers-rates",
            "rates",
            "",
            lambda found: True,
            "0.0001 for what is pretrained and for the classifier, a tenth of the rate from scratch",
            "Peng and Wang (2020), section 3.2; Chadha et al. (2020)",
        ),
    ],
)
