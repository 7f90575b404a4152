"""Advice on images before anything is trained, as a study of them that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from baselines.advice import Advice, Findings, advise, larger_images, look, more_images
from baselines.advice.toml import advised_fields, as_study
from studies.grid.frozen_features import Frozen, open_frozen
from studies.grid.planning import open_data, plan_grid
from studies.grid.runner import describe_grid
from studies.grid.settling import image_size, settle
from studies.spec.registry import OWN, STUDIES, load
from studies.spec.study import Study
from wdiv.tuning.data.datasets import DATASETS, open_split, side_of
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.sources import names_model

__all__ = ["Advised", "Cost", "advise_on"]


@dataclass(frozen=True)
class Cost:
    """Of what is advised: how many runs, about how long, how much on disk."""

    runs: int
    seconds: float
    bytes: int


@dataclass(frozen=True)
class Advised:
    """What is to be done.

    given   fields of the study of one's own images that were chosen, by the user or by what was found
    fields  those, and what is advised: a run of them does it
    text    the same as a study file
    notes   on the images
    cost    of training it; None where nothing is to be trained
    """

    found: Findings
    advice: Advice
    given: Mapping[str, Any]
    fields: Mapping[str, Any]
    text: str
    notes: tuple[str, ...]
    cost: Cost | None


def advise_on(data: str, chosen: Mapping[str, Any], *, device: str = "auto", of_source: str | None = None) -> Advised:
    """Look at images through a frozen network and say what to do.

    data       a data set's name or a folder
    chosen     fields of the study :data:`~studies.spec.registry.OWN` that replace its own
    of_source  images such as the source was trained on

    Larger images are taken where they surely gain and no size was chosen. Raises any of wdiv's errors.
    """
    start = {name: getattr(STUDIES[OWN], name) for name in ("models", "weights")} | dict(chosen)
    if names_model(str(start["weights"])) and "models" not in chosen:
        del start["models"]
    given = {"data": as_argument(data), **start}
    study, _ = image_size(load(OWN, values=given), given)
    frozen = open_frozen(study)
    found = look(
        frozen.source, frozen.split, per_class=study.per_class[0], seed=study.seeds[0], device=device,
        of_source=None if of_source is None else open_split(of_source, frozen.size).pool,
    )  # fmt: skip
    found = replace(found, outlook=_outlook(study, frozen, device))
    larger, _ = found.outlook
    if larger.sure and "image_size" not in chosen:
        given["image_size"] = larger.at
    advice = advise(found)
    fields = advised_fields(advice, given)
    cost = _cost(fields, frozen.split, device) if advice.trains else None
    return Advised(found, advice, given, fields, as_study(advice, given, OWN), frozen.notes, cost)


def as_argument(data: str) -> str:
    """What ``wdiv run`` takes for these images: a folder called like a study, or like an option, is told from it.

    >>> as_argument("digits"), as_argument("photos"), as_argument("quickstart")
    ('digits', 'photos', './quickstart')
    """
    return f"./{data}" if data not in DATASETS and (data in STUDIES or data.startswith("-")) else data


def _outlook(study: Study, frozen: Frozen, device: str) -> tuple[Any, Any]:
    assert study.data is not None
    how: dict[str, Any] = {"per_class": study.per_class[0], "seed": study.seeds[0], "device": device}
    return (
        larger_images(frozen.source, frozen.split, lambda size: open_data(study, size), side_of(study.data), **how),
        more_images(frozen.source, frozen.split, **how),
    )


def _cost(fields: Mapping[str, Any], split: Split, device: str) -> Cost:
    """As a dry run tells it."""
    with TemporaryDirectory() as empty:
        out = Path(empty) / "none"
        study = settle(load(OWN, values=fields), fields, out, device=device, fetch=False, split=split)
        size = study.image_size or split.pool.pixels.shape[-1]
        plan = describe_grid(plan_grid(study, split if size == split.pool.pixels.shape[-1] else None), out, device)
    return Cost(len(plan["runs"]), plan["seconds"], plan["bytes"])
