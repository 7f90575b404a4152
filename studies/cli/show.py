"""``wdiv show``"""

from __future__ import annotations

from typing import Any

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("name")
@click.option("--model", metavar="NAME", help="For a strategy: which of this network's layers it trains.")
@as_json
def show(name: str, model: str | None, as_json: bool) -> None:
    """Show all that is known of a model, strategy, metric, data set, baseline or study."""
    from studies.cli.catalogue import facts, trained_layers

    found = facts(name)
    if model is not None:
        trains = trained_layers(name, model)
        found = [one | {"trains": trains} for one in found if one["what"] == "strategy"]
    if as_json:
        echo_json(found[0] if len(found) == 1 else found)
        return
    for number, one in enumerate(found):
        if number:
            click.echo()
        _print(one)


def _print(found: dict[str, Any]) -> None:
    from studies.cli.console import print_table

    tables = {
        key: value for key, value in found.items() if isinstance(value, list) and value and isinstance(value[0], dict)
    }
    for key, value in found.items():
        if key not in tables and value not in (None, "", []):
            words = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            click.echo(f"{key:<16}{words}")
    for key, rows in tables.items():
        click.echo()
        print_table(rows, list(rows[0]), title=key)
