"""A study resolved against its images and weights: which runs there are, before the first step is taken."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from baselines import trials
from baselines.features import label_of
from studies.spec.study import Pretrain, Study
from wdiv.errors import BadInput
from wdiv.registry import did_you_mean
from wdiv.store.keep import Keep
from wdiv.tuning.data.datasets import DATASETS, open_split
from wdiv.tuning.data.images import Split
from wdiv.tuning.data.remarks import remarks
from wdiv.tuning.networks import sources
from wdiv.tuning.networks.models import ModelSpec, build_skeleton
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.loop import check_batches
from wdiv.tuning.training.prepared import PreparedNetwork
from wdiv.tuning.training.run_spec import RunSpec

__all__ = [
    "Planned", "StudyGrid", "notes_on", "open_data", "plan_grid", "seeds_of", "source_networks", "source_study",
    "sources_of", "trained_sources", "trials_of",
]  # fmt: skip


@dataclass(frozen=True)
class Planned:
    """One run to be: how many images it sees, what its epochs will take on disk, how many images it trains on, and
    which tensors it may change."""

    spec: RunSpec
    id: str
    n_train: int
    bytes: int
    n_step: int
    changing: tuple[str, ...]

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.spec.recipe.steps_per_epoch or math.ceil(self.n_step / self.spec.recipe.batch_size)


@dataclass(frozen=True)
class StudyGrid:
    """A study, resolved against its data and its weights.

    source  that of the study's own source networks; None where it trains none
    """

    study: Study
    split: Split
    runs: tuple[Planned, ...]
    notes: tuple[str, ...]
    source: StudyGrid | None = None


def plan_grid(study: Study, split: Split | None = None) -> StudyGrid:
    """Resolve everything that can be wrong before the first step is taken; trains and writes nothing.

    split: the study's images, where they are at hand.

    Raises any of wdiv's errors: unknown names, missing data, too few images, weights for another network.
    """
    if study.data is None:
        raise BadInput(
            f"study {study.name!r} brings no images; give --data FOLDER, or a name from 'wdiv list datasets'"
        )
    specs = [*_specs(study)]
    size = {spec.inputs.size for spec in specs}
    if len(size) > 1:
        raise BadInput(f"the weights want images of {sorted(size)} pixels; give one --image-size for all")
    split = split or open_data(study, size.pop())
    source = None if study.pretrain is None else plan_grid(source_study(study))
    runs: list[Planned] = []
    for _, group in itertools.groupby(specs, key=lambda spec: id(spec.source)):  # one network each
        runs += _plan_runs(list(group), split, Keep(study.keep))
    _check_reference(study, [planned.id for planned in runs])
    for network in source_networks(specs):
        trials.check(network, trials_of(study, network), split.pool.pixels.shape[-1])
    notes = (*study.notes, *notes_on(study, split), *_lending(specs, split))
    return StudyGrid(study, split, tuple(runs), notes, source)


def _check_reference(study: Study, runs: Sequence[str]) -> None:
    """What cannot be measured against when all is trained is an error before."""
    text = str(study.reference)
    if text.isdecimal():
        if int(text) > study.epochs:
            raise BadInput(f"reference {text}: an epoch from 0 to {study.epochs}")
    elif text not in ("pretrained", "previous", *runs):
        known = did_you_mean(text, ["pretrained", "previous", *runs])
        raise BadInput(f"reference {text!r}: an epoch number, or {known}")


def open_data(study: Study, size: int) -> Split:
    """The study's images at a size in pixels, split."""
    assert study.data is not None
    found = open_split(
        study.data, size, test_count=study.test_count, test_fraction=study.test_fraction,
        split_seed=study.split_seed, skip_bad=study.skip_bad_images, group=study.group,
        small_classes=study.small_classes, least=study.least, folds=study.folds, repeats=study.repeats,
    )  # fmt: skip
    return found if study.classes is None else found.first_classes(study.classes)


def notes_on(study: Study, split: Split) -> tuple[str, ...]:
    """What anyone should know of the study's images. Near copies are looked for in a user's own."""
    return remarks(split, study.per_class, look=study.data not in DATASETS)


def _lending(specs: Sequence[RunSpec], split: Split) -> Iterator[str]:
    """Which classes have too few training images to hold one out."""
    pool, few = split.pool, dict[int, int]()
    for spec in {(spec.per_class, spec.seed, spec.fold): spec for spec in specs if spec.recipe.validation}.values():
        train, held = (np.bincount(pool.labels[rows], minlength=len(pool.classes)) for rows in spec.rows(split))
        few |= {int(label): int(train[label]) for label in np.flatnonzero(held == 0)}
    if few:
        told = ", ".join(f"{pool.classes[label]!r} ({count})" for label, count in sorted(few.items()))
        yield f"{split.name}: too few training images to hold one out for validation: {told}"


def _specs(study: Study) -> Iterator[RunSpec]:
    found = sources_of(study)
    for source, size, strategy, mode, seed in itertools.product(
        found, study.per_class, study.strategies, study.bn_modes, study.drawn_seeds
    ):
        assert source.model is not None
        if seed not in seeds_of(study, source):
            continue
        if mode == "frozen" and parse(strategy).random and len(study.bn_modes) > 1:
            continue  # statistics of no network at all, never updated: the other modes say what scratch can do
        model = source.model if study.head is None else source.model.but(head=study.head)
        for fold in study.folds_of(seed):
            yield RunSpec(model, source, size, strategy, mode, seed, study.recipe, study.image_size, fold)


