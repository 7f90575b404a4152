"""A study: the grid of runs, the recipe, what to measure, and what was claimed. Data; one file per study, or a user's
TOML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from baselines.trials import Trial
from studies.papers import PAPERS
from studies.spec.claim import Claim
from studies.spec.columns import metrics_of
from studies.spec.fields import fitting
from studies.spec.figure import Figure
from studies.spec.table import Table
from wdiv.errors import BadInput, WdivError
from wdiv.metrics import metric_names
from wdiv.registry import did_you_mean
from wdiv.store.keep import Keep
from wdiv.tuning.data.datasets import DATASETS
from wdiv.tuning.data.folds import CrossValidation, Fold
from wdiv.tuning.data.small_classes import LEAST, SMALL_CLASSES
from wdiv.tuning.networks.heads import HEADS
from wdiv.tuning.networks.sources import names_model
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import BN_MODES
from wdiv.tuning.training.recipe import Recipe

__all__ = ["Condition", "Pretrain", "Study", "override"]


@dataclass(frozen=True)
class Pretrain:
    """Source networks to train first, for each of the study's models, from scratch.

    data       a data set's name or a folder;  classes: the first of its classes only;  per_class: images of each
    steps_per_epoch   as of the study: so that sources of different sizes train for as long
    networks   how many of each, of seeds 0, 1, …; runs of seed s start from number s mod ``networks``. What is said of
               sources is then said over several of a kind
    """

    data: str
    epochs: int
    rate: float = 1e-3
    batch_size: int = 32
    classes: int | None = None
    per_class: int | None = None
    steps_per_epoch: int | None = None
    networks: int = 1

    def __post_init__(self) -> None:
        if isinstance(self.networks, bool) or not isinstance(self.networks, int) or self.networks < 1:
            raise BadInput(f"pretrain: networks is a whole number from 1, not {self.networks!r}")

    @property
    def title(self) -> str:
        """How the source is called in tables.

        >>> Pretrain("digits", 4).title, Pretrain("digits", 4, classes=2, per_class=20).title
        ('digits', 'digits, 2 classes, 20 of each')
        """
        some = "" if self.classes is None else f", {self.classes} classes"
        return self.data + some + ("" if self.per_class is None else f", {self.per_class} of each")


@dataclass(frozen=True)
class Condition:
    """The whole grid once more with some fields of the study replaced, in a store of its own."""

    name: str
    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.+-]+", self.name) or self.name.startswith("."):
            raise BadInput(f"condition {self.name!r}: letters, digits, '-', '+' and '.' only, for its folder")


@dataclass(frozen=True)
class Study:
    """The axes are ``models``, ``per_class``, ``strategies``, ``bn_modes`` and ``seeds``: every combination is a run.

    models        empty where the weights name their own network (a source card, another run)
    weights       as in ``--weights``; ``pretrain`` instead trains a source network on the spot
    data          a data set's name or a folder; None: the user must give one
    head          in place of the networks' own classifier; None: that one stays
    per_class     training images of each class; None (in TOML ``"all"``) is all of them
    epochs        of each run, after each of which it is saved
    keep          which of them stay on disk: ``all``, or some of ``first``, ``best``, ``last``, ``last 5``, ``every 5``
                  with commas between them, see :class:`~wdiv.store.keep.Keep`; the epoch that counts always stays. What
                  is not kept has its accuracies and its running metrics all the same
    steps         of the optimizer, of each run, however many images it has: sizes are then compared at equal steps, and
                  ``epochs`` is the number of checkpoints, equally spaced. None (in TOML ``"none"``): an epoch is
                  ``steps_per_epoch`` or, without that, one pass over the images. A run is what this comes to: 20 steps
                  in 4 epochs and 4 epochs of 5 steps are the same one
    image_size    None: what the weights were trained on
    classes       the first of the data's classes only, in the order of their names; None: all
    test_count    images of each class set aside; or ``test_fraction``; neither: a quarter
    folds         of cross-validation in place of a test set: a run for each fold, tested on it, and told together as
                  one whose test images are all images
    repeats       of it: each seed becomes so many, s · repeats + 0, 1, …, of folds drawn anew each
    group         a regular expression that finds in an image's name what it is of, a patient or a part: the images of
                  one are on one side of every split
    small_classes ``refuse``: a class with fewer images than asked for is an error; ``keep``: all of it is taken;
                  ``drop`` and ``merge``: classes of fewer than ``least`` images are left out, or become one
    metrics       what is measured when the grid is done; what claims, tables and figures need besides is added.
                  ``output_change`` is measured on the study's images; its proxy stands in where they are gone
    reference     of that divergence
    baselines     on frozen features, beside the runs: ``svm``, ``svm@stage3``, ``ncm@bottleneck``
    conditions    what else varies: every condition is the whole grid with some fields replaced
    paper         whose published numbers stand beside ours: a name of :data:`~studies.papers.PAPERS`
    claims, tables, figures   what the report says, see there
    recommend     of one's own images: what is not given is settled by :mod:`studies.grid.settling`, and the report
                  begins with what to do
    notes         what is to be said of how it was planned
    mini          fields replaced by ``--scale mini``: minutes on two cores
    """

    name: str
    title: str = ""
    source: str = ""
    models: tuple[str, ...] = ("resnet18",)
    weights: str = "IMAGENET1K_V1"
    pretrain: Pretrain | None = None
    data: str | None = None
    per_class: tuple[int | None, ...] = (None,)
    strategies: tuple[str, ...] = ("fc", "conv+fc", "bn+fc", "conv+bn+fc")
    bn_modes: tuple[str, ...] = ("auto",)
    seeds: tuple[int, ...] = (0,)
    baselines: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    optimizer: str = Recipe.optimizer
    epochs: int = Recipe.epochs
    keep: str = "all"
    steps: int | None = None
    batch_size: int = Recipe.batch_size
    weight_decay: float = Recipe.weight_decay
    momentum: float = Recipe.momentum
    decay_all: bool = Recipe.decay_all
    steps_per_epoch: int | None = Recipe.steps_per_epoch
    schedule: str = Recipe.schedule
    warmup: float = Recipe.warmup
    loss: str = Recipe.loss
    label_smoothing: float = Recipe.label_smoothing
    class_weights: str = Recipe.class_weights
    sampling: str = Recipe.sampling
    augment: tuple[str, ...] = Recipe.augment
    mixup: float = Recipe.mixup
    validation: float = Recipe.validation
    patience: int = Recipe.patience
    precision: str = Recipe.precision
    compile: bool = Recipe.compile
    keep_prefix: bool = Recipe.keep_prefix
    head: str | None = None
    image_size: int | None = None
    classes: int | None = None
    test_count: int | None = None
    test_fraction: float | None = None
    folds: int | None = None
    repeats: int = 1
    group: str | None = None
    small_classes: str = "refuse"
    least: int = LEAST
    split_seed: int = 0
    skip_bad_images: bool = False
    metrics: tuple[str, ...] = (
        "output_change", "gaussian_kl", "gaussian_kl_peng2020", "relative_l2", "cosine_distance",
    )  # fmt: skip
    reference: str | int = "pretrained"
    paper: str | None = None
    claims: tuple[Claim, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    recommend: bool = False
    notes: tuple[str, ...] = ()
    mini: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("models", "per_class", "strategies", "bn_modes", "seeds", "metrics"):
            values = getattr(self, name)
            if not isinstance(values, tuple) or not (values or name == "models"):
                raise BadInput(f"study {self.name!r}: {name} is a list of at least one entry, not {values!r}")
        names = tuple(dict.fromkeys(parse(text).name for text in self.strategies))
        object.__setattr__(self, "strategies", names)
        for name in ("models", "per_class", "bn_modes", "seeds", "metrics"):
            object.__setattr__(self, name, tuple(dict.fromkeys(getattr(self, name))))
        for mode in self.bn_modes:
            BN_MODES[mode]
        self._check_steps()
        self._check_folds()
        reported = [
            one for kind in (self.claims, self.tables, self.figures) for record in kind for one in record.measures
        ]
        object.__setattr__(self, "metrics", metric_names((*self.metrics, *metrics_of(reported)), images=True))
        SMALL_CLASSES[self.small_classes]
        if self.head is not None:
            HEADS[self.head]
        object.__setattr__(self, "keep", Keep(self.keep).text)
        object.__setattr__(self, "augment", self.recipe.augment)
        baselines = tuple(dict.fromkeys(Trial.named(text).strategy for text in self.baselines))
        object.__setattr__(self, "baselines", baselines)
        if self.paper is not None and self.paper not in PAPERS:
            raise BadInput(f"study {self.name!r}: paper {self.paper!r}; {did_you_mean(self.paper, PAPERS)}")
        for what in ("claims", "tables", "figures", "conditions"):
            called = Counter(record.name for record in getattr(self, what))
            for name in called - Counter(set(called)):
                raise BadInput(f"study {self.name!r}: two {what} are called {name!r}")
        self._check_conditions()

    def _check_steps(self) -> None:
        if self.steps is None:
            return
        if self.steps_per_epoch is not None:
            raise BadInput(f"study {self.name!r}: steps or steps_per_epoch, not both; the other one is none")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise BadInput(f"study {self.name!r}: steps: a whole number, at least 1, not {self.steps!r}")
        over = self.steps % self.epochs
        if over:
            whole = self.steps - over
            steps = [n for n in (whole, whole + self.epochs) if n]
            able = [n for n in range(1, self.steps + 1) if self.steps % n == 0]
            epochs = [*[n for n in able if n < self.epochs][-1:], *[n for n in able if n > self.epochs][:1]]
            raise BadInput(
                f"study {self.name!r}: {self.steps} steps do not divide into {self.epochs} epochs, which are the "
                f"checkpoints of a run; give {_or(steps)} steps, or {_or(epochs)} epochs"
            )

    def _check_folds(self) -> None:
        try:
            self.scheme  # noqa: B018  raises
        except BadInput as error:
            raise BadInput(f"study {self.name!r}: {error}") from None
        if self.folds is None and self.repeats != 1:
            raise BadInput(f"study {self.name!r}: repeats are of folds, and it has none; give folds too")
        asked = [name for name in ("test_count", "test_fraction") if getattr(self, name) is not None]
        if self.folds is not None and asked:
            raise BadInput(f"study {self.name!r}: folds test every image once; folds or {asked[0]}, not both")

    def _check_conditions(self) -> None:
        for condition in self.conditions:
            taken = {"name", "conditions", "mini", "claims", "tables", "figures"} & condition.values.keys()
            if taken:
                raise BadInput(f"condition {condition.name!r}: cannot replace {', '.join(sorted(taken))}")
        replaced = {f"condition {one.name!r}": (replace(self, conditions=(), mini={}), one) for one in self.conditions}
        if self.mini:
            replaced[f"study {self.name!r}, mini"] = replace(self, mini={}), Condition("mini", self.mini)
        for here, (study, condition) in replaced.items():
            try:
                override(study, condition.values)
            except WdivError as error:
                raise BadInput(f"{here}: {error}") from None

    @property
    def recipe(self) -> Recipe:
        """How each run is trained, equal steps as so many of each epoch."""
        given = {field.name: getattr(self, field.name) for field in fields(Recipe)}
        return Recipe(**given | ({} if self.steps is None else {"steps_per_epoch": self.steps // self.epochs}))

    @property
    def scheme(self) -> CrossValidation | None:
        """Of cross-validation, if there is any."""
        return None if self.folds is None else CrossValidation(self.folds, self.repeats, self.split_seed)

    @property
    def drawn_seeds(self) -> tuple[int, ...]:
        """The seeds of runs: each of :attr:`seeds`, or as many as there are repeats of each.

        >>> Study("one", seeds=(0, 2), folds=5, repeats=2).drawn_seeds
        (0, 1, 4, 5)
        """
        return tuple(seed * self.repeats + repeat for seed in self.seeds for repeat in range(self.repeats))

    def folds_of(self, seed: int) -> tuple[Fold | None, ...]:
        """Those that runs of a seed are tested on, one each; None stands for the test set."""
        return (None,) if self.scheme is None else self.scheme.of_seed(seed)

    @property
    def in_modes(self) -> frozenset[str]:
        """Strategies that run in each of several BN modes. Others (a start from random weights, whose statistics cannot
        stay frozen; baselines) are of one.

        >>> sorted(Study("one", strategies=("scratch", "fc"), bn_modes=("batch", "frozen")).in_modes)
        ['fc']
        """
        return frozenset(one for one in self.strategies if len(self.bn_modes) > 1 and not parse(one).random)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; ``all`` for every training image."""
        data = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        data["per_class"] = ["all" if n is None else n for n in self.per_class]
        return data


