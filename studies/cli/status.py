"""``wdiv status``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def status(store: Path, as_json: bool) -> None:
    """Show each run of a store: how far it is, and how well it does."""
    from studies.console import print_table
    from studies.state import states

    rows = [state.to_json() for state in states(store)]
    if as_json:
        echo_json(rows)
        return
    columns: dict[str, Callable[[Any], str]] = {
        "run": str, "state": str, "epoch": str, "of": str,
        "last": lambda v: f"{100 * v:.1f}", "best": lambda v: f"{100 * v:.1f}", "seconds": lambda v: f"{v:.1f}",
    }  # fmt: skip
    print_table(rows, columns)
    done = sum(row["state"] == "finished" for row in rows)
    click.echo(f"{done} of {len(rows)} runs finished")
