"""What a study of one's own images leaves open, settled by the images, the network and the time that there is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from studies.grid.planning import StudyGrid, open_data, plan_grid, sources_of
from studies.grid.study_file import STUDY, read_study
from studies.spec.study import Study, override
from wdiv.errors import BadInput
from wdiv.tuning.data.datasets import side_of
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.models import head_layers, layer_table
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training.cost import estimate_seconds

__all__ = ["MINUTES", "image_size", "settle"]

MINUTES = 20.0
"""That a study of one's own images takes at most, where nothing is said."""
PASSES = 30
"""Over the training images, as in the documents' studies."""
STEPS = (100, 1500)
"""At least and at most, of a run: so many passes over few images are few steps, and over many images many."""
SHARE, FEW = 0.2, 5
"""Of each class's training images that is held out to choose by, where most classes have at least so many."""
SIDES = (64, 32)
"""The least size of images in pixels, and the step in which sizes are told: what networks halve five times."""
CURVE = (5, 10, 20, 40, 80, 160, 320, 640)
"""Training images of each class that a learning curve is drawn over, as far as there are so many."""
OVERHEAD = 15.0
"""Seconds that go into reading images, the baseline, measuring and the report."""


def settle(
    study: Study, given: Mapping[str, Any], out: Path, *, minutes: float | None = None, curve: bool = False,
    device: str = "auto", fetch: bool = True, split: Split | None = None,
) -> Study:  # fmt: skip
    """The study with all that it leaves open settled, :attr:`~studies.spec.study.Study.notes` saying what and why.

    study    one that is to ``recommend``, with the fields ``given`` replaced, which stay as they are
    out      where it is kept: what was settled there once holds, so that the same command goes on
    minutes  that it may take here; None: :data:`MINUTES`.  curve: over several sizes, if none are given
    fetch    download weights that are not here before anything else
    split    its images, where they are at hand; read again where they are of another size

    The size of the images is that of the weights, or of the pictures where these are smaller. Each run takes
    :data:`PASSES` passes over its images within :data:`STEPS`; a fifth of each class is held out to choose by. What
    does not fit the network is left out, and then, one after another, what the time does not allow.

    Raises any of wdiv's errors.
    """
    if (out / STUDY).exists():
        return _as_begun(study, given, out, minutes)
    if study.data is None:
        raise BadInput(f"study {study.name!r} brings no images: 'wdiv run FOLDER', or give --data FOLDER")
    study, notes = replace(study, notes=()), list[str]()
    for source in sources_of(study) if fetch else ():
        source.fetch()
    for choose in (image_size, _fitting_the_network):
        study, told = choose(study, given)
        notes += told
    if split is None or split.pool.pixels.shape[-1] != _size(study):
        split = open_data(study, _size(study))
    if curve and "per_class" not in given:
        most = int(_training(split).min())
        study = replace(study, per_class=(*(n for n in CURVE if n < most), None))
    for settled in (_held_out, _steps):
        study, told = settled(study, given, split)
        notes += told
    study, told = _within(study, given, split, MINUTES if minutes is None else minutes, device)
    return replace(study, notes=(*notes, *told))


def _as_begun(study: Study, given: Mapping[str, Any], out: Path, minutes: float | None) -> Study:
    """What was settled when the study was begun holds for all that is not given now."""
    held = read_study(out)
    if not held.recommend:
        return study
    told = ["it was planned when it was begun, and goes on so: --minutes counts no more"] if minutes else []
    left = [name for name in study.strategies if name not in held.strategies]
    if left and "strategies" not in given:
        told.append(f"it goes on as it was begun, without {', '.join(left)}; give another --out to compare all")
    kept = replace(held, notes=tuple(dict.fromkeys([*held.notes, *told])))
    return override(kept, {"data": study.data, **given})


def _size(study: Study) -> int:
    """Of the study's images, in pixels."""
    (source, *_) = sources_of(study)
    return source.input.at(study.image_size).size


def image_size(study: Study, given: Mapping[str, Any]) -> tuple[Study, list[str]]:
    """The study with its images of the size of the weights, or of the pictures where these are smaller, unless it is
    ``given``, and why."""
    assert study.data is not None
    wanted = max(source.input.size for source in sources_of(study))
    side = side_of(study.data)
    if "image_size" in given or side >= wanted:
        return study, []
    least, step = SIDES
    size = min(wanted, max(least, step * math.ceil(side / step)))
    why = f"images of {size} pixels: the pictures have {side}, and the weights are of {wanted}"
    return replace(study, image_size=size), [why]


def _fitting_the_network(study: Study, given: Mapping[str, Any]) -> tuple[Study, list[str]]:
    """Without what a network has no layers for."""
    models = [source.model for source in sources_of(study) if source.model is not None]
    found = [(model, layer_table(model, 2, _size(study))) for model in models]
    notes = []
    if "strategies" not in given:
        fits = dict.fromkeys(study.strategies, True)
        for (model, table), name in itertools.product(found, study.strategies):
            try:
                parse(name).check(table, head_layers(model), model.label)
            except BadInput as error:
                fits[name] = False
                notes.append(f"left out: {error}")
        study = replace(study, strategies=tuple(name for name, able in fits.items() if able))
    if "bn_modes" not in given and not any(layer.kind == "bn" for _, table in found for layer in table):
        study = replace(study, bn_modes=("auto",))
        notes.append("the network has no BatchNorm, and so there are no statistics to freeze")
    return study, notes


