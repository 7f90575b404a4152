"""``wdiv status``"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from typing import Any

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def status(store: Path, as_json: bool) -> None:
    """Show each run of a store: how far it is, how well it does, and how long it will take.

    interval: 95 % of last, the test accuracy of the epoch that counts, for other test images.

    prefix: whether what is frozen is computed once for each image; --json says why.
    """
    from studies.cli.answered import print_answered
    from studies.cli.console import duration, interval, percent, print_table
    from studies.grid.answered import answered, notes
    from studies.grid.state import seconds_left, states
    from wdiv.summary import by_class

    found = states(store)
    answers = answered(store)
    if as_json:
        told = {row["run"]: row | by_class(row) for row in answers}
        echo_json([state.to_json() | {"answered": told.get(state.run)} for state in found])
        return
    columns: dict[str, Callable[[Any], str]] = {
        "run": str, "state": str, "epoch": str, "of": str,
        "last": percent, "interval": str, "best": percent, "seconds": lambda v: f"{v:.1f}",
        "left": lambda v: duration(v) if v else "", "prefix": str,
    }  # fmt: skip
    rows = [state.to_json() | {"prefix": state.kept} for state in found]
    print_table([row | {"interval": interval(row)} for row in rows], columns)
    shared = takewhile(lambda part: len(set(part)) == 1, zip(*(row["run"].split("-") for row in answers), strict=False))
    same = "".join(f"{part[0]}-" for part in shared) if len(answers) > 1 else ""
    short = [row | {"run": row["run"].removeprefix(same)} for row in answers]
    print_answered(f"How the test images were answered{same and f' by {same}'}:", short, ["run"])
    for note in notes(answers):
        click.echo(f"note: {note}")
    done, left = sum(state.state == "finished" for state in found), seconds_left(found)
    click.echo(f"{done} of {len(found)} runs finished" + (f", about {duration(left)} left" if left else ""))
