"""The console, and tables on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "duration", "interval", "percent", "print_table", "size"]


def console() -> Console:
    """Standard output. Off a terminal lines are as long as they are."""
    import sys

    return _console_on(sys.stdout)


@cache
def _console_on(stream: Any) -> Console:
    from rich.console import Console

    console = Console(file=stream, soft_wrap=False)
    return console if console.is_terminal else Console(file=stream, width=250)


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Callable[[Any], str]] | Sequence[str], title: str = ""
) -> None:
    """Rows of plain values under the names of the columns; numbers to the right.

    columns: names, or names with how to write a value.
    """
    from rich.table import Table
    from rich.text import Text

    spell = columns if isinstance(columns, Mapping) else dict.fromkeys(columns, str)
    table = Table(box=None, title=title or None, title_justify="left", header_style="bold", pad_edge=False)
    for name in spell:
        numeric = any(isinstance(row[name], (int, float)) and not isinstance(row[name], bool) for row in rows)
        table.add_column(name.replace("_", " "), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("" if _empty(row[name]) else spell[name](row[name])) for name in spell))
    console().print(table)


def _empty(value: Any) -> bool:
    return value is None or value != value


def percent(share: float) -> str:
    """A share of 1 for people.

    >>> percent(0.9375)
    '93.8'
    """
    return f"{100 * share:.1f}"


def interval(row: Mapping[str, Any]) -> str | None:
    """From a share's ``low`` to its ``high``; None where they are not known.

    >>> interval({"low": 0.9287, "high": 1.0})
    '92.9 to 100.0'
    """
    low, high = row["low"], row["high"]
    return None if _empty(low) or _empty(high) else f"{percent(low)} to {percent(high)}"


def size(number: float) -> str:
    """Bytes for people.

    >>> size(1_500_000)
    '1.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people.

    >>> duration(8.2), duration(95), duration(7300)
    ('8 s', '1 min 35 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
