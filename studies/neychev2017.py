"""Neychev (2017), Fine-tuning methods review for neural networks: what wins when data are few or many, near or far.

Its list of four scenarios, size by similarity, is the table and the figure ``corners``; the paragraph below the list
names the second network beside the first, and the sentence above it that early layers are generic. It is a review
without an experiment: networks, images, sizes and recipe are ours. Few is 5 images a class and many 100, of five
classes; both take as many steps, so that images are all that differs. A linear classifier is a linear SVM on frozen
features: late ones are the bottleneck, earlier ones a stage.

Near images are the user's (``--data``), as no photographs like ImageNet's can be brought along; at mini scale they are
the digits 5 to 9, for a network that knows 0 to 4. Far ones are simulated ferrographs. For others, ``wdiv init`` writes
the study as TOML, and the condition ``far`` takes a folder of them.
"""

from studies.spec.claim import Claim
from studies.spec.figure import Figure
from studies.spec.study import Condition, Pretrain, Study
from studies.spec.table import Table

LATE, EARLIER = "svm@bottleneck", ("svm@stage2", "svm@stage3")
FULL, HEAD, SCRATCH, SECOND = "conv+bn+fc", "fc", "scratch", "fc+beside"
RIVALS = {
    LATE: "SVM, late", "svm@stage3": "SVM, stage 3", "svm@stage2": "SVM, stage 2", "svm@stage1": "SVM, stage 1",
    HEAD: "classifier", SECOND: "second network", FULL: "everything", SCRATCH: "from scratch",
}  # fmt: skip
FEW, MANY = 5, 100
CORNERS = {"1": ("near", FEW), "2": ("near", MANY), "3": ("far", FEW), "4": ("far", MANY)}


def _wins(
    name: str, text: str, corner: str, left: str | tuple[str, ...], right: str | tuple[str, ...], than: str = "mean"
) -> Claim:
    condition, size = CORNERS[corner]
    word = "smallest" if size == FEW else "largest"
    return Claim(
        name, text, f"scenario {corner}", {"strategy": left}, {"strategy": right}, "more",
        of={"condition": condition, "per_class": word}, question=corner, than=than,
    )  # fmt: skip


CLAIMS = (
    _wins("few-near-classify", "Few and similar: a linear classifier, not fine-tuning.", "1", LATE, FULL),
    _wins("few-near-late", "Few and similar: the higher-level features are relevant.", "1", LATE, EARLIER, "each"),
    _wins("many-near-tune", "Many and similar: fine-tune through the full network.", "2", FULL, LATE),
    _wins("few-far-classify", "Few and different: only train a linear classifier.", "3", EARLIER, FULL, "best"),
    _wins("few-far-earlier", "Few and different: from activations somewhere earlier.", "3", EARLIER, LATE, "best"),
    _wins("many-far-pretrained", "Many and different: still initialize with pretrained weights.", "4", FULL, SCRATCH),
    _wins("many-far-tune", "Many and different: fine-tune through the entire network.", "4", FULL, LATE),
    Claim("more-images-favour-tuning", "The more images, the more the full network gains on a linear classifier.",
          "scenarios 1 to 4", {"per_class": "largest"}, {"per_class": "smallest"}, "more", of={"strategy": FULL},
          over=LATE, question="size"),
    Claim("second-network-helps", "A second network beside the first raises quality.", "after the scenarios",
          {"strategy": SECOND}, {"strategy": HEAD}, "more", question="second network"),
    Claim("early-is-generic", "Early layers are more generic: they gain on late ones where images are different.",
          "before the scenarios", {"condition": "far"}, {"condition": "near"}, "more", of={"strategy": EARLIER},
          over=LATE, question="layers"),
)  # fmt: skip

STUDY = Study(
    "neychev2017",
    title="which way of fine-tuning wins when images are few or many, near to the source's or far from them",
    source="R. Neychev (2017)",
    models=("resnet50",),
    data=None,  # near to ImageNet: the user's
    classes=5,  # in both, so that no corner is easier for having fewer
    per_class=(FEW, MANY),
    strategies=(SCRATCH, HEAD, FULL, SECOND),
    seeds=(0, 1, 2, 3, 4),
    baselines=tuple(name for name in RIVALS if name.startswith("svm")),
    conditions=(
        Condition("near", {}),
        Condition("far", {"data": "ferrographs"}),
    ),
    epochs=20,
    steps=320,  # 20 passes over the 500 images of the larger size
    metrics=("relative_l2",),
    reference=0,
    claims=CLAIMS,
    tables=(
        Table("corners", "test accuracy where images are few or many, near or far", rows=("condition", "per_class"),
              where={"condition": ("near", "far"), "strategy": tuple(RIVALS)}, labels=RIVALS),
    ),
    figures=(
        Figure("corners", "who wins where", "corners", {
            "condition": ("near", "far"), "per_class": (str(FEW), str(MANY)), "strategy": tuple(RIVALS)},
            labels=RIVALS),
        Figure("layers", "linear SVM on the features of one layer", "layers", {
            "strategy": ("svm@stage1", "svm@stage2", "svm@stage3", LATE)}),
    ),
    mini={
        "models": ("resnet18",), "pretrain": Pretrain("digits-0-4", epochs=4), "data": "digits-5-9",
        "image_size": 32, "test_count": 50, "seeds": (0, 1, 2), "epochs": 1, "steps": 24,
        "batch_size": 16,
    },
)  # fmt: skip
