"""``wdiv export``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("epoch", metavar="EPOCH")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.safetensors")
def export(run: str, epoch: str, out: Path) -> None:
    """Write the full state dict of RUN (its folder) after EPOCH (a number, 'last' or 'best') as one file."""
    from wdiv.store.export import export as write

    click.echo(f"wrote {write(run, epoch, out)}")
