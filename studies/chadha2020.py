"""Chadha and Jain (2020), Fine-tuning Models: each guideline of the note as a claim that a grid can test.

The note gives advice and no experiment, so that the networks, epochs, batches, sizes and seeds are ours. All sizes take
as many steps. What it says and what is run:

- guideline 1, a new softmax layer: every run has one. ``fc`` trains it alone on the source's features, and
  ``fc+random`` on random ones; ``conv+bn+fc`` then trains the rest too. "Make sure cross validation is performed":
  condition ``validated`` holds a fifth of the training images out, and stops and chooses the epoch by them; and in
  ``cross-validated`` that is done in each of 5 folds, so that every image is tested once, by a network that has seen
  neither it nor what was made by it: how well what generalises does, by all images there are. The claim is of the
  former, on the images that ``plain`` is tested on too; to be tested in folds makes no network another
- guideline 2, a tenth of the rate: ``scratch`` trains at 1e-3, ``conv+bn+fc`` at 1e-4, and also at 1e-3
- guideline 3, the first layers frozen: "the first few", it says; here the stem, and one stage more at a time
- really small data, "less than a thousand samples": an SVM on bottleneck features, against fine-tuning, from 5 images
  of each class to all; and apart, those sizes that are below a thousand images of all classes, and those that are not
- "common data augmentation strategies (translation, rotation, flipping)": condition ``augmented``

Not tested: that training from scratch is better where no source is near, which :mod:`studies.neychev2017` asks, and
that networks with large linear layers overfit more.
"""

from typing import Any

from studies.spec.claim import Claim
from studies.spec.figure import Figure
from studies.spec.study import Condition, Pretrain, Study
from studies.spec.table import Table

__all__ = ["FROZEN", "TENTH"]

TENTH = "conv+bn+fc"
"""Everything, at a tenth of scratch's rate."""
FULL, RANDOM = "conv=1e-3,bn=1e-3,fc=1e-3", "fc+random"
"""Everything at scratch's rate; the new layer on random features."""
FROZEN = {
    "nothing": TENTH,
    "the stem": "conv@stage1-4+bn@stage1-4+fc",
    "the stem and stage 1": "conv@stage2-4+bn@stage2-4+fc",
    "the stem and stages 1 and 2": "conv@stage3-4+bn@stage3-4+fc",
    "the stem and stages 1 to 3": "conv@stage4+bn@stage4+fc",
    "all but the classifier": "fc",
}
"""What is frozen -> strategy. The classifier alone has its own rate, 1e-3."""
LABELS = {strategy: frozen for frozen, strategy in FROZEN.items()}
SVM = "svm@bottleneck"
PLAIN = {"condition": "plain"}


def _claim(name: str, text: str, where: str, left: str, right: str, direction: str = "more", **more: Any) -> Claim:
    """Of two strategies."""
    return Claim(name, text, where, {"strategy": left}, {"strategy": right}, direction, **more)


def _conditions(*augment: str) -> tuple[Condition, ...]:
    """What is beside the plain grid is about fine-tuning alone."""
    only: dict[str, Any] = {"strategies": (TENTH,), "baselines": ()}
    return (
        Condition("plain", {}),
        Condition("augmented", {"augment": augment, **only}),
        Condition("validated", {"validation": 0.2, "patience": 5, **only}),
        Condition("cross-validated", {"folds": 5, "validation": 0.2, "patience": 5, **only}),
    )


WHY, WHEN = "Why do we fine-tune models?", "When to fine-tune models?"
LAYER, RATE, FIRST = "Guideline 1", "Guideline 2", "Guideline 3"

