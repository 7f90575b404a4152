"""What a store says of the study that it holds."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput, BadStore, LeftOut, WdivError
from wdiv.store.files import one_at_a_time
from wdiv.store.seals import read_sealed, write_sealed

if TYPE_CHECKING:
    from studies.spec.study import Study
    from wdiv.tuning.training.run_spec import RunSpec

__all__ = [
    "STUDY",
    "facts_of",
    "lost",
    "merge_axes",
    "read_study",
    "read_study_json",
    "told_by",
    "update_study_json",
    "write_study_json",
]

STUDY = "study.json"
FORMAT = 2
"""Sealed from 2 on."""
FILE_FIELDS = {"study": dict, "runs": list, "facts": dict, "conditions": list, "notes": list}
"""What the file tells, and as what. ``facts`` are :func:`facts_of` the runs that are planned."""
LEFT = ("runs/*/history.jsonl", "baselines/[!.]*.json", f"*/{STUDY}")
"""What a study leaves: runs that were trained, baselines, conditions."""
FREE = ("keep", "metrics", "reference", "title", "source", "paper", "mini", "claims", "tables", "figures", "notes")
"""Fields of a study that may change from one time to the next."""
PATHS = ("data", "weights")
"""Fields that are told by their last part: a folder looks different from another folder, and runs check its content."""
STEPS = ("steps", "steps_per_epoch")
"""Fields that say one thing in two ways: what counts is how many steps an epoch comes to."""
AXES = ("models", "per_class", "strategies", "bn_modes", "seeds", "baselines", "conditions")
"""Fields that grow when a study is run again."""


def read_study_json(out: Path) -> dict[str, Any]:
    """What ``study.json`` says, :data:`FILE_FIELDS`, empty where it says nothing of them.

    Raises :class:`~wdiv.errors.BadStore` for a file that is damaged, or a later wdiv's.
    """
    file = out / STUDY
    if not file.exists():
        return _nothing()
    data = read_sealed(file, FORMAT, before=1)
    found = {name: data.get(name, kind()) for name, kind in FILE_FIELDS.items()}
    for name, kind in FILE_FIELDS.items():
        value = found[name]
        if not isinstance(value, kind) or (kind is list and not all(isinstance(one, str) for one in value)):
            raise BadStore(f"{file}: damaged: {name!r} is {value!r}")
    for run, facts in found["facts"].items():
        if not isinstance(facts, dict) or not all(isinstance(fact, (str, int, type(None))) for fact in facts.values()):
            raise BadStore(f"{file}: damaged: the facts of {run!r} are {facts!r}")
    return found


def told_by(out: Path) -> dict[str, Any]:
    """:func:`read_study_json` for whoever only looks on: of a damaged file nothing is known, with a warning."""
    try:
        return read_study_json(out)
    except BadStore as error:
        warnings.warn(f"what was planned is not known: {error}", LeftOut, stacklevel=2)
        return _nothing()


def _nothing() -> dict[str, Any]:
    return {name: kind() for name, kind in FILE_FIELDS.items()}


def write_study_json(out: Path, told: Mapping[str, Any]) -> None:
    """Let ``study.json`` say this, in the fields that :func:`read_study_json` gives back, and what else there is."""
    write_sealed(out / STUDY, {"format": FORMAT, **told})


def update_study_json(out: Path, tell: Callable[[], Mapping[str, Any]]) -> None:
    """Let ``study.json`` say what ``tell`` makes of what it says; of two processes that do, one waits for the other."""
    with one_at_a_time(out / STUDY):
        write_study_json(out, tell())


def facts_of(spec: RunSpec, dataset: str) -> dict[str, Any]:
    """What is known of a run before it begins, under the names that its own ``run.json`` will have for it."""
    return {
        "label": spec.label, "dataset": dataset, "per_class": spec.per_class, "strategy": spec.parsed.name,
        "bn_mode": spec.bn_mode, "seed": spec.seed,
    }  # fmt: skip


def read_study(out: Path) -> Study:
    """The study that was run into a folder. Raises :class:`~wdiv.errors.BadStore` where there is none or it is damaged.

    Fields that wdiv did not have yet when it was written have their usual values.
    """
    from studies.spec.study import (  # brings scikit-learn along, for which a look at a store need not wait
        Study,
        override,
    )

    file = out / STUDY
    if not file.exists():
        raise BadStore(lost(out) or f"{out}: not the folder of a study; it has no {STUDY}")
    fields = dict(read_study_json(out)["study"])
    if not fields:
        raise BadStore(f"{file}: damaged: it tells no study")
    try:
        return override(Study(str(fields.pop("name", out.name))), fields)
    except WdivError as error:
        raise BadStore(f"{file}: damaged, or of another version of wdiv: {error}") from None


def lost(out: Path) -> str | None:
    """What to do about a ``study.json`` that is missing beside what a study leaves; None where nothing is missing."""
    if (out / STUDY).exists() or not any(any(out.glob(left)) for left in LEFT):
        return None
    again = f"'wdiv run STUDY --out {out}', as at first, writes it again and leaves finished runs as they are"
    return f"{out / STUDY}: missing, so that which study this is and what was planned is not known; {again}"


def merge_axes(study: Study, out: Path) -> dict[str, Any]:
    """The study as plain data, its axes grown by what was run into ``out`` before.

    Raises :class:`~wdiv.errors.BadInput` where anything else is not as it was then.
    """
    new = _plain(study)
    if not (out / STUDY).exists():
        return new
    held = read_study(out)
    before = _plain(held)
    fixed = [key for key in new if key not in AXES and key not in FREE]
    changed = [key for key in fixed if _told(key, before[key]) != _told(key, new[key])]
    if held.recipe.steps_per_epoch == study.recipe.steps_per_epoch:
        changed = [key for key in changed if key not in STEPS]
    if "epochs" in changed and study.epochs > held.epochs:
        _check_more_epochs(held, study, before, new, out)
        changed.remove("epochs")
    if changed:
        what = ", ".join(f"{key} {before[key]!r}, now {new[key]!r}" for key in changed)
        passes = (
            ", or --passes, as it was made by" if held.recipe.steps_per_epoch is None and "steps" in changed else ""
        )
        raise BadInput(f"{out}: holds this study with {what}; give another --out{passes}")
    for axis in AXES:
        new[axis] = [*before[axis], *(one for one in new[axis] if one not in before[axis])]
    conditions = {one["name"]: one["values"] for one in before["conditions"]}
    for one in new["conditions"]:
        if (old := conditions.get(one["name"], one["values"])) != one["values"]:
            raise BadInput(
                f"{out}: holds condition {one['name']!r} with {old!r}, now {one['values']!r}; give another --out"
            )
    return new


def _check_more_epochs(held: Study, study: Study, before: Mapping[str, Any], new: Mapping[str, Any], out: Path) -> None:
    """More epochs are more of the same, of all runs that are there. Whether a run can go on is its own matter."""
    each, now = held.recipe.steps_per_epoch, study.recipe.steps_per_epoch
    if each != now:
        what = "a pass over the images" if each is None else f"{each} steps"
        give = "--passes" if each is None else f"--steps {study.epochs * each}"
        raise BadInput(f"{out}: an epoch of its runs is {what}, and now would be another; give --epochs with {give}")
    lacking = ", ".join(f"{axis} {one!r}" for axis in AXES for one in before[axis] if one not in new[axis])
    if lacking:
        told = f"epochs {held.epochs}, now {study.epochs}"
        raise BadInput(f"{out}: {told}: all its runs go on together; give {lacking} too, or give another --out")


def _plain(study: Study) -> dict[str, Any]:
    """As a file has it: tuples are lists there."""
    found: dict[str, Any] = json.loads(json.dumps(study.to_json()))
    return found


def _told(field: str, value: Any) -> Any:
    return Path(value).name if field in PATHS and isinstance(value, str) else value
