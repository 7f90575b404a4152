"""Strategies: which layers train, at what rate, by what methods and in which order. Data, in one spelling for the
CLI, TOML files and tables, which :mod:`wdiv.tuning.strategy.spelling` reads.

``scratch``             everything, from random weights
``fc``                  the classifier, and nothing else
``linear+fc``           what is linear in the trunk, as in a ConvNeXt or a transformer, and the classifier
``bn+fc``               every BatchNorm and the classifier
``norm+fc``             every LayerNorm, GroupNorm, RMSNorm and InstanceNorm, and the classifier
``all=1e-4,fc=1e-3``    every tensor, those of no kind of layer included, and the classifier at a rate of its own
``bn@stage3-4+fc``      ``@`` narrows the one kind before it to a stage or a range of stages
``conv@stage1+conv@stage4+fc``   a kind may stand for several stages that are not neighbours, each at its own rate
``conv=1e-4,bn=1e-2``   a rate after ``=``; ``,`` and ``+`` both join
``beside+fc``           a small new network beside the frozen one, joined at the classifier
``conv+bn+fc+decay=0.75``        a method, with its number
``fc for 0.3 then conv+bn+fc``   phases: for so many epochs, or a share of them, then what follows
"""

from __future__ import annotations

from dataclasses import dataclass

from wdiv.errors import BadInput
from wdiv.layers import KINDS, Layer, LayerTable
from wdiv.registry import Registry
from wdiv.store.stages import BESIDE

__all__ = ["BN_MODES", "EVERYTHING", "STRATEGIES", "TERMS", "BnMode", "Phase", "StrategyPreset", "Strategy", "Term"]

EVERYTHING = "all"
"""The term that selects every tensor which no other term of its phase does."""
TERMS = (EVERYTHING, *KINDS, BESIDE)


@dataclass(frozen=True)
class BnMode:
    """How BatchNorm layers normalise while training."""

    name: str
    long_name: str
    source: str = ""


BN_MODES: Registry[BnMode] = Registry(
    "BN mode",
    [
        BnMode("auto", "batch for a layer whose gamma or beta trains, frozen for the others"),
        BnMode("frozen", "running statistics, never updated, in every layer"),
        BnMode("batch", "batch statistics, running ones updated, in every layer"),
        BnMode(
            "adapt", "as batch; after each epoch the running statistics are estimated anew over the training images"
        ),
        BnMode(
            "adabn",
            "running statistics, estimated over the training images before the first step and then frozen",
            "Li et al. (2017), AdaBN",
        ),
    ],
)


@dataclass(frozen=True)
class Term:
    """One kind of layer, the stages it is narrowed to (empty: all), and its rate."""

    kind: str
    stages: tuple[str, ...]
    lr: float

    def selects(self, layer: Layer, head: frozenset[str]) -> bool:
        """``fc`` is the classifier, also where that is a convolution."""
        if self.stages and layer.stage not in self.stages:
            return False
        return self.kind in (EVERYTHING, kind_of(layer, head))


def kind_of(layer: Layer, head: frozenset[str]) -> str:
    """The term that a layer answers to."""
    return BESIDE if layer.stage == BESIDE else "fc" if layer.name in head else layer.kind


@dataclass(frozen=True)
class Phase:
    """What trains for a while, and how.

    terms    at least one; ``all`` gives its rate to those whom no other term selects
    methods  (name, number) in the order of :data:`~wdiv.tuning.strategy.methods.METHODS`; the number is None for a word
    length   whole epochs, or a share of all epochs below 1, or None: what the other phases leave
    """

    terms: tuple[Term, ...]
    methods: tuple[tuple[str, float | None], ...] = ()
    length: float | None = None

    def has(self, method: str) -> bool:
        return any(name == method for name, _ in self.methods)

    def number(self, method: str) -> float | None:
        """A method's number; None if the phase does without the method."""
        return dict(self.methods).get(method)

    def lr(self, layer: Layer, head: frozenset[str]) -> float | None:
        """The layer's learning rate before any method; None if it is frozen."""
        chosen = [term for term in self.terms if term.selects(layer, head)]
        own = [term for term in chosen if term.kind != EVERYTHING]
        return (own or chosen)[0].lr if chosen else None

    @property
    def loose_lr(self) -> float | None:
        """The rate of tensors that belong to no layer of the table; None if they are frozen."""
        return next((term.lr for term in self.terms if term.kind == EVERYTHING and not term.stages), None)


