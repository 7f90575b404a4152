"""``wdiv du``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def du(store: Path, as_json: bool) -> None:
    """Show what takes the room of a store, and what 'wdiv prune' would give back."""
    from studies.cli.console import print_table, size
    from studies.grid.disk import disk_usage

    found = disk_usage(store)
    if as_json:
        echo_json(found)
        return
    print_table([{"what": kind, "bytes": n} for kind, n in found["kinds"].items()], {"what": str, "bytes": size})
    click.echo()
    print_table(found["strategies"], {"strategy": str, "runs": str, "bytes": size, "prune": size})
    click.echo()
    print_table(found["runs"], {"run": str, "bytes": size, "prune": size})
    click.echo(f"\n{size(found['total'])} in all; 'wdiv prune {store}' would give back {size(found['prune'])}")
