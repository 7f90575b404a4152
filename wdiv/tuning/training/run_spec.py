"""What makes one fine-tuning run, what it is called, and which images it draws."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.store.files import short_name
from wdiv.tuning.data.folds import Fold
from wdiv.tuning.data.images import ImageSet, Split, nested_subset, set_aside, share_of
from wdiv.tuning.data.inputs import InputSpec
from wdiv.tuning.networks.models import ModelSpec
from wdiv.tuning.networks.sources import Source
from wdiv.tuning.strategy import strategies
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.recipe import Recipe

__all__ = ["RunSpec", "held_out", "run_id"]


@dataclass(frozen=True)
class RunSpec:
    """What makes one run. ``per_class`` None: all training images. ``fold``: of cross-validation, which images test it
    and may not train it; None: those of the test set."""

    model: ModelSpec
    source: Source
    per_class: int | None
    strategy: str
    bn_mode: str
    seed: int
    recipe: Recipe
    image_size: int | None = None
    fold: Fold | None = None

    def __post_init__(self) -> None:
        parse(self.strategy)
        strategies.BN_MODES[self.bn_mode]  # raises for an unknown one
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise BadInput(f"seed: a whole number from 0, not {self.seed!r}")
        if self.per_class is not None and self.per_class < 1:
            raise BadInput(f"images per class: at least 1, or 'all', not {self.per_class!r}")

    @property
    def network(self) -> ModelSpec:
        """The network that trains: the model, and what the strategy puts beside it."""
        return self.model.but(beside=True) if self.parsed.beside else self.model

    @property
    def label(self) -> str:
        """The architecture in tables and folder names: the source card's name, or the model's; and what was added."""
        if not self.source.label:
            return self.network.label
        of_card = {} if self.source.model is None else self.source.model.args
        added = {name: value for name, value in self.network.args.items() if of_card.get(name) != value}
        return ModelSpec(self.source.label, added).label

    @property
    def parsed(self) -> strategies.Strategy:
        return parse(self.strategy)

    @property
    def start(self) -> str:
        """The source that this run starts from: none if its strategy says so."""
        return "random" if self.parsed.random else self.source.name

    @property
    def inputs(self) -> InputSpec:
        return self.source.input.at(self.image_size)

    def id(self, dataset: str) -> str:
        """The run's name, and its folder's."""
        return run_id(self.label, dataset, self.per_class, self.parsed.name, self.bn_mode, self.seed, self.fold)

    def rows(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Which images of the pool train, and which are held out to validate."""
        there, _ = split.rows_of(self.fold)
        chosen = nested_subset(split.pool, self.per_class, self.seed, there)
        return held_out(split.pool, chosen, self.recipe.validation, self.seed)

    def test_rows(self, split: Split) -> np.ndarray:
        """Which images of the test set test it."""
        return split.rows_of(self.fold)[1]

    def facts(self, split: Split) -> dict[str, Any]:
        """What must agree for a run on disk to be this run."""
        return {
            "source": self.start,
            "dataset": split.name,
            "data_digest": split.digest,
            "grouping": split.pool.grouping,
            "small_classes": split.pool.small_classes,
            "fold": None if self.fold is None else self.fold.to_json(),
            "recipe": self.recipe.to_json() | {"phases": [_told(phase) for phase in self.parsed.phases]},
            "input": self.inputs.to_json(),
            "strategy": self.parsed.name,
            "bn_mode": self.bn_mode,
            "model": self.network.name,
            "model_args": dict(self.network.args),
            "bn_eps": self.network.bn_eps,
        }


def run_id(
    label: str, dataset: str, per_class: int | None, strategy: str, bn_mode: str, seed: int, fold: Fold | None = None
) -> str:
    """A run's name, from what tells it from the others of a grid; plain enough for a folder's.

    >>> run_id("mobilenet_v2:width_mult=0.1", "my photos", 20, "bn+fc", "auto", 0)
    'mobilenet_v2-width_mult=0.1-my-photos-n20-bn+fc-auto-s0'
    >>> run_id("lenet", "digits", None, "fc", "auto", 0, Fold(2, 5))
    'lenet-digits-all-fc-auto-s0-f2of5'
    """
    size = "all" if per_class is None else f"n{per_class}"
    return short_name(
        "-".join(map(_plain, (label, dataset, size, strategy, bn_mode))),
        f"-s{seed}{'' if fold is None else fold.ending}",
    )


def _plain(part: str) -> str:
    return re.sub(r"[^\w.+@=,]+", "-", part).strip("-")


def _told(phase: strategies.Phase) -> dict[str, Any]:
    lrs = {term.kind + ("@" + "+".join(term.stages) if term.stages else ""): term.lr for term in phase.terms}
    return {"rates": lrs, "methods": dict(phase.methods), "length": phase.length}


LENDS = 5
"""Training images that a class needs to lend one to validation, where small classes are kept."""


def held_out(pool: ImageSet, chosen: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the chosen images train, and which are held out: ``share`` of each class, drawn with ``seed``, and whole
    groups, where there are any.

    A class with a single image, or a single group, keeps it to train on; where small classes are kept, one of fewer
    than 5 images keeps all. Elsewhere it lends one, as it did before there was a choice: stores go on. Raises
    :class:`~wdiv.errors.BadData` where that leaves a class none to train on, or none is held out.
    """
    if not share:
        return chosen, chosen[:0]
    labels, groups = pool.labels[chosen], pool.groups_of(chosen)
    counts = np.bincount(labels, minlength=len(pool.classes))
    lends = LENDS if pool.keeps_small else 2
    wanted = np.array([share_of(have, share) if have >= lends else 0 for have in counts])
    for name, have, aside in zip(pool.classes, counts, wanted, strict=True):
        if aside and aside >= have:
            raise BadData(f"class {name!r} has {have} training images; holding {aside} out leaves none to train on")
    held = set_aside(labels, wanted, groups, seed)
    if not held.any():
        needed = "training images of two groups" if groups else f"{lends} training images"
        raise BadData(f"validation {share:g}: no class has {needed}, to hold one out; leave it out, or train on more")
    return chosen[~held], chosen[held]