CLAIMS = (
    _claim("fine-tuning-beats-scratch", "Fine-tuning beats training from scratch.", WHY, TENTH, "scratch"),
    _claim("scratch-overfits-small-data", "On a small data set training from scratch generalises worse.", WHY,
           "scratch", TENTH, "less", of={"per_class": "smallest"}),
    _claim("new-layer", "A new softmax layer on the pre-trained features beats one on random features.", LAYER,
           "fc", RANDOM),
    _claim("back-propagation", "Fine-tuning the pre-trained weights beats the new layer alone.", LAYER, TENTH, "fc"),
    Claim("cross-validation", "With validation the network generalises better.", LAYER,
          {"condition": "validated"}, PLAIN, "more", of={"strategy": TENTH}),
    _claim("tenth-of-the-rate", "A tenth of scratch's rate beats scratch's rate.", RATE, TENTH, FULL),
    _claim("tenth-distorts-less", "At a tenth of the rate the weights are distorted less.", RATE, TENTH, FULL,
           "less", scale="ratio",
           of={"measure": "output_change", "against": "start", "layers": "conv:weight", "part": "all"}),
    *(
        _claim(f"frozen-{number}", f"Frozen first layers ({frozen}) beat none.", FIRST, strategy, TENTH)
        for number, (frozen, strategy) in enumerate(list(FROZEN.items())[1:-1], start=1)
    ),
    Claim("first-layers-stay", "Where everything trains, the first layers move less: they are universal.", FIRST,
          {"part": "shallow"}, {"part": "deep"}, "less", scale="ratio",
          of={"strategy": TENTH, "measure": "output_change", "against": "start", "layers": "conv:weight"}),
    _claim("svm-on-small-data", "On really small data an SVM on bottleneck features beats fine-tuning.",
           WHEN, SVM, TENTH, of={"per_class": "smallest"}),
    _claim("svm-under-a-thousand", "With less than a thousand samples it does.", WHEN, SVM, TENTH,
           of={"per_class": "<1000"}),
    _claim("fine-tuning-from-a-thousand", "With a thousand samples or more fine-tuning beats it.", WHEN, TENTH, SVM,
           of={"per_class": ">=1000"}),
    _claim("fine-tuning-on-more-data", "With more samples fine-tuning beats the SVM.", WHEN, TENTH, SVM,
           of={"per_class": "largest"}),
    Claim("augmented-on-more-data", "With more samples and augmentation it does, too.", WHEN,
          {"strategy": TENTH, "condition": "augmented"}, {"strategy": SVM, **PLAIN}, "more",
          of={"per_class": "largest"}),
    Claim("augmentation", "Augmentation makes fine-tuning better.", WHEN, {"condition": "augmented"}, PLAIN,
          "more", of={"strategy": TENTH}),
)  # fmt: skip
TABLES = (
    Table("sizes", "Test accuracy by images of each class", rows=("strategy",), columns=("per_class",), where=PLAIN),
    Table("frozen", "What is frozen", rows=("strategy",), columns=("per_class",),
          where=PLAIN | {"strategy": tuple(FROZEN.values())},
          labels=LABELS),
    Table("conditions", "Fine-tuning with augmentation, with validation, and in folds", rows=("condition",),
          columns=("per_class",), where={"strategy": TENTH}),
)  # fmt: skip
FIGURES = (
    Figure("sizes", "Accuracy over the number of training images", "accuracy",
           PLAIN | {"strategy": ("scratch", RANDOM, "fc", FULL, TENTH, "svm", SVM)}),
    Figure("frozen", "First layers frozen, all images", "lines",
           PLAIN | {"strategy": tuple(FROZEN.values()), "per_class": "all"},
           labels=LABELS),
    Figure("conditions", "Fine-tuning with augmentation, and with validation", "accuracy",
           {"condition": ("plain", "augmented", "validated"), "strategy": TENTH}),
)  # fmt: skip

STUDY = Study(
    "chadha2020",
    title="the usual guidelines of fine-tuning, each put to the test",
    source="A. Chadha and V. Jain (2020)",
    models=("resnet50",),
    weights="IMAGENET1K_V1",
    data=None,  # the note has none
    per_class=(5, 10, 20, 50, 100, None),
    strategies=("scratch", RANDOM, FULL, *FROZEN.values()),
    baselines=("svm", SVM),
    conditions=_conditions("flip", "rotate=15", "shift=0.1"),
    seeds=(0, 1, 2),
    optimizer="adam",
    epochs=30,
    steps=960,  # 30 passes over the note's thousand images
    batch_size=32,
    metrics=("relative_l2", "cosine_distance"),
    reference=0,
    claims=CLAIMS,
    tables=TABLES,
    figures=FIGURES,
    mini={
        "models": ("resnet18",), "data": "digits-5-9", "image_size": 32, "test_count": 20,
        "pretrain": Pretrain("digits-0-4", epochs=3), "per_class": (5, None), "seeds": (0, 1, 2), "epochs": 2,
        "steps": 12, "batch_size": 16,
        "conditions": _conditions("rotate=15", "shift=0.1"),  # a mirrored digit is none
    },
)  # fmt: skip
