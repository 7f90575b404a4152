"""``wdiv list``"""

from __future__ import annotations

import click

from studies.cli.options import as_json, echo_json


@click.command("list")
@click.argument("what", required=False)
@as_json
def list_(what: str | None, as_json: bool) -> None:
    """List what wdiv knows by name; without WHAT, what can be listed.

    WHAT is one of models, strategies, methods, bn-modes, heads, augmentations, schedules, losses, precisions,
    optimizers, metrics, datasets, baselines, scores, rules, studies.
    """
    from studies.cli.catalogue import CATALOGUE
    from studies.cli.console import print_table
    from wdiv.errors import UnknownName
    from wdiv.registry import did_you_mean

    if what is None:
        shelves = [{"what": name, "names": list(shelf.registry)} for name, shelf in CATALOGUE.items()]
        if as_json:
            echo_json(shelves)
        else:
            print_table(shelves, {"what": str, "names": ", ".join})
        return
    if what not in CATALOGUE:
        raise UnknownName(f"nothing to list under {what!r}; {did_you_mean(what, CATALOGUE)}")
    shelf = CATALOGUE[what]
    rows = shelf.rows()
    if as_json:
        echo_json(rows)
    else:
        print_table(rows, shelf.columns)
        if shelf.more:
            click.echo(shelf.more)
