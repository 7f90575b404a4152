"""The studies by name: those that come with wdiv, and anybody's TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from studies import (
    chadha2020,
    compare_strategies,
    gupta2020,
    gupta2020_networks,
    gupta2020_subsets,
    li2020,
    neychev2017,
    peng2020,
    quickstart,
)
from studies.spec.study import Study, override
from wdiv.errors import BadInput, UnknownName
from wdiv.registry import Registry
from wdiv.store.files import read_toml
from wdiv.tuning.data.datasets import DATASETS

__all__ = ["BASE", "OF_DATA", "OWN", "STUDIES", "load", "named_in", "names_images"]

OWN = "compare-strategies"
"""The study of one's own images."""
BASE = "base"
"""In a study file: the registered study whose fields the others replace."""
OF_DATA = ("classes", "test_count", "test_fraction", "folds", "repeats")
"""Fields that say which of the images are taken, and mean those of ``data``."""
STUDIES: Registry[Study] = Registry("study", [
    *(_file.STUDY for _file in (
    chadha2020, compare_strategies, gupta2020, gupta2020_networks, gupta2020_subsets, li2020, neychev2017, peng2020,
    quickstart,
)),
])  # fmt: skip


def load(name: str, scale: str = "paper", values: Mapping[str, Any] = MappingProxyType({})) -> Study:
    """A registered study, or one from a TOML file; at ``mini`` scale with the fields that say so replaced.

    A folder of images, and a data set's name, stand for :data:`OWN` on those images.

    values  fields to replace, as :func:`override` does. What a mini says of its own images (:data:`OF_DATA`) is left
            out where they name others

    Raises :class:`~wdiv.errors.BadInput`, also where there is no mini, and ``UnknownName``.
    """
    if names_images(name):
        name, values = OWN, {"data": name, **values}
    study = _from_toml(Path(name)) if Path(name).suffix == ".toml" else STUDIES[name]
    if scale == "paper":
        return override(study, values) if values else study
    if not study.mini:
        of_a_file = "; give it a table [mini]" if Path(name).suffix == ".toml" else ""
        have = ", ".join(study.name for study in STUDIES.values() if study.mini)
        raise BadInput(f"study {study.name!r} has no mini scale{of_a_file}; those that have: {have}")
    small = {key: value for key, value in study.mini.items() if "data" not in values or key not in OF_DATA}
    return override(override(replace(study, mini={}), small), values)


def names_images(name: str) -> bool:
    """True for a folder of images or a data set, in place of a study.

    >>> names_images("digits"), names_images("peng2020")
    (True, False)
    """
    return name not in STUDIES and (name in DATASETS or Path(name).is_dir())


def named_in(name: str) -> dict[str, Any]:
    """The fields that a TOML file gives, as it gives them; none of a study that is no file."""
    found = _read(Path(name)) if Path(name).suffix == ".toml" and not names_images(name) else {}
    return {key: value for key, value in found.items() if key not in ("name", BASE)}


def _from_toml(path: Path) -> Study:
    data = _read(path)
    try:
        base = data.pop(BASE, None)
        if base is None:
            return override(Study(str(data.pop("name", path.stem))), data)
        return override(STUDIES[str(base)], data)
    except (BadInput, UnknownName) as error:
        raise BadInput(f"{path}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    return dict(read_toml(path, "study file", BadInput))
