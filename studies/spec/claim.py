"""What a document says, as data: a comparison of two sides of the results, and which way it should come out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from studies.spec.columns import SELECTABLE, SIZES, selector
from studies.spec.fields import record
from wdiv.errors import BadInput
from wdiv.registry import did_you_mean

__all__ = ["CELLS", "DIRECTIONS", "LEVEL", "SCALES", "THAN", "Claim", "Selectors"]

DIRECTIONS = ("more", "less", "same")
SCALES = ("difference", "ratio")
THAN = ("mean", "each", "best", "worst")
CELLS = ("average", "each", "most")
LEVEL = 0.05
"""The false discovery rate among the claims of a report that are decided; and, apart from it, among their cells."""

Selectors = Mapping[str, str | tuple[str, ...]]
"""Column of the observations -> the value, or the values, that its rows shall have."""


@dataclass(frozen=True)
class Claim:
    """``left`` is more than ``right``, or less, or the same.

    name       lower-case words joined by hyphens;  text: one sentence, as the document says it;  where: its place there
    left, right, of   selectors of each side, and of both. A size may be one of :data:`SIZES`. Where none names a
               measure, it is ``accuracy``. What neither side names is paired: rows that agree in it are compared, and
               each combination of it, seeds apart, is a cell
    direction  of the left side against the right: ``more``, ``less`` or ``same``
    than       where a side names several values, which of them counts: their ``mean``, ``each`` (the claim must be
               true of every one), the ``best`` (the greatest) or the ``worst`` (the least)
    cells      where there are several, what the claim is about: their ``average``; ``each``, as ``same`` always is;
               or ``most``: more than half of them, counted
    margin     of ``same``, in the claim's scale: how far apart still is the same (0.01: a point; in ratios 1.2: a fifth
               more, or as much less)
    scale      ``difference``, or ``ratio``: values are compared by their logarithms
    over       a strategy: each value counts as its gain above that strategy, all else equal; or two, for left and right
    question   of the document, that the claim answers

    >>> claim = Claim("bn-helps", "Tuning BN beats the classifier alone.", "table 3",
    ...               {"strategy": "bn+fc"}, {"strategy": "fc"}, "more", of={"per_class": "smallest"})
    >>> claim.side("left")
    {'measure': ('accuracy',), 'per_class': ('smallest',), 'strategy': ('bn+fc',)}
    >>> Claim.from_mapping(claim.to_json()) == claim
    True

    Raises :class:`~wdiv.errors.BadInput` for whatever could not be judged.
    """

    name: str
    text: str
    where: str
    left: Selectors = field(hash=False)
    right: Selectors = field(hash=False)
    direction: str
    of: Selectors = field(default_factory=dict, hash=False)
    margin: float | None = None
    scale: str = "difference"
    over: str | tuple[str, ...] = ""
    question: str = ""
    than: str = "mean"
    cells: str = ""

    def __post_init__(self) -> None:
        for key in ("name", "text", "where", "question"):
            if not isinstance(getattr(self, key), str):
                raise self._bad(f"{key} is text, not {getattr(self, key)!r}")
            object.__setattr__(self, key, " ".join(getattr(self, key).split()))  # of several lines it makes no table
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise self._bad("the name is lower-case words joined by hyphens, such as 'bn-helps'")
        if not self.text.strip():
            raise self._bad("the text is empty; give the sentence that is claimed")
        for key in ("left", "right", "of"):
            object.__setattr__(self, key, self._selectors(key))
        if not self.cells:
            object.__setattr__(self, "cells", self._usual_cells)
        for key, allowed in (("direction", DIRECTIONS), ("scale", SCALES), ("than", THAN), ("cells", CELLS)):
            if getattr(self, key) not in allowed:
                raise self._bad(f"{key} is one of {', '.join(allowed)}, not {getattr(self, key)!r}")
        if not isinstance(self.over, (str, tuple, list)):
            raise self._bad(f"over is text, not {self.over!r}")
        if self.over:
            over = selector("strategy", self.over, f"claim {self.name!r}: over")
            if len(over) > 2:
                raise self._bad(f"over is a strategy, or two, for left and right, not {len(over)}")
            object.__setattr__(self, "over", over[0] if len(over) == 1 else over)
        else:
            object.__setattr__(self, "over", "")
        self._check_sides()
        self._check_margin()
        if self.direction == "same" and (self.than in ("best", "worst") or self.cells == "average"):
            raise self._bad("'same' is of each, or of the mean, and of each cell: effects that cancel are not equal")

    @property
    def _usual_cells(self) -> str:
        return "each" if self.direction == "same" else "average"

    def _bad(self, what: str) -> BadInput:
        return BadInput(f"claim {self.name!r}: {what}")

    def _selectors(self, key: str) -> dict[str, str | tuple[str, ...]]:
        given = getattr(self, key)
        if not isinstance(given, Mapping):
            raise self._bad(f"{key} is a table of columns and values, not {given!r}")
        found: dict[str, str | tuple[str, ...]] = {}
        for column, value in given.items():
            if column not in SELECTABLE:
                raise self._bad(f"unknown column {column!r} in {key}; {did_you_mean(str(column), SELECTABLE)}")
            values = selector(column, value, f"claim {self.name!r}: {key}.{column}", SIZES)
            found[column] = values[0] if len(values) == 1 else values
        return found

    def _check_sides(self) -> None:
        for key in ("left", "right"):
            twice = sorted(set(self.of) & set(getattr(self, key)))
            if twice:
                raise self._bad(f"{twice[0]!r} stands in 'of', which is for both sides, and in {key!r}")
        left, right = self.side("left"), self.side("right")
        if not any(set(left[column]).isdisjoint(right[column]) for column in left.keys() & right.keys()):
            raise self._bad("left and right overlap; name a column in both, with other values in each")

    def _check_margin(self) -> None:
        if (self.margin is not None) != (self.direction == "same"):
            raise self._bad("'same' needs a margin" if self.margin is None else "only 'same' has a margin")
        if self.margin is None:
            return
        least = 1 if self.scale == "ratio" else 0
        number = isinstance(self.margin, (int, float)) and not isinstance(self.margin, bool)
        if not (number and least < self.margin < math.inf):
            raise self._bad(f"margin is a number above {least} for a {self.scale}, not {self.margin!r}")

    def side(self, side: str) -> dict[str, tuple[str, ...]]:
        """All selectors of ``left`` or ``right``, those of both and the measure among them."""
        given = {"measure": "accuracy", **self.of, **getattr(self, side)}
        return {column: (value,) if isinstance(value, str) else value for column, value in given.items()}

    @property
    def over_sides(self) -> tuple[str, str]:
        """The strategies above which a gain counts, of the left side and of the right; empty where values count."""
        both = (self.over, self.over) if isinstance(self.over, str) else self.over
        return both[0], both[1]

    @property
    def measures(self) -> tuple[str, ...]:
        """What is compared."""
        return tuple(dict.fromkeys((*self.side("left")["measure"], *self.side("right")["measure"])))

    @property
    def compared(self) -> frozenset[str]:
        """The columns that ``left`` or ``right`` names: in all others, what is compared agrees.

        A condition may bring its own images: where conditions are compared, their data sets are too.
        """
        named = frozenset({*self.left, *self.right})
        return named | {"dataset"} if "condition" in named else named

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Claim:
        """A claim from a table of TOML or JSON; unknown and missing keys are errors. ``where`` may be left out."""
        called = f"claim {data['name']!r}" if "name" in data else "a claim"
        return record(cls, {"where": "", **data}, called)

    def to_json(self) -> dict[str, Any]:
        """Plain tables and lists; what is not given is left out, and what is as usual."""
        found: dict[str, Any] = {}
        usual = {"than": "mean", "cells": self._usual_cells}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Mapping):
                value = {column: list(v) if isinstance(v, tuple) else v for column, v in value.items()}
            if isinstance(value, tuple):
                value = list(value)
            if value not in (None, "", {}, usual.get(one.name)) or one.name in ("left", "right"):
                found[one.name] = value
        return found
