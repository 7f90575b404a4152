"""How test images were answered, as a table that fits on 80 columns, and what is to be said of it in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from studies.cli.console import print_table

__all__ = ["print_answered"]

Row = Mapping[str, Any]
LEGEND = (
    "balanced: mean recall of the classes; calib.: calibration error; log loss in nats, the rest but Brier in %;\n"
    "lowest recall, precision: of which class. results.csv and --json have every class and the confusion."
)
TWO = "sens., spec.: recall of {0} and of {1}."


def print_answered(title: str, rows: Sequence[Row], naming: Sequence[str]) -> None:
    """Rows with the columns of :func:`wdiv.summary.answers` under a title; nothing where no row knows any.

    naming: columns that say which row it is; those that are the same for all are left out.
    """
    from wdiv.summary import by_class, lowest

    known = [row for row in rows if isinstance(row.get("confusion"), list)]
    if not known:
        return
    told = [name for name in naming if len({row.get(name) for row in known}) > 1] or list(naming[-1:])
    figures: dict[str, tuple[str, Callable[[Any], str]]] = {
        "balanced": ("balanced_accuracy", _percent), "F1": ("macro_f1", _percent), "log loss": ("log_loss", _plain),
        "calib.": ("calibration_error", _percent), "Brier": ("brier_score", _plain), "AUC": ("auc", _percent),
        "sens.": ("sensitivity", _percent), "spec.": ("specificity", _percent),
    }  # fmt: skip
    shown = [
        {name: row.get(name) for name in told}
        | {name: row[column] for name, (column, _) in figures.items()}
        | {f"lowest {name}": lowest(shares) for name, shares in by_class(row).items()}
        | {"one class": row["only_answer"]}
        for row in known
    ]
    spell = {**dict.fromkeys(told, str), **{name: how for name, (_, how) in figures.items()}}
    spell |= dict.fromkeys(("lowest recall", "lowest precision", "one class"), str)
    empty = {
        name for name in spell if name not in told and all(row[name] is None or row[name] != row[name] for row in shown)
    }
    click.echo(f"\n{title}")
    print_table(shown, {name: how for name, how in spell.items() if name not in empty})
    click.echo(f"\n{LEGEND}")
    shares = dict.fromkeys(f"{_percent(row['majority_share'])} %" for row in known)
    click.echo(f"Answering the largest class alone would be right for {', '.join(shares)} of the test images.")
    two = dict.fromkeys(tuple(row["classes"][::-1]) for row in known if len(row["classes"]) == 2)
    for names in two:
        click.echo(TWO.format(*names))


def _known(value: Any) -> bool:
    return value is not None and value == value


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _plain(value: float) -> str:
    return f"{value:.3f}"
