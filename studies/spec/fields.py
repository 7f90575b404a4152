"""Frozen records from plain data, as TOML and JSON have it: unknown keys and wrong kinds of value are errors."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeVar

from wdiv.errors import BadInput
from wdiv.registry import did_you_mean

__all__ = ["check", "entry_kind", "fitting", "is_axis", "needed", "record"]

R = TypeVar("R")


@cache
def _kinds(cls: type) -> Mapping[str, Any]:
    return typing.get_type_hints(cls)


def record(cls: type[R], values: Any, where: str) -> R:
    """A frozen record of plain ``values``. ``where`` names the place in an error's line, as ``[pretrain]``.

    Raises :class:`~wdiv.errors.BadInput` for what is no table, unknown keys (with a did-you-mean), missing ones, and
    values of another kind.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Pot:
    ...     tea: str
    ...     cups: int = 1
    >>> record(Pot, {"tea": "green"}, "[pot]")
    Pot(tea='green', cups=1)
    """
    if isinstance(values, cls):
        return values
    if not isinstance(values, Mapping):
        raise BadInput(f"{where}: {cls.__name__}, not {values!r}")
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise BadInput(f"unknown key {key!r} in {where}; {did_you_mean(str(key), known)}")
    given = {key: fitting(cls, key, value, where) for key, value in values.items()}
    if missing := needed(cls) - values.keys():
        raise BadInput(f"{where} needs {', '.join(sorted(missing))}")
    return cls(**given)


def needed(cls: type) -> set[str]:
    """The fields of a record that have no usual value."""
    return {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING}


def entry_kind(cls: type, key: str) -> Any:
    """What a field that is a tuple of any length holds."""
    return typing.get_args(_kinds(cls)[key])[0]


def is_axis(cls: type, key: str) -> bool:
    """True for a field that is a tuple of any length."""
    return typing.get_origin(_kinds(cls)[key]) is tuple


def fitting(cls: type, key: str, value: Any, where: str = "") -> Any:
    """The value as the field of the record wants it: lists as tuples. Raises :class:`~wdiv.errors.BadInput`."""
    kind, name = _kinds(cls)[key], f"{where} {key}".strip()
    if is_axis(cls, key):
        one = entry_kind(cls, key)
        entries = value if isinstance(value, (list, tuple)) else (value,)
        entries = tuple(_nested(one, entry, f"[[{key}]]{_called(entry)}") for entry in entries)
        for entry in entries:
            check(name, entry, one, f"a list of {{}}, with {entry!r} in it")
        return entries
    value = _nested(kind, value, f"[{key}]")
    check(name, value, kind, f"{{}}, not {value!r}")
    return value


def _nested(kind: Any, value: Any, where: str) -> Any:
    """A table becomes a record, where the field is one."""
    inner = next((one for one in _options(kind) if is_dataclass(one)), None)
    if inner is None or not isinstance(value, Mapping):
        return value
    own = getattr(inner, "from_mapping", None)  # of a record that has more to say of its keys
    return record(inner, value, where) if own is None else own(value)  # type: ignore[arg-type]


def _called(entry: Any) -> str:
    return f" {entry['name']!r}" if isinstance(entry, Mapping) and "name" in entry else ""


def check(name: str, value: Any, kind: Any, words: str) -> None:
    """Raise :class:`~wdiv.errors.BadInput` for a value that is not of the kind."""
    if not _fits(value, kind):
        raise BadInput(f"{name}: {words.format(_spelled(kind))}")


def _options(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    return typing.get_args(kind) if union else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    for one in _options(kind):
        plain = typing.get_origin(one) or one
        if plain is Any:
            return True
        if isinstance(value, bool) and plain is not bool:
            continue
        wider = {float: (int, float), tuple: (list, tuple)}  # TOML has no tuples, and 1 for 1.0
        if isinstance(value, wider.get(plain, plain)):
            return True
    return False


def _spelled(kind: Any) -> str:
    names = [getattr(typing.get_origin(one) or one, "__name__", str(one)) for one in _options(kind)]
    return " | ".join(name for name in names if name != "NoneType")
