"""One mapping from a name to its frozen record: the only list of those names there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol, TypeVar

from wdiv.errors import UnknownName

__all__ = ["Registry", "did_you_mean"]


MANY = 12
"""Names that an error message lists at most."""


class Named(Protocol):
    @property
    def name(self) -> str: ...


R = TypeVar("R", bound=Named)


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The tail of an error message that points at the nearest known names.

    >>> did_you_mean("gausian_kl", ["gaussian_kl", "cosine_distance"])
    "did you mean 'gaussian_kl'?"
    >>> did_you_mean("zzz", ["fc", "bn+fc"])
    'known: bn+fc, fc'
    """
    known = sorted(set(names))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    shown = known if len(known) <= MANY else [*known[:MANY], "…"]
    return "known: " + ", ".join(shown)


class Registry(Mapping[str, R]):
    """A read-mostly mapping of records that have a ``name``.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Fruit:
    ...     name: str
    >>> fruits = Registry("fruit", [Fruit("apple"), Fruit("pear")])
    >>> fruits["aple"]
    Traceback (most recent call last):
    wdiv.errors.UnknownName: unknown fruit 'aple'; did you mean 'apple'?
    """

    def __init__(self, noun: str, records: Iterable[R] = ()) -> None:
        self.noun = noun
        self._records: dict[str, R] = {}
        for record in records:
            self.add(record)

    def add(self, record: R) -> R:
        """Enter a record; a second record of the same name is a bug and raises ``ValueError``."""
        if record.name in self._records:
            raise ValueError(f"{self.noun} {record.name!r} is registered twice")
        self._records[record.name] = record
        return record

    def __getitem__(self, name: str) -> R:
        try:
            return self._records[name]
        except KeyError:
            raise UnknownName(f"unknown {self.noun} {name!r}; {did_you_mean(name, self._records)}") from None

    def __contains__(self, name: object) -> bool:
        """Without the error message of :meth:`__getitem__`, which looks for the nearest name."""
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)
