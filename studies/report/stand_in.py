"""Where a study's images cannot be opened, the proxy of output_change stands in for it, and is called so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from studies.spec.study import Study
from wdiv.cache.measures import measured
from wdiv.errors import NoOutputs
from wdiv.store.reader import CheckpointStore

__all__ = ["with_proxy"]

MEASURE = "output_change"
PROXY = "output_change_proxy"
ASKS = ("metrics", "claims", "tables", "figures")
"""Fields of a study that say what is measured."""


def with_proxy(study: Study, stores: Iterable[CheckpointStore], reference: str | int) -> tuple[Study, list[str]]:
    """The study as it can be reported, and what is to be said of that.

    Where output_change can be measured in every store, it is, and the study is as it was. Else all that asks for it
    asks for its proxy: no table has one for some runs and the other for others.
    """
    if MEASURE not in study.metrics:
        return study, []
    try:
        for store in stores:
            for label in store.by_label():
                measured(store, MEASURE, reference, label)
    except NoOutputs as error:
        return replace(study, **{name: _stood_in(getattr(study, name)) for name in ASKS}), [
            f"{PROXY} stands in for {MEASURE}: {error}"
        ]
    return study, []


def _stood_in(value: Any) -> Any:
    if isinstance(value, str):
        return PROXY if value == MEASURE else value
    if isinstance(value, Mapping):
        return {key: _stood_in(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map(_stood_in, value))
    if is_dataclass(value) and not isinstance(value, type):
        found = {field.name: _stood_in(getattr(value, field.name)) for field in fields(value) if field.init}
        return replace(value, **{name: new for name, new in found.items() if new != getattr(value, name)})
    return value
