"""A study's conditions, each an ordinary study in an ordinary store of its own, beneath the study's folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.grid.study_file import STUDY, told_by
from wdiv.errors import BadInput, BadStore
from wdiv.store.files import plain_name
from wdiv.store.reader import CheckpointStore

if TYPE_CHECKING:
    from studies.spec.study import Study

__all__ = ["Part", "begun", "parts", "stores"]


@dataclass(frozen=True)
class Part:
    """One condition (``""`` where the study has none), its study, its store, and where its source networks are."""

    condition: str
    study: Study
    out: Path
    sources: Path


def parts(study: Study, out: Path) -> tuple[Part, ...]:
    """What a study consists of. Conditions that start from the same source networks share them.
    The folders of those that differ have the condition's name, from the second on.

    Raises :class:`~wdiv.errors.BadInput` where ``out`` holds the same study without conditions, or the other way round.
    """
    from studies.spec.study import override

    if (out / STUDY).exists() and ("" in stores(out)) != (not study.conditions):
        held = "without" if study.conditions else "with"
        raise BadInput(f"{out}: holds a study {held} conditions; give another --out")
    if not study.conditions:
        return (Part("", study, out, out / "source"),)
    found: list[Part] = []
    owners: dict[str, tuple[Any, ...]] = {}  # folder of source networks -> what they depend on besides their model
    for condition in study.conditions:
        alone = override(bare(study), condition.values)
        start = "" if alone.pretrain is None else plain_name(alone.pretrain.title)
        how = (alone.pretrain, alone.image_size, alone.split_seed)
        if start and owners.setdefault(start, how) != how:
            start = f"{start}-{condition.name}"
        found.append(Part(condition.name, alone, out / condition.name, out / "sources" / start))
    return tuple(found)


def bare(study: Study) -> Study:
    """The study as one grid."""
    return replace(study, conditions=(), mini={})


def stores(out: Path) -> dict[str, CheckpointStore]:
    """The stores of a study's folder by condition; the folder itself, as ``""``, where there is none.

    Raises :class:`~wdiv.errors.BadStore` for a folder that is not there.
    """
    if not out.is_dir():
        raise BadStore(f"{out}: no such folder")
    folders = {name: out / name for name in told_by(out)["conditions"]} or {"": out}
    return {name: CheckpointStore.at(path) for name, path in folders.items()}


def begun(out: Path) -> dict[str, CheckpointStore]:
    """Those of :func:`stores` that hold a run or a baseline."""
    return {
        name: store for name, store in stores(out).items()
        if any(store.path.glob("runs/*/run.json")) or any(store.path.glob("baselines/[!.]*.json"))
    }  # fmt: skip
