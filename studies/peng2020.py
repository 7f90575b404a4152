"""Peng and Wang (2020), How to fine-tune deep neural networks in few-shot learning?

Tables 1 to 8, figures 1 to 6, and what the text concludes from them. The paper leaves out epochs, batch size,
augmentation, image size and what BatchNorm's statistics do: 30 epochs of batches of 32 without augmentation at the size
of the weights are our choice, and the statistics are run both ways. Runs of all sizes take as many steps, 30 passes
over all images, or more images would be more training too; with ``--passes`` each takes 30 passes over its own. The
paper's images are not public; ``ferrographs`` has their classes and sizes, simulated, and ``--data`` takes any folder
instead.

How far layers move is compared by output_change, as eq. (1) gives larger tensors smaller values for the same change; it
stays where the same tensors are compared, and in the figures. The paper's BN and CNN layers train at rates 100 times
apart: each kind is run at the other one's rate, too.
"""

from typing import Any

from studies.spec.claim import Claim, Selectors
from studies.spec.figure import Figure
from studies.spec.study import Study
from studies.spec.table import Table

FC, BN, CONV, BOTH, KINDS = "fc", "bn+fc", "conv+fc", "conv+bn+fc", "by-kind"
SLOW_BN, FAST_CONV, FAST_SCRATCH = "bn=1e-4,fc=1e-4", "conv=1e-2,fc=1e-2", "scratch=1e-2"
"""Each kind of layer at the other one's rate, and scratch at a larger one than the paper's."""
SMALL = 0.05
"""Shares of accuracy that are a small improvement: those of the paper's table 7 are 2.6 points on average."""
KIND_BY_KIND = (("conv", "CNN layers", CONV), ("bn", "BN layers", BN), ("both", "CNN and BN layers", BOTH))
ROLES = (("gamma", "weight"), ("beta", "bias"))
DEEPER = ("bn@stage4+fc", "bn@stage3-4+fc", "bn@stage2-4+fc", BN)


def _beats(
    name: str, text: str, where: str, better: str, worse: str, question: str, cells: str = "", **of: str
) -> Claim:
    sides = {"strategy": better}, {"strategy": worse}
    return Claim(name, text, where, *sides, "more", of=of, question=question, cells=cells)


def _moves(name: str, text: str, where: str, left: Selectors, right: Selectors, **more: Any) -> Claim:
    """That layers have moved farther from the start: by output_change, which means the same for each of them. More
    fields of a claim, and selectors of both sides."""
    fields = {key: more.pop(key) for key in ("than", "cells", "direction", "margin") if key in more}
    of = {"measure": "output_change", **({} if "against" in left else {"against": "start"}), **more}
    return Claim(
        name, text, where, left, right, **{"direction": "more", **fields}, of=of, scale="ratio", question="5"
    )  # fmt: skip