def _held_out(study: Study, given: Mapping[str, Any], split: Split) -> tuple[Study, list[str]]:
    if "validation" in given:
        return study, []
    sizes = [n or int(np.median(_training(split))) for n in study.per_class]
    if min(sizes) < FEW:
        return replace(study, validation=0.0), [
            f"{min(sizes)} training images a class are too few to hold some out: the test images choose, and flatter"
        ]
    return replace(study, validation=SHARE), [
        f"of each class's training images {SHARE:.0%} are held out: they choose, and the test images judge"
    ]


def _training(split: Split) -> np.ndarray:
    """Images of each class that a run may train on; in folds, of the run that has the fewest."""
    if split.folds is None:
        return split.pool.counts()
    there = [split.pool.take(split.rows_of(fold)[0]).counts() for fold in split.folds.repeat(1)]
    return np.min(there, axis=0)


def _steps(study: Study, given: Mapping[str, Any], split: Split) -> tuple[Study, list[str]]:
    if {"steps", "steps_per_epoch", "epochs"} & given.keys():
        return study, []
    there = _training(split)
    most = max(int(np.minimum(there, size or there.max()).sum()) for size in study.per_class)
    images = most * (1.0 - study.validation)
    return replace(study, steps=_whole(PASSES * images / study.batch_size, study.epochs)), []


def _whole(steps: float, epochs: int) -> int:
    """The steps within what is usual, in equal parts."""
    least, most = STEPS
    return epochs * math.ceil(min(max(steps, least), most) / epochs)


# ------------------------------------------------------------------------------------------------------------ budget


@dataclass(frozen=True)
class _Estimate:
    """Seconds of each run of a study, as it was planned in full."""

    study: Study
    grid: StudyGrid
    seconds: Sequence[float]

    def of(self, study: Study) -> float:
        """Of a part of that study: fewer values on its axes, fewer steps, smaller images."""
        steps = (study.steps or 1) / (self.study.steps or 1)
        pixels = (_size(study) / _size(self.study)) ** 2
        kept = [
            seconds for planned, seconds in zip(self.grid.runs, self.seconds, strict=True)
            if planned.spec.strategy in study.strategies and planned.spec.bn_mode in study.bn_modes
            and planned.spec.seed in study.drawn_seeds and planned.spec.per_class in study.per_class
        ]  # fmt: skip
        return OVERHEAD + sum(kept) * steps * pixels


def _within(
    study: Study, given: Mapping[str, Any], split: Split, minutes: float, device: str
) -> tuple[Study, list[str]]:
    """The study as far as the minutes go, and what they do not reach."""
    if not minutes > 0:
        raise BadInput(f"minutes: a number above 0, or inf for as long as it takes, not {minutes:g}")
    if math.isinf(minutes):
        return study, []
    grid = plan_grid(study, split)
    cost = _Estimate(study, grid, estimate_seconds([planned.spec for planned in grid.runs], split, device))
    whole, notes = cost.of(study), list[str]()
    for lessen in _LESS:
        for less, what in lessen(study, given):
            if cost.of(study) <= 60.0 * minutes:
                break
            study, notes = less, [*notes, what]
    if not notes:
        return study, []
    left = cost.of(study) / 60.0
    told = (
        f"for {minutes:g} minutes: {', '.join(notes)}; all of it would take about {max(1, round(whole / 60))} minutes"
    )
    return study, [told if left <= minutes else f"{told}, and what is left about {math.ceil(left)}"]


Less = Iterator[tuple[Study, str]]


def _fewer_steps(study: Study, given: Mapping[str, Any]) -> Less:
    least = STEPS[0]
    while study.steps is not None and study.steps > least and not {"steps", "epochs"} & given.keys():
        study = replace(study, steps=_whole(study.steps / 2, study.epochs))
        yield study, f"{study.steps} steps a run"


def _one_mode(study: Study, given: Mapping[str, Any]) -> Less:
    if "batch" in study.bn_modes and len(study.bn_modes) > 1 and "bn_modes" not in given:
        yield replace(study, bn_modes=tuple(m for m in study.bn_modes if m != "batch")), "no batch statistics"


def _fewer_sizes(study: Study, given: Mapping[str, Any]) -> Less:
    while len(study.per_class) > 2 and "per_class" not in given:
        study = replace(study, per_class=study.per_class[1:])
        yield study, f"no {study.per_class[0]} images a class"


def _fewer_seeds(study: Study, given: Mapping[str, Any]) -> Less:
    if len(study.seeds) > 2 and "seeds" not in given:
        yield replace(study, seeds=study.seeds[:2]), "2 seeds"


def _without(strategy: str) -> Callable[[Study, Mapping[str, Any]], Less]:
    def less(study: Study, given: Mapping[str, Any]) -> Less:
        if strategy in study.strategies and len(study.strategies) > 1 and "strategies" not in given:
            yield replace(study, strategies=tuple(s for s in study.strategies if s != strategy)), f"no {strategy}"

    return less


def _smaller_images(study: Study, given: Mapping[str, Any]) -> Less:
    least, step = SIDES
    size = _size(study)
    while size > 2 * least and "image_size" not in given:
        size = max(2 * least, step * (round(0.7 * size) // step))
        yield replace(study, image_size=size), f"images of {size} pixels"


_LESS = (
    _fewer_steps, _without("conv+fc"), _one_mode, _fewer_sizes, _fewer_seeds, _smaller_images, _without("bn+fc"),
)  # fmt: skip
"""What is left out where time is short, first what tells least."""
