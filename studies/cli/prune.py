"""``wdiv prune``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--keep", default="first,last", show_default=True, metavar="WORDS",
    help="What stays: of first, best, last, 'last N', 'every N', resume, with commas.",
)  # fmt: skip
@click.option("--yes", is_flag=True, help="Do it; without, only say what would go.")
@as_json
def prune(store: Path, keep: str, yes: bool, as_json: bool) -> None:
    """Take epochs away to save room; without --yes, say what would go.

    The first, the last and the epoch that counts always stay, and those that another study starts from. History,
    predictions, running metrics and what was measured stay for all epochs. Without 'resume' the runs cannot be given
    more epochs.
    """
    from studies.cli.console import print_table, size
    from studies.grid import pruning
    from wdiv.store.keep import Keep
    from wdiv.store.reader import spell

    words = Keep(keep)
    found = pruning.prune(store, words) if yes else pruning.would_prune(store, words)
    total = sum(one.bytes for one in found)
    if as_json:
        echo_json({"done": yes, "keep": words.text, "bytes": total, "runs": [one.to_json() for one in found]})
        return
    rows = [
        {
            "run": one.run,
            "goes" if not yes else "gone": spell([*one.thinned]),
            "bytes": one.bytes,
            "stays": one.why or spell([*one.kept]),
        }
        for one in found
    ]
    print_table(rows, {name: size if name == "bytes" else str for name in rows[0]})
    for one in found:
        if one.needed:
            click.echo(f"note: {one.run}: {spell([*one.needed])} is measured against or started from, and stays")
    if any(one.resume for one in found):
        click.echo("what more epochs would go on from goes too; with 'resume' among the words it stays")
    if not total:
        click.echo("nothing to take away")
    elif yes:
        click.echo(f"{size(total)} taken away")
    else:
        click.echo(
            f"{size(total)} would go. Of these epochs what was measured stays, and metrics of the families gaussian "
            "and paired against the start. Nothing else could be measured of them; nor could they be exported, "
            "compared or started from. --yes takes them away."
        )