@dataclass(frozen=True)
class Strategy:
    """A parsed strategy; ``name`` is its canonical spelling."""

    name: str
    phases: tuple[Phase, ...]

    @property
    def random(self) -> bool:
        """True if it starts from random weights."""
        return self.phases[0].has("random")

    @property
    def beside(self) -> bool:
        """True if it trains a second network beside the first."""
        return any(term.kind == BESIDE for phase in self.phases for term in phase.terms)

    @property
    def last(self) -> Phase:
        """The last phase; the only one of most strategies."""
        return self.phases[-1]

    def check(self, table: LayerTable, head: frozenset[str], model: str) -> None:
        """Raise :class:`~wdiv.errors.BadInput` if a term, or a stage of its range, selects no layer of this network."""
        for term in (term for phase in self.phases for term in phase.terms if term.kind != EVERYTHING or term.stages):
            found = {layer.stage for layer in table if term.selects(layer, head)}
            if not found or not found.issuperset(term.stages):
                where = f" in {next(s for s in term.stages if s not in found)}" if term.stages else ""
                raise BadInput(
                    f"strategy {self.name!r}: {model} has no {term.kind} layer{where}; its stages: "
                    + ", ".join(table.stages)
                )


@dataclass(frozen=True)
class StrategyPreset:
    """A strategy that a document names. ``spelling`` is parsed like any other."""

    name: str
    spelling: str
    long_name: str
    source: str


_PENG = "Peng and Wang (2020)"
_P = StrategyPreset
STRATEGIES: Registry[StrategyPreset] = Registry("strategy", [
    _P("scratch", "scratch=1e-3", "everything, from random weights", f"{_PENG}, section 3.1"),
    _P("fc", "fc=1e-3", "the classifier on frozen features", f"{_PENG}, section 3.1"),
    _P("conv+fc", "conv=1e-4,fc=1e-4", "every convolution and the classifier", f"{_PENG}, table 4"),
    _P("bn+fc", "bn=1e-2,fc=1e-2", "every BatchNorm and the classifier", f"{_PENG}, table 4"),
    _P("conv+bn+fc", "conv=1e-4,bn=1e-4,fc=1e-4", "everything, at one rate", f"{_PENG}, table 4"),
    _P("by-kind", "conv=1e-4,bn=1e-2,fc=1e-3", "everything, at a rate for each kind", f"{_PENG}, table 7"),
    _P("bn@stage4+fc", "bn@stage4=1e-2,fc=1e-2", "BatchNorm of the last stage", f"{_PENG}, table 8"),
    _P("bn@stage3-4+fc", "bn@stage3-4=1e-2,fc=1e-2", "BatchNorm of the last two stages", f"{_PENG}, table 8"),
    _P("bn@stage2-4+fc", "bn@stage2-4=1e-2,fc=1e-2", "BatchNorm of the last three stages", f"{_PENG}, table 8"),
    _P(
        "by-depth", "all=1e-3,decay=0.75", "everything, each block at three quarters of the next one's rate",
        "Clark et al. (2020); timm's layer_decay",
    ),
    _P(
        "discriminative", "all=1e-3,spread=100", "everything, the first stage at a hundredth of the classifier's rate",
        "Howard and Ruder (2018); fastai's slice of rates",
    ),
    _P(
        "lp-ft", "fc=1e-3 for 0.5 then all=1e-4", "half of the epochs the classifier alone, then everything",
        "Kumar et al. (2022)",
    ),
    _P(
        "gradual", "all=1e-4,gradual", "the classifier first, then a stage more at a time",
        "Howard and Ruder (2018), section 3.3",
    ),
    _P(
        "l2-sp", "all=1e-4,l2sp=0.1", "everything, pulled towards where it started",
        "Li, Grandvalet and Davoine (2018)",
    ),
    _P(
        "auto-rgn", "all=1e-3,rgn", "everything, each tensor's rate by its relative gradient norm",
        "Lee et al. (2023)",
    ),
    _P(
        "bn-random", "random,bn=1e-2", "gamma and beta of random features, nothing else",
        "Frankle, Schwab and Morcos (2021)",
    ),
    _P(
        "bn-random+fc", "random,bn=1e-2,fc=1e-2", "gamma and beta of random features, and the classifier",
        "Frankle, Schwab and Morcos (2021)",
    ),
    _P(
        "modular", "beside=1e-3,fc=1e-3", "a small new network beside the frozen one, joined at the classifier",
        "Anderson et al. (2016)",
    ),
])  # fmt: skip