def sources_of(study: Study) -> list[sources.Source]:
    """One source a model, or as many as the study trains of each, with the model it is for.

    Raises :class:`~wdiv.errors.BadInput` for weights that are for another model or for no known one.
    """
    models = [ModelSpec.parse(text) for text in study.models]
    if study.pretrain is not None:
        if not models:
            raise BadInput(f"study {study.name!r} trains its own source networks; give --model")
        none = sources.resolve("random")
        return [
            replace(none, model=model, name=_pretrained_name(study.pretrain, model, number))
            for model, number in itertools.product(models, _numbers(study))
        ]
    if sources.names_model(study.weights):
        own = sources.resolve(study.weights)
    elif models:
        return [replace(sources.resolve(study.weights, model), model=model) for model in models]
    else:
        raise BadInput(f"weights {study.weights!r} do not say which network they are for; give --model")
    assert own.model is not None
    other = next((model for model in models if (model.name, model.args) != (own.model.name, own.model.args)), None)
    if other is not None:
        raise BadInput(f"weights {study.weights!r} are for {own.model.label}, and cannot start a {other.label}")
    return [own]


def _pretrained_name(how: Pretrain, model: ModelSpec, number: int) -> str:
    title = how.title if how.networks == 1 else f"{how.title} #{number}"
    return f"{title} ({model.label})"


def _numbers(study: Study) -> list[int]:
    """Of the source networks that the study's seeds start from."""
    return [] if study.pretrain is None else sorted({seed % study.pretrain.networks for seed in study.drawn_seeds})


def seeds_of(study: Study, source: sources.Source) -> tuple[int, ...]:
    """The seeds of the study whose runs start from a source: all, where there is one for a model."""
    if study.pretrain is None or source.model is None:
        return study.drawn_seeds
    own = {
        number for number in _numbers(study) if _pretrained_name(study.pretrain, source.model, number) == source.name
    }
    return tuple(seed for seed in study.drawn_seeds if seed % study.pretrain.networks in own)


def _plan_runs(specs: list[RunSpec], split: Split, keep: Keep) -> Iterator[Planned]:
    """The runs of one source, on networks without numbers, each built once."""
    source, classes = specs[0].source, len(split.pool.classes)
    weights = source.read() if source.here and any(spec.start != "random" for spec in specs) else None
    skeletons: dict[str, Any] = {}
    for spec in specs:
        label = spec.network.label
        if label not in skeletons:
            skeletons[label] = build_skeleton(spec.network, classes)
            if weights is not None:
                sources.check_fits(skeletons[label], weights, spec.network, source.name)
        network, state = PreparedNetwork.of(spec, skeletons[label], classes), skeletons[label].state_dict()
        plans = [network.plan(segment) for segment in network.segments]
        train, validation = spec.rows(split)
        for segment, plan in zip(network.segments, plans, strict=True):
            check_batches(plan, spec.recipe, len(train), segment.last - segment.first + 1)
        moving = network.changing
        kept = len(keep.epochs([{"epoch": epoch} for epoch in range(spec.recipe.epochs + 1)])) - 1
        size = sum(state[key].nbytes for key in moving) * kept
        yield Planned(spec, spec.id(split.name), len(train) + len(validation), size, len(train), moving)


def trials_of(study: Study, source: sources.Source) -> list[trials.Trial]:
    """The study's baselines on a source, of each data size and each of its seeds."""
    return [
        trials.Trial.named(name, size, seed, fold)
        for size, name, seed in itertools.product(study.per_class, study.baselines, seeds_of(study, source))
        for fold in study.folds_of(seed)
    ]


def source_networks(specs: Sequence[RunSpec]) -> list[sources.Source]:
    """The sources of some runs, each once: several networks may start from weights of one name, such as ``random``."""
    return list({(spec.source.name, label_of(spec.source)): spec.source for spec in specs}.values())


def trained_sources(grid: StudyGrid, folder: Path) -> dict[str, sources.Source]:
    """The source networks of a study with ``pretrain``, trained into a folder, by the names they have in tables.

    Raises :class:`~wdiv.errors.WdivError` where one is not there.
    """
    assert grid.study.pretrain is not None
    assert grid.source is not None
    found = {}
    for planned in grid.source.runs:
        name = _pretrained_name(grid.study.pretrain, planned.spec.model, planned.spec.seed)
        found[name] = replace(sources.resolve(f"{folder / 'runs' / planned.id}@last"), name=name)
    return found


def source_study(study: Study) -> Study:
    """The study that trains another study's source networks, one run each, a seed a number."""
    assert study.pretrain is not None
    how = study.pretrain
    return Study(
        f"{study.name}-source", models=study.models, weights="random", data=how.data, classes=how.classes,
        per_class=(how.per_class,), strategies=(f"scratch={how.rate}",), epochs=how.epochs,
        batch_size=how.batch_size, steps_per_epoch=how.steps_per_epoch, image_size=study.image_size,
        split_seed=study.split_seed, seeds=tuple(_numbers(study)),
    )  # fmt: skip
