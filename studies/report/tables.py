"""Tables filled with our numbers, and with the paper's beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pandas as pd

from studies.spec.columns import ACCURACIES, source_kind
from studies.spec.table import CONDITIONS, Table, published_cells, selected
from wdiv.errors import BadData, BadInput
from wdiv.numerics import share_interval

__all__ = ["Filled", "as_rows", "at_sizes_of", "fill", "in_words", "markdown"]

MISSING = "–"


@dataclass(frozen=True)
class Filled:
    """A table with its numbers.

    rows     keys of its rows: the table's own, and whatever else is not the same in all observations of one cell
    columns  the values of the column keys, in the table's order
    cells    one row a cell, in the table's order: its keys as text (empty: no run), ``ours`` (mean over the seeds, in
             percent where it is a share), ``spread`` (standard deviation over the seeds, ddof 1; NaN of one),
             ``seeds``, ``theirs`` (the paper's) and ``difference`` (ours less theirs); NaN where there is none
    """

    table: Table
    rows: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    cells: pd.DataFrame


def fill(
    table: Table,
    observations: pd.DataFrame,
    paper: pd.DataFrame | None = None,
    *,
    all_of_paper: bool = False,
    n_test: Mapping[str, int] = MappingProxyType({}),
) -> Filled:
    """The table's cells: those that were observed, and those of the paper.

    observations  one row a value: :data:`CONDITIONS`, ``seed`` and ``value``
    paper         :func:`studies.papers.published`
    all_of_paper  the paper's networks of which nothing was observed, too
    n_test        dataset -> its test images. With it come the columns ``low`` and ``high``: of a test accuracy, the
                  95 % interval for other images and other seeds (:func:`wdiv.numerics.share_interval`); else NaN

    Seeds are pooled and nothing else, with the source networks of a kind of which each seed has one. What differs
    within a cell and is neither row nor column becomes a key of the rows; so a number of the paper stands only beside
    observations that agree with it in all that it tells.
    Raises :class:`~wdiv.errors.BadData` if a cell has two values of one seed.
    """

    ours = _ours(table, observations)
    theirs = published_cells(table, paper, None if all_of_paper else set(observations["model"]))
    rows = (*table.rows, *_differing((*table.rows, *table.columns), ours, theirs))
    keys = [*rows, *table.columns]
    cells = _over_seeds(table, ours, keys, n_test)
    cells = cells.merge(_beside(theirs, cells, rows, keys), on=keys, how="outer")
    cells = cells.fillna(dict.fromkeys(keys, "")).astype({"theirs": float})
    cells["seeds"] = cells["seeds"].fillna(0).astype(int)
    cells["difference"] = cells["ours"] - cells["theirs"]
    ranks = {key: _ranks(key, cells[key], table, theirs) for key in keys}
    ends = ["low", "high"] if n_test else []
    cells = cells[[*keys, "ours", "spread", *ends, "seeds", "theirs", "difference"]]
    for_columns, for_cells = (
        cells.sort_values(names, key=lambda column: column.map(ranks[column.name]), ignore_index=True)
        for names in (list(table.columns), keys)
    )
    columns = for_columns[list(table.columns)].itertuples(index=False, name=None)
    return Filled(table, rows, tuple(dict.fromkeys(columns)), for_cells)


def at_sizes_of(paper: pd.DataFrame, observations: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The observations under the paper's sizes, in order, where there are as many of them, and a line that says so.

    >>> import pandas as pd
    >>> ours = pd.DataFrame({"per_class": ["5", "2"], "n_train": [35, 14]})
    >>> found, line = at_sizes_of(pd.DataFrame({"per_class": ["20", "all"]}), ours)
    >>> found["per_class"].tolist(), line
    (['all', '20'], "in the tables, the paper's 20, all images a class stand for our 2, 5")
    """
    theirs = sorted(set(paper["per_class"]), key=lambda text: (text == "all", len(text), text))
    ours = observations.groupby("per_class")["n_train"].mean().sort_values(kind="stable").index.tolist()
    if set(ours) <= set(theirs) or len(ours) != len(theirs):
        return observations, ""
    found = observations.assign(per_class=observations["per_class"].map(dict(zip(ours, theirs, strict=True))))
    return found, f"in the tables, the paper's {', '.join(theirs)} images a class stand for our {', '.join(ours)}"


def in_words(filled: Filled) -> str:
    """The table in Markdown, each cell as ``ours ± spread [low, high] (paper's)``, under its title, over its note."""
    table, rows, keys = filled.table, as_rows(filled), len(filled.rows)
    parts = [f"**{table.name}**" + (f": {table.title}" if table.title else "")]
    if rows:
        heads = [head.replace("_", " ") if i < keys else head for i, head in enumerate(rows[0])]
        rule = ["---"] * keys + ["---:"] * (len(heads) - keys)
        parts += [markdown([heads, rule, *(row.values() for row in rows)]), _legend(filled)]
    else:
        parts.append("No run and no published number belongs here.")
    return "\n\n".join([*parts, *([table.note] if table.note else [])]) + "\n"


def as_rows(filled: Filled) -> list[dict[str, str]]:
    """The table's rows as text: the keys of the row, then a cell under the heading of each column.

    >>> import pandas as pd
    >>> row = dict.fromkeys(CONDITIONS, "") | {"measure": "accuracy", "model": "resnet18", "strategy": "fc"}
    >>> observed = pd.DataFrame([row | {"seed": seed, "value": 0.5 + seed / 100} for seed in (0, 1, 2)])
    >>> as_rows(fill(Table("mine", labels={"fc": "FC"}), observed))
    [{'model': 'resnet18', 'FC': '51.0 ± 1.0'}]
    """
    table, cells = filled.table, filled.cells
    published = bool(cells["theirs"].notna().any())
    spell = "{:.1f}" if table.in_percent else "{:.3g}"

    def label(value: str) -> str:
        return table.labels.get(value, value)

    headings = {key: ", ".join(map(label, filter(None, key))) or MISSING for key in filled.columns}
    if len({*filled.rows, *headings.values()}) < len(filled.rows) + len(headings):
        raise BadInput(f"table {table.name!r}: two columns are printed alike: {', '.join(headings.values())}")
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for cell in cells.to_dict("records"):
        row, column = (tuple(cell[name] for name in names) for names in (filled.rows, table.columns))
        start = {name: label(cell[name]) or MISSING for name in filled.rows}
        texts = found.setdefault(row, start | dict.fromkeys(headings.values(), MISSING))
        texts[headings[column]] = _spelled_out(cell, spell, published)
    return list(found.values())


def _spelled_out(cell: Mapping[str, Any], spell: str, published: bool) -> str:
    ours, spread, low, high, theirs = (
        None if name not in cell or cell[name] != cell[name] else spell.format(cell[name])
        for name in ("ours", "spread", "low", "high", "theirs")
    )
    text = MISSING if ours is None else ours if spread is None else f"{ours} ± {spread}"
    text += "" if low is None else f" [{low}, {high}]"
    return f"{text} ({theirs or MISSING})" if published and (ours or theirs) else text


def _legend(filled: Filled) -> str:
    cells = filled.cells
    seeds = cells.loc[cells["seeds"] > 0, "seeds"]
    least, most = (int(seeds.min()), int(seeds.max())) if len(seeds) else (0, 0)
    ours = {0: "None run", 1: "One seed"}.get(
        most, f"Mean ± standard deviation over {most if least == most else f'{least} to {most}'} seeds"
    )
    unit = ", in percent" if filled.table.in_percent else ""
    unit += (
        "; in square brackets 95 % for other test images and seeds"
        if "low" in cells and cells["low"].notna().any()
        else ""
    )
    return ours + unit + ("; in brackets the paper's." if cells["theirs"].notna().any() else ".")


def markdown(lines: Iterable[Iterable[str]]) -> str:
    """A table in Markdown: its headings, its rule, and its rows."""
    return "\n".join("| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines)


def _ours(table: Table, observations: pd.DataFrame) -> pd.DataFrame:
    found = observations[[*CONDITIONS, "seed", "value"]].astype(dict.fromkeys(CONDITIONS, str))
    found = selected(table, found).astype({"value": float})
    of_a_kind = found.assign(source=found["source"].map(source_kind))
    if not of_a_kind.duplicated([*CONDITIONS, "seed"]).any():
        found = of_a_kind
    return found.assign(value=found["value"].where(~found["measure"].isin(ACCURACIES), 100 * found["value"]))


def _differing(keys: Sequence[str], ours: pd.DataFrame, theirs: pd.DataFrame) -> tuple[str, ...]:
    """Further keys without which observations, or the paper's numbers, of different conditions would meet in a cell."""
    extra: list[str] = []
    told = [name for name in CONDITIONS if name in theirs] if len(theirs) else []
    both = pd.concat([ours[told], theirs[told]])
    for name in (name for name in CONDITIONS if name not in keys):
        by = [key for key in (*keys, *extra) if key in told or name not in told]
        frame = both if name in told else ours
        if len(frame.drop_duplicates([*by, name])) > (len(frame.drop_duplicates(by)) if by else 1):
            extra.append(name)
    return tuple(extra)


def _over_seeds(table: Table, ours: pd.DataFrame, keys: list[str], n_test: Mapping[str, int]) -> pd.DataFrame:
    twice = ours[ours.duplicated([*keys, "seed"])]
    if len(twice):
        cell = ", ".join(f"{key} {value}" for key, value in twice.iloc[0][[*keys, "seed"]].items())
        raise BadData(f"table {table.name!r}: two values of one seed in one cell: {cell}")
    in_order = ours.sort_values("seed", kind="stable")  # so that sums do not depend on the order that came
    tested = in_order["dataset"].map(n_test).where(in_order["measure"].eq("accuracy")).astype(float)
    groups = in_order.assign(n_test=tested).groupby(keys, sort=False)
    found = groups["value"].agg(ours="mean", spread="std", seeds="count").reset_index()
    intervals = [share_interval(cell["value"] / 100, cell["n_test"].min()) for _, cell in groups]
    return found.assign(low=[100 * float(x.low) for x in intervals], high=[100 * float(x.high) for x in intervals])


def _beside(theirs: pd.DataFrame, cells: pd.DataFrame, rows: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """The paper's numbers, each in every row of ours that it belongs to (every BN mode, say), or in one of its own."""
    places = cells[[key for key in keys if key in rows or key not in theirs]].drop_duplicates()
    meet = [key for key in rows if key in theirs]
    return theirs.assign(_all=0).merge(places.assign(_all=0), on=[*meet, "_all"], how="left")[[*keys, "theirs"]]


def _ranks(key: str, values: pd.Series, table: Table, theirs: pd.DataFrame) -> dict[str, int]:
    """First as ``where`` lists them, then as the paper does, then numbers by size, and strategies as elsewhere."""
    from wdiv.summary.order import order

    rest = sorted(set(values), key=lambda text: (not text.isdecimal(), int(text) if text.isdecimal() else 0, text))
    if key == "strategy":
        rest = pd.Series(rest, name=key, dtype=object).sort_values(key=order).tolist()
    listed = table.measure if key == "measure" else table.where.get(key, ())
    return {value: i for i, value in enumerate(dict.fromkeys([*listed, *theirs.get(key, ()), *rest]))}