EFFECTIVE = (
    _beats("fc-beats-scratch-on-few", "With few images, transferring weights and training the FC layers is effective.",
           "section 3.1", FC, "scratch", "1", per_class="smallest"),
    _beats("scratch-beats-fc-on-more", "With more images, training from scratch is better: negative transfer.",
           "section 3.1", "scratch", FC, "1", per_class="largest"),
    Claim("larger-rate-does-not-learn-from-scratch", "From scratch a larger learning rate cannot make models converge.",
          "section 3.1", {"strategy": FAST_SCRATCH}, {"strategy": "scratch"}, "less",
          of={"measure": "fitted_accuracy"}, question="1"),
    *(_beats(f"{words}-beats-scratch", f"Fine-tuning {text} is better than learning from scratch.", "section 3.4",
             strategy, "scratch", "1")
      for words, text, strategy in KIND_BY_KIND),
    Claim("fewer-images-gain-more", "The fewer images, the greater the improvement of fine-tuning.", "conclusion 1",
          {"per_class": "smallest"}, {"per_class": "largest"}, "more", of={"strategy": (CONV, BN, BOTH)},
          over="scratch", question="1"),
    Claim("fewer-images-gain-more-over-fc", "The smaller the data set, the more is gained over FC layers alone.",
          "section 3.2", {"per_class": "smallest"}, {"per_class": "largest"}, "more",
          of={"strategy": (CONV, BN, BOTH)}, over=FC, question="1"),
)  # fmt: skip
WHICH = (
    *(_beats(f"{words}-beats-fc", f"Fine-tuning {text} is better than the FC layers alone.", "section 3.2",
             strategy, FC, "2")
      for words, text, strategy in KIND_BY_KIND),
    _beats("bn-beats-conv", "Fine-tuning BN layers is better than fine-tuning CNN layers in most cases.", "section 3.2",
           BN, CONV, "3", cells="most"),
    _beats("bn-beats-both", "Fine-tuning BN layers is better than fine-tuning both in most cases.", "section 3.2", BN,
           BOTH, "3", cells="most"),
    _beats("slow-bn-beats-conv", "BN layers are better than CNN layers also at the rate of CNN layers.", "section 3.2",
           SLOW_BN, CONV, "3"),
    _beats("bn-beats-fast-conv", "BN layers are better than CNN layers also at the rate of BN layers.", "section 3.2",
           BN, FAST_CONV, "3"),
    _beats("both-beats-conv", "Fine-tuning both is better than fine-tuning CNN layers.", "section 3.2", BOTH, CONV,
           "3"),
    _beats("rates-by-kind-beat-one-rate", "A rate for each kind of layer is better than one rate in most cases.",
           "table 7", KINDS, BOTH, "3", cells="most"),
    _beats("rates-by-kind-beat-bn", "A rate for each kind of layer is better than fine-tuning BN layers in most cases.",
           "table 7", KINDS, BN, "3", cells="most"),
    Claim("rates-by-kind-gain-little", "A rate for each kind improves little on fine-tuning BN layers.", "section 3.2",
          {"strategy": KINDS}, {"strategy": BN}, "same", margin=SMALL, cells="each", question="3"),
    *(_beats(f"bn-of-{more}-beats-{fewer}".replace(" ", "-"),
             f"The more BN layers are updated, the better: {more}, and {fewer}.", "table 8", better, worse, "4")
      for more, fewer, better, worse in zip(("stages 3-4", "stages 2-4", "all stages"),
                                            ("stage 4", "stages 3-4", "stages 2-4"), DEEPER[1:], DEEPER, strict=False)),
)  # fmt: skip
WHY = (
    _moves("deep-convs-move-more", "CNN weights of shallow layers diverge little, of deep layers much.",
           "figures 1 and 2", {"part": "deep"}, {"part": "shallow"}, strategy=CONV, layers="conv:weight"),
    _moves("more-images-move-convs-more", "The more images, the greater the difference from the pretrained weights.",
           "figures 1 and 2", {"per_class": "largest"}, {"per_class": "smallest"}, strategy=CONV,
           layers="conv:weight", part="all"),
    _moves("sizes-farther-apart-differ-more", "The difference grows with the difference in the number of images.",
           "figures 1 and 2", {"against": "largest"}, {"against": "middle"}, measure="gaussian_kl", strategy=CONV,
           layers="conv:weight", part="all", per_class="smallest"),
    _moves("bn-moves-more-than-convs", "BN layers diverge much more than CNN layers.", "section 3.4",
           {"strategy": BN, "layers": "bn:affine"}, {"strategy": CONV, "layers": "conv:weight"}, part="all"),
    _moves("slow-bn-moves-more-than-convs", "BN layers diverge more than CNN layers also at the rate of CNN layers.",
           "section 3.4", {"strategy": SLOW_BN, "layers": "bn:affine"}, {"strategy": CONV, "layers": "conv:weight"},
           part="all"),
    *(_moves(f"{role}-far-from-start-alike-on-all-sizes",
             f"The {words} of BN layers differs greatly from the pretrained one, and little between data sets.",
             figures, {"against": "start"}, {"against": ("middle", "largest")}, measure="gaussian_kl", than="each",
             strategy=BN, layers=f"bn:{role}", part="all", per_class="smallest")
      for (role, words), figures in zip(ROLES, ("figures 3 and 4", "figures 5 and 6"), strict=True)),
    _moves("bn-alike-at-all-depths", "BN layers diverge alike at all depths.", "section 3.4", {"part": "deep"},
           {"part": "shallow"}, direction="same", margin=2.0, strategy=BN, layers="bn:affine"),
    _moves("last-bn-moves-most", "The bias of the last BN layer differs much in most cases (here with its weight).",
           "figures 5 and 6", {"part": "last"}, {"part": "all"}, cells="most", strategy=BN, layers="bn:affine"),
)  # fmt: skip

TABLES = (
    *(Table(name, "from scratch, and the FC layers alone", where={"per_class": size, "strategy": ("scratch", FC)})
      for name, size in (("table1", "20"), ("table2", "40"), ("table3", "all"))),
    *(Table(name, "CNN layers or BN layers", where={"per_class": size, "strategy": (FC, CONV, BN, BOTH)})
      for name, size in (("table4", "20"), ("table5", "40"), ("table6", "all"))),
    Table("table7", "one rate, and a rate for each kind of layer", rows=("model", "per_class"),
          where={"strategy": (BOTH, BN, KINDS)}),
    Table("table8", "BN layers of the last stages", rows=("model", "per_class"), where={"strategy": DEEPER}),
)  # fmt: skip
FIGURES = tuple(
    Figure(name, f"{title}: how far from the start, and between sizes", "panels",
           where={"layers": layers, "strategy": strategy, "measure": "gaussian_kl"})
    for name, title, layers, strategy in (
        ("figures1-2", "CNN weights", "conv:weight", CONV),
        ("figures3-4", "BN weights", "bn:gamma", BN),
        ("figures5-6", "BN bias", "bn:beta", BN),
    )
)  # fmt: skip

STUDY = Study(
    "peng2020",
    title="which kind of layer to fine-tune, and how many images it takes",
    source="P. Peng and J. Wang (2020)",
    models=("densenet121", "densenet201", "resnet18", "resnet50", "resnet152"),
    weights="IMAGENET1K_V1",
    data="ferrographs",
    per_class=(20, 40, None),
    strategies=("scratch", FAST_SCRATCH, FC, CONV, FAST_CONV, BN, SLOW_BN, BOTH, KINDS, *DEEPER[:-1]),
    bn_modes=("batch", "frozen"),
    seeds=(0, 1, 2),
    optimizer="adam",  # section 3.1; the rates are the strategies' own
    epochs=30,
    steps=870,  # 30 passes over all 909 images; of sizes that are compared each takes as many
    batch_size=32,
    metrics=("gaussian_kl", "gaussian_kl_peng2020", "relative_l2", "cosine_distance"),
    reference=0,
    paper="peng2020",
    claims=(*EFFECTIVE, *WHICH, *WHY),
    tables=TABLES,
    figures=FIGURES,
    mini={
        # digits, in two of the paper's sizes: ferrographs on 32 pixels are hard to tell apart
        "models": ["resnet18", "densenet121"], "pretrain": {"data": "digits-0-4", "epochs": 3},
        "data": "digits-5-9", "test_count": 50, "per_class": [20, 40, 60], "image_size": 32, "seeds": [0],
        "epochs": 1, "steps": 19, "batch_size": 16,  # a pass over the 300 images of the largest size
    },
)  # fmt: skip
