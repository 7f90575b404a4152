"""A table as a paper prints it, as data: which observations are its cells, and what is printed beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from studies.spec.columns import ACCURACIES, SELECTABLE, labelled, selector, texts
from wdiv.errors import BadData, BadInput
from wdiv.registry import did_you_mean

__all__ = ["CONDITIONS", "Table", "check_against", "published_cells", "selected"]

CONDITIONS = (*SELECTABLE, "n_train")
"""What observations may differ in besides the seed; what follows from others comes after them."""


@dataclass(frozen=True)
class Table:
    """Which observations make a table, and how it is printed.

    rows, columns  some of :data:`CONDITIONS`; each combination of their values is a cell
    where          of other conditions, only these values; of a row or column, these values in this order
    measure        what the cells hold: ``accuracy``, ``train_accuracy``, a metric or a score, or several of them
    of             the paper's table; empty: that of the same name, where there is one
    reading        where the paper's words can be read in more than one way: column of its numbers -> value -> strategy
    labels         value -> how it is printed
    note           where our data, images or networks are not the paper's, so that its numbers are there for their shape
    """

    name: str
    title: str = ""
    rows: tuple[str, ...] = ("model",)
    columns: tuple[str, ...] = ("strategy",)
    where: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    measure: tuple[str, ...] | str = "accuracy"
    of: str = ""
    reading: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        here = f"table {self.name!r}"
        for name in ("rows", "columns"):
            object.__setattr__(self, name, texts(getattr(self, name), f"{here}: {name}"))
        named = {"rows": self.rows, "columns": self.columns, "where": self.where}
        for what, name in ((what, name) for what, names in named.items() for name in names):
            known = [one for one in CONDITIONS if what != "where" or one != "measure"]
            if name not in known:
                raise BadInput(f"{here}: unknown name {name!r} in {what}; {did_you_mean(name, known)}")
        object.__setattr__(self, "measure", selector("measure", self.measure, f"{here}: measure"))
        keys = [*self.rows, *self.columns]
        twice = [name for name in keys if keys.count(name) > 1]
        if twice:
            raise BadInput(f"{here}: {twice[0]!r} is twice among its rows and columns")
        where = {name: selector(name, values, f"{here}: where {name}") for name, values in self.where.items()}
        object.__setattr__(self, "where", where)
        reading = {
            key: {k: selector("strategy", v, f"{here}: reading {key}")[0] for k, v in values.items()}
            for key, values in self.reading.items()
        }
        object.__setattr__(self, "reading", reading)
        object.__setattr__(self, "labels", labelled(self.labels, f"{here}: labels"))

    @property
    def measures(self) -> tuple[str, ...]:
        """What its cells hold."""
        return tuple(self.measure)

    @property
    def in_percent(self) -> bool:
        return set(self.measure) <= set(ACCURACIES)


def check_against(tables: Iterable[Table], paper: pd.DataFrame) -> None:
    """Raise :class:`~wdiv.errors.BadInput` or ``BadData`` where a table does not fit the paper it stands beside."""
    for table in tables:
        published_cells(table, paper, None)


def published_cells(table: Table, paper: pd.DataFrame | None, models: set[str] | None) -> pd.DataFrame:
    """The paper's numbers in this table, with those of :data:`CONDITIONS` that it tells. models: None is all.

    Raises :class:`~wdiv.errors.BadInput` for a table or column that the paper does not have, and
    :class:`~wdiv.errors.BadData` for two numbers of one cell.
    """
    if paper is None:
        return pd.DataFrame({"theirs": []})
    if table.of and table.of not in set(paper["table"]):
        raise BadInput(f"table {table.name!r}: the paper has no {table.of!r}; {did_you_mean(table.of, paper['table'])}")
    found = paper[paper["table"] == (table.of or table.name)]
    for name, strategies in table.reading.items():
        if name not in found:
            raise BadInput(f"table {table.name!r}: the paper tells no {name!r}; {did_you_mean(name, found.columns)}")
        found = found[found[name].isin(strategies)]
        found = found.assign(strategy=found[name].map(strategies))
    found = selected(table, found)
    if models is not None and "model" in found:
        found = found[found["model"].isin(models)]
    told = [name for name in CONDITIONS if name in found]
    if found.duplicated(told).any():
        raise BadData(f"table {table.name!r}: two published numbers for one cell")
    return found[[*told, "value"]].rename(columns={"value": "theirs"})


def selected(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """What ``where`` and ``measure`` let through; a condition that the frame does not tell lets everything."""
    for name, values in {**table.where, "measure": table.measure}.items():
        if name in frame:
            frame = frame[frame[name].isin(values)]
    return frame
