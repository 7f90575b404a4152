"""How test images were answered: a table that fits on 80 columns, and what is to be said of it in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from studies.cli.console import print_table

__all__ = ["print_answered", "print_confusion"]

LEGEND = """
bal.: mean recall of the classes; F1: macro; calib.: calibration error; log
loss in nats, the rest in %. recall, precision: the lowest, and of which class;
results.csv and --json have those of every class, the confusion and Brier score.\
"""
WIDTH = 80
ROOMS = (8, 6, 5, 4, 0)
"""Letters of a class's name: the most for which the table fits into :data:`WIDTH`; of none, names are left out."""


def print_answered(title: str, rows: Sequence[Mapping[str, Any]], naming: Sequence[str]) -> None:
    """Rows with the columns of :func:`wdiv.summary.answers` under a title; nothing where no row knows any.

    naming: columns that say which row it is, of which no more are shown than it takes, from the last on.
    """
    known = [row for row in rows if isinstance(row.get("confusion"), list)]
    if not known:
        return
    told = list(naming[-1:])
    for name in reversed(naming[:-1]):
        alike = len({tuple(row[one] for one in told) for row in known}) < len(known)
        if alike and len({row[name] for row in known}) > 1:
            told.insert(0, name)
    columns: dict[str, Callable[[Any], str]] = dict.fromkeys(told, str) | {
        "bal.": _percent, "F1": _percent, "log loss": "{:.3f}".format, "calib.": _percent, "AUC": _percent,
        "sens.": _percent, "spec.": _percent, "recall": str, "precision": str, "one class": str,
    }  # fmt: skip
    for room in ROOMS:
        shown = [{name: row[name] for name in told} | _told(row, room) for row in known]
        if _width(shown, columns) <= WIDTH:
            break
    empty = {name for name in columns if all(row[name] is None or row[name] != row[name] for row in shown)}
    click.echo(f"\n{title}")
    print_table(shown, {name: spell for name, spell in columns.items() if name not in empty})
    click.echo(LEGEND)
    for row in {str(row["classes"]): row for row in known}.values():
        if len(row["classes"]) == 2:
            click.echo("sens., spec.: recall of {1} and of {0}.".format(*row["classes"]))
        click.echo(f"The largest class alone is {_percent(row['majority_share'])} % of the test images.")


def print_confusion(row: Mapping[str, Any]) -> None:
    """Recall and precision of each class, and the confusion matrix, of a row with the columns of
    :func:`wdiv.summary.answers`."""
    from wdiv.summary import by_class

    names, shares = row["classes"], by_class(row)
    fits = sum(map(len, names)) + 2 * len(names) <= 50
    heads = names if fits else [str(i) for i in range(1, len(names) + 1)]
    rows = [
        {"class": name if fits else f"{head} {name}"}
        | {share: shares[share][name] for share in shares}
        | dict(zip(heads, counts, strict=True))
        for head, name, counts in zip(heads, names, row["confusion"], strict=True)
    ]
    click.echo("\ntrue class by row, predicted by column")
    print_table(rows, {"class": str, **dict.fromkeys(shares, _percent), **dict.fromkeys(heads, str)})


def _width(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, Callable[[Any], str]]) -> int:
    """Of the table of these columns, without those that are empty."""
    found = 0
    for name, spell in columns.items():
        cells = [spell(row[name]) for row in rows if row[name] is not None and row[name] == row[name]]
        found += max(map(len, [name, *cells])) + 2 if cells else 0
    return found - 2


def _told(row: Mapping[str, Any], room: int) -> dict[str, Any]:
    from wdiv.summary import by_class

    names = {
        "bal.": "balanced_accuracy", "F1": "macro_f1", "log loss": "log_loss", "calib.": "calibration_error",
        "AUC": "auc", "sens.": "sensitivity", "spec.": "specificity", "one class": "only_answer",
    }  # fmt: skip
    return {name: row[column] for name, column in names.items()} | {
        name: _lowest(shares, room) for name, shares in by_class(row).items()
    }


def _lowest(shares: Mapping[str, float], room: int) -> str | None:
    """The lowest share and its class; None of two classes, where sensitivity and specificity tell it."""
    known = {name: share for name, share in shares.items() if share == share}
    if len(shares) == 2 or not known:
        return None
    name = min(known, key=lambda one: known[one])
    short = name if len(name) <= room else f"{name[: room - 1]}…"
    return f"{_percent(known[name])} {short if room else ''}".strip()


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
