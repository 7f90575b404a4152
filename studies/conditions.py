"""A study's conditions, each an ordinary study in an ordinary store of its own, beneath the study's folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from studies.study import Study, override
from wdiv.cache import plain_name
from wdiv.errors import BadInput, BadStore
from wdiv.store.files import read_json

__all__ = ["Part", "parts", "stores"]


@dataclass(frozen=True)
class Part:
    """One condition (``""`` where the study has none), its study, its store, and where its source networks are."""

    condition: str
    study: Study
    out: Path
    sources: Path


def parts(study: Study, out: Path) -> tuple[Part, ...]:
    """What a study consists of. Conditions that start from the same source networks share them.

    Raises :class:`~wdiv.errors.BadInput` where ``out`` holds the same study without conditions, or the other way round.
    """
    if (out / "study.json").exists() and ("" in stores(out)) != (not study.conditions):
        held = "without" if study.conditions else "with"
        raise BadInput(f"{out}: holds a study {held} conditions; give another --out")
    if not study.conditions:
        return (Part("", study, out, out / "source"),)
    found = []
    for condition in study.conditions:
        alone = override(bare(study), condition.values)
        start = "" if alone.pretrain is None else plain_name(alone.pretrain.title)
        found.append(Part(condition.name, alone, out / condition.name, out / "sources" / start))
    return tuple(found)


def bare(study: Study) -> Study:
    """The study as one grid."""
    return replace(study, conditions=(), mini={})


def stores(out: Path) -> dict[str, Path]:
    """The stores of a study's folder by condition; the folder itself, as ``""``, where there is none.

    Raises :class:`~wdiv.errors.BadStore` for a folder that is not there.
    """
    if not out.is_dir():
        raise BadStore(f"{out}: no such folder")
    file = out / "study.json"
    names = read_json(file).get("conditions", []) if file.exists() else []
    return {str(name): out / str(name) for name in names} or {"": out}
