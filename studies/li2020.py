"""Li et al. (2020), Multifaceted Analysis of Fine-Tuning in a Deep Model for Visual Recognition: factor by factor.

Only the abstract could be read. It names the factors (the initial rate of fine-tuning; how many categories the source
has, and how far it lies from the target; "and so on") and asks what fine-tuning changes in the parameters. It tells no
number, network or data set, and not which way its observations go: the claims are ours, each what one would expect, to
be tested. So are all choices:

- One factor at a time: all rates on the condition ``near``, one rate on the others. The classifier is new and always
  learns at 1e-3, so that the rate is that of what was pretrained; its lower end is ``fc``, which leaves it as it was.
- Sources are trained here, each for as many steps: five digits, all images; 20 images of each; and two digits, 50 of
  each, which are as many images of fewer categories. Of each kind there is one a seed: what is said of sources is told
  over them, and not over fine-tuning from one.
- The targets are five other digits, or five classes of simulated ferrographs. How far they lie from the source is
  measured (:mod:`studies.grid.domain_distance`). All sizes take as many steps.

``--data`` replaces the near target by any folder; for other sources, ``wdiv init`` writes the study as TOML.
"""

from typing import Any

from studies.spec.claim import Claim
from studies.spec.figure import Figure
from studies.spec.study import Condition, Pretrain, Study
from studies.spec.table import Table

RATES = tuple(f"conv={rate},bn={rate},fc=1e-3" for rate in ("1e-5", "1e-4", "1e-3", "1e-2"))
LOWEST, TUNED, _, HIGHEST = RATES
HEAD = "fc"
FEW, MANY = "5", "100"
OURS = "ours; the abstract names the factor"


def _conditions(epochs: int, steps: int, networks: int) -> tuple[Condition, ...]:
    """What is not the digits 0 to 4, all images, and the digits 5 to 9."""

    def source(**values: int) -> Pretrain:
        return Pretrain("digits-0-4", epochs, steps_per_epoch=steps, networks=networks, **values)

    one_rate: dict[str, Any] = {"strategies": (HEAD, TUNED)}
    return (
        Condition("near", {"pretrain": source()}),
        Condition("few-images", {"pretrain": source(per_class=20), **one_rate}),
        Condition("few-categories", {"pretrain": source(classes=2, per_class=50), **one_rate}),
        Condition("far", {"pretrain": source(), "data": "ferrographs", **one_rate}),
    )  # fmt: skip


def _claim(factor: str, name: str, text: str, left: dict[str, str], right: dict[str, str], **more: Any) -> Claim:
    return Claim(name, text, OURS, left, right, "more", question=factor, **more)


def _moves(factor: str, name: str, text: str, left: dict[str, str], right: dict[str, str], **of: str) -> Claim:
    """That the convolutions end farther from where they began."""
    named = {"part": "all"} if "part" not in left else {}
    measured = {"measure": "output_change", "against": "start", "layers": "conv:weight", **named, **of}
    return _claim(factor, name, text, left, right, of=measured, scale="ratio")