def override(study: Study, values: Mapping[str, Any]) -> Study:
    """The study with some fields replaced; unknown names are errors with a did-you-mean.

    Lists and single values both do for an axis, and ``all`` for a data size.
    """
    known = {f.name for f in fields(Study)}
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise BadInput(f"unknown key {key!r}; {did_you_mean(key, known)}")
        if key == "per_class":
            value = [_size(entry) for entry in (value if isinstance(value, (list, tuple)) else (value,))]
        changed[key] = fitting(Study, key, None if (key, value) == ("steps", "none") else value)
    changed = _reconciled(changed)
    if study.conditions and "conditions" not in changed:
        taken = set(changed).intersection(*(condition.values for condition in study.conditions))
        if taken:  # by every condition: it would be given in vain
            raise BadInput(f"{min(taken)}: each condition of study {study.name!r} has its own")
    return replace(study, **changed)


def _reconciled(changed: dict[str, Any]) -> dict[str, Any]:
    """Weights that name their own network replace the axis of models, unless both are given; and a test count
    replaces a test fraction, or the other way round, and folds replace both; data with a test set of their own need
    none of them. Steps of a run replace those of an epoch likewise."""
    for pair in (("test_count", "test_fraction"), ("steps", "steps_per_epoch")):
        for one, other in (pair, pair[::-1]):
            if changed.get(one) is not None:
                changed.setdefault(other, None)
    in_folds, with_test = changed.get("folds") is not None, {"test_count": None, "test_fraction": None}
    if in_folds:
        changed = with_test | changed
    elif any(changed.get(name) is not None for name in with_test):
        changed = {"folds": None, "repeats": 1} | changed
    own = DATASETS.get(changed.get("data") or "")
    if own is not None and own.n_train is not None:  # it has a test set of its own
        changed = with_test | {"folds": None, "repeats": 1} | changed
    if "weights" in changed:
        changed.setdefault("pretrain", None)
        if "models" not in changed and names_model(changed["weights"]):
            changed["models"] = ()
    return changed


def _or(numbers: Iterable[int]) -> str:
    return " or ".join(map(str, numbers))


def _size(entry: Any) -> int | None:
    if entry is None or entry == "all":
        return None
    if isinstance(entry, bool) or not isinstance(entry, int) or entry < 1:
        raise BadInput(f"per_class: whole numbers from 1, or 'all', not {entry!r}")
    return entry
