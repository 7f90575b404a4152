"""What the figures of a study share: rows that were asked for, names and colours of lines, axes without clutter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from studies.spec.figure import Where, listed
from wdiv import summary
from wdiv.errors import BadInput
from wdiv.numerics import share_interval
from wdiv.registry import did_you_mean

__all__ = [
    "GREY", "STYLE", "VARIANTS", "chosen", "colours", "in_percent", "legend", "named", "new", "of_paper",
    "plain", "saved", "seeds", "strategies", "titled",
]  # fmt: skip

STYLE = {"figure.dpi": 130, "savefig.dpi": 200, "font.size": 9, "axes.titlesize": 9, "legend.fontsize": 8}
GREY = "0.35"
TALLEST = 30_000
"""Pixels; matplotlib draws no 65,536."""
VARIANTS = ("condition", "dataset", "per_class", "bn_mode")
"""Columns in which runs of one strategy may differ, the seed apart."""


def chosen(table: pd.DataFrame, where: Where, figure: str) -> pd.DataFrame:
    """The rows whose columns have one of the values asked for.

    Raises :class:`~wdiv.errors.BadInput` that names the first column by which none remain, and what it holds.
    """
    for column, values in where.items():
        wanted = listed(values)
        kept = table[table[column].astype(str).isin(wanted)]
        if kept.empty:
            have = [str(value) for value in table[column].unique()]
            what = f"{column} {' or '.join(map(repr, wanted))}"
            raise BadInput(f"figure {figure!r}: no data of {what}; {did_you_mean(wanted[0], have) if have else 'none'}")
        table = kept
    return table


def of_paper(paper: pd.DataFrame | None, **where: Any) -> pd.DataFrame | None:
    """The paper's rows of a place; a column that they do not have asks for nothing. None where there are none."""
    if paper is None:
        return None
    for column, value in where.items():
        if column in paper:
            paper = paper[paper[column].isin([value])]
    return paper if len(paper) else None


def named(
    table: pd.DataFrame,
    by: Sequence[str] = VARIANTS,
    within: Sequence[str] = (),
    labels: Mapping[str, str] = MappingProxyType({}),
) -> pd.Series:
    """What a line is called: its strategy, and of the columns ``by`` those in which this strategy comes several ways.

    within  columns that tell panels apart, each panel having its own names
    labels  strategy -> what it is called

    Raises :class:`~wdiv.errors.BadInput` where two strategies would be called alike.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"strategy": ["fc", "fc", "svm"], "bn_mode": ["auto", "train", "frozen"]})
    >>> named(table, ["bn_mode"]).tolist()
    ['fc, auto', 'fc, train', 'svm']
    """
    names = table["strategy"].map(lambda name: labels.get(name, name)).astype(object)
    if names.nunique() < table["strategy"].nunique():
        alike = table.groupby(names)["strategy"].unique()
        name, several = next((name, found) for name, found in alike.items() if len(found) > 1)
        raise BadInput(f"label {name!r} is of {' and of '.join(map(repr, several))}; each strategy needs its own")
    for column in by:
        several = table.groupby([*within, "strategy"])[column].transform("nunique") > 1
        names = names.where(~several, names + ", " + table[column].astype(object))
    return names


def strategies(
    table: pd.DataFrame, where: Where, by: Sequence[str], within: Sequence[str] = (),
    labels: Mapping[str, str] = MappingProxyType({}),
) -> pd.DataFrame:  # fmt: skip
    """Rows in the order of strategies that was asked for, or from the one that changes least; with a ``label``."""
    table = table.assign(label=named(table, by, within, labels))
    if not isinstance(where.get("strategy"), tuple):
        return summary.in_order(table)
    return table.sort_values("strategy", key=lambda column: column.map(where["strategy"].index), kind="stable")


def colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name, told apart by those who see colours differently, as far as there are as many."""
    import seaborn as sns

    names = list(dict.fromkeys(names))
    return dict(zip(names, sns.color_palette("colorblind" if len(names) <= 10 else "husl", len(names)), strict=True))


def seeds(table: pd.DataFrame, by: Sequence[str], n_test: Mapping[str, int] = MappingProxyType({})) -> pd.DataFrame:
    """mean, low and high of ``value`` over the rows that agree in ``by``, in the order in which they come.

    low, high  the least and the most; of a test accuracy in percent its 95 % interval, for other test images and other
               seeds, where ``n_test``, dataset -> test images, knows of how many it is
    """
    groups = table.groupby(list(by), sort=False)
    found = groups["value"].agg(mean="mean", low="min", high="max").reset_index()
    if n_test:
        images = table["dataset"].map(n_test).where(table["measure"].eq("accuracy")).astype(float)
        known = [share_interval(group["value"] / 100, images[group.index].min()) for _, group in groups]
        for end in ("low", "high"):
            mine = pd.Series([100 * float(getattr(one, end)) for one in known], found.index)
            found[end] = mine.fillna(found[end])
    return found


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of 1 as percent."""
    return table.assign(value=100 * table["value"])


def new(rows: int, columns: int, width: float, height: float, **shared: Any) -> tuple[Any, Any]:
    """A figure in inches, and its axes (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: nothing to close, no window
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def titled(figure: Any, title: str, size: int = 10) -> Any:
    """The figure, with a title above all its axes."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=size)
    return figure


def legend(figure: Any, palette: Mapping[str, Any], columns: int = 5, **how: Any) -> None:
    """One legend for all axes, below them: a line of each name's colour."""
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour) for colour in palette.values()]
    figure.legend(lines, list(palette), loc="outside lower center", ncols=columns, frameon=False, **how)


def saved(figure: Any, out: Path) -> Path:
    """Write a figure; its folder is made where there is none. A dollar in a name is a dollar, and what is taller than
    an image can be is drawn with fewer dots."""
    from matplotlib.text import Text

    for text in figure.findobj(lambda one: isinstance(one, Text) and "$" in one.get_text()):
        text.set_parse_math("mathdefault" in text.get_text())  # a tick's power of ten
    out.parent.mkdir(parents=True, exist_ok=True)
    dots = TALLEST / figure.get_figheight()
    figure.savefig(out, **({"dpi": dots} if dots < STYLE["savefig.dpi"] else {}))
    return out


def plain(axes: Any) -> Iterator[Any]:
    """Axes without the frame's upper and right side, with a light grid behind."""
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(axis="y", color="0.92", linewidth=0.7)
        ax.set_axisbelow(True)
        yield ax