CLAIMS = (
    _claim("rate", "too-low-a-rate-adapts-little", "A rate too low leaves accuracy on the table.", {"strategy": TUNED},
           {"strategy": LOWEST}, of={"condition": "near"}),
    _claim("rate", "too-high-a-rate-forgets", "A rate too high spoils what was pretrained.", {"strategy": TUNED},
           {"strategy": HIGHEST}, of={"condition": "near"}),
    _moves("rate", "rate-moves", "A higher rate moves the parameters farther.", {"strategy": HIGHEST},
           {"strategy": LOWEST}, condition="near"),
    _claim("source", "source-images-help", "A source of more images makes a better start.", {"condition": "near"},
           {"condition": "few-images"}, of={"strategy": TUNED}),
    _claim("source", "source-categories-help", "Of as many source images, more categories make a better start.",
           {"condition": "few-images"}, {"condition": "few-categories"}, of={"strategy": TUNED}),
    _claim("source", "source-categories-make-features", "And better features, without tuning them.",
           {"condition": "few-images"}, {"condition": "few-categories"}, of={"strategy": HEAD}),
    _moves("source", "poor-source-moves", "A start from fewer source images has farther to go.",
           {"condition": "few-images"}, {"condition": "near"}, strategy=TUNED),
    *(_claim("distance", f"far-by-{name}", f"The far target is farther by {words}.", {"condition": "far"},
             {"condition": "near"}, of={"measure": measure})
      for name, words, measure in (("frechet", "the Fréchet distance", "frechet_distance"), ("mmd", "MMD", "mmd"))),
    _claim("distance", "far-gains", "The farther the target, the more is gained over the classifier alone.",
           {"condition": "far"}, {"condition": "near"}, of={"strategy": TUNED}, over=HEAD),
    _moves("distance", "far-moves", "A farther target moves the parameters farther.", {"condition": "far"},
           {"condition": "near"}, strategy=TUNED),
    _claim("amount", "more-data-gain", "The more target images, the more is gained over the classifier alone.",
           {"per_class": "largest"}, {"per_class": "smallest"}, of={"condition": "near", "strategy": TUNED}, over=HEAD),
    _moves("amount", "more-data-move", "More target images move the parameters farther.", {"per_class": "largest"},
           {"per_class": "smallest"}, condition="near", strategy=TUNED),
    _moves("parameters", "deep-moves", "Deep layers move farther than shallow ones.", {"part": "deep"},
           {"part": "shallow"}, condition="near", strategy=TUNED),
)  # fmt: skip


def _profile(
    factor: str, title: str, condition: tuple[str, ...], strategy: tuple[str, ...], size: str = MANY
) -> Figure:
    return Figure(f"profile-{factor}", title, "profile", {
        "measure": "output_change", "condition": condition, "strategy": strategy, "per_class": size})  # fmt: skip


STUDY = Study(
    "li2020",
    title="what makes fine-tuning work, and what it changes: rate, source, distance, amount of data",
    source="X. Li, L. Herranz and S. Jiang (2020), abstract",
    models=("resnet18", "resnet50"),
    data="digits-5-9",
    classes=5,
    per_class=(int(FEW), 20, int(MANY)),
    strategies=(HEAD, *RATES),
    seeds=(0, 1, 2, 3, 4),
    conditions=_conditions(epochs=10, steps=100, networks=5),
    image_size=64,
    epochs=10,
    steps=320,  # 10 passes over the 500 images of the largest size
    batch_size=16,
    metrics=("relative_l2",),
    reference=0,
    claims=CLAIMS,
    tables=(
        Table("rate", "test accuracy by rate", rows=("model", "per_class"), where={
            "condition": "near", "strategy": (HEAD, *RATES)}),
        Table("source", "test accuracy by source and target", rows=("model", "condition", "per_class"), where={
            "condition": ("near", "few-images", "few-categories", "far"), "strategy": (HEAD, TUNED)}),
        Table("distance", "from source to target", rows=("model", "condition", "per_class"), columns=("measure",),
              where={"condition": ("near", "few-images", "few-categories", "far")},
              measure=("frechet_distance", "mmd")),
        Table("moved", "how far the convolutions moved", rows=("model", "condition", "per_class", "strategy"),
              columns=("part",), measure="output_change", where={
                  "against": "start", "layers": "conv:weight", "part": ("shallow", "deep"), "strategy": RATES}),
    ),
    figures=(
        _profile("rate", "what each rate changes", ("near",), RATES),
        _profile("source", "what changes after each source", ("near", "few-images", "few-categories"), (TUNED,)),
        _profile("distance", "what changes for each target", ("near", "far"), (TUNED,)),
        _profile("few", "what changes with few images", ("near", "far"), (TUNED,), FEW),
    ),
    mini={
        "models": ("resnet18",), "image_size": 32, "per_class": (int(FEW), int(MANY)), "seeds": (0, 1, 2),
        "epochs": 1, "steps": 16, "test_count": 50,
        "conditions": _conditions(epochs=2, steps=20, networks=3),
    },
)  # fmt: skip
