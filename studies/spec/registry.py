"""The studies by name: those that come with wdiv, and anybody's TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from studies import (
    chadha2020,
    gupta2020,
    gupta2020_networks,
    gupta2020_subsets,
    li2020,
    neychev2017,
    peng2020,
    quickstart,
)
from studies.spec.study import Study, override
from wdiv.errors import BadInput
from wdiv.registry import Registry
from wdiv.store.files import read_toml

__all__ = ["OF_DATA", "STUDIES", "load"]

OF_DATA = ("classes", "test_count", "test_fraction")
"""Fields that say which of the images are taken, and mean those of ``data``."""
STUDIES: Registry[Study] = Registry("study", [
    *(_file.STUDY for _file in (
    chadha2020, gupta2020, gupta2020_networks, gupta2020_subsets, li2020, neychev2017, peng2020, quickstart,
)),
])  # fmt: skip


def load(name: str, scale: str = "paper", values: Mapping[str, Any] = MappingProxyType({})) -> Study:
    """A registered study, or one from a TOML file; at ``mini`` scale with the fields that say so replaced.

    values  fields to replace, as :func:`override` does. What a mini says of its own images (:data:`OF_DATA`) is left
            out where they name others

    Raises :class:`~wdiv.errors.BadInput`, also where there is no mini, and ``UnknownName``.
    """
    study = _from_toml(Path(name)) if Path(name).suffix == ".toml" else STUDIES[name]
    if scale == "paper":
        return override(study, values) if values else study
    if not study.mini:
        of_a_file = "; give it a table [mini]" if Path(name).suffix == ".toml" else ""
        have = ", ".join(study.name for study in STUDIES.values() if study.mini)
        raise BadInput(f"study {study.name!r} has no mini scale{of_a_file}; those that have: {have}")
    small = {key: value for key, value in study.mini.items() if "data" not in values or key not in OF_DATA}
    return override(override(replace(study, mini={}), small), values)


def _from_toml(path: Path) -> Study:
    data = read_toml(path, "study file", BadInput)
    try:
        return override(Study(str(data.pop("name", path.stem))), data)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
