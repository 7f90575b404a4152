"""``wdiv predict``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.cli.options import as_json, average, dataset, device, echo_json

if TYPE_CHECKING:
    from wdiv.inference.predict import Predictions

SHOWN = 50
"""Images, and files that cannot be read, that the console has room for."""


@click.command()
@click.argument("network", metavar="RUN|STORE")
@click.argument("images", metavar="IMAGES...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write the table here.")
@average
@dataset
@device
@as_json
def predict(
    network: str, images: tuple[Path, ...], out: Path | None, average: str | None, dataset: str | None, device: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Say what a network takes images for.

    RUN is a run's folder, RUN@EPOCH of another epoch than that which counts; of a STORE, the network that 'wdiv best'
    names. IMAGES are files, folders (with all that lies beneath) or a .txt with a file a line.

    Images are prepared as those that it was trained on. A row each: its file, the class, the probability of it, and of
    every other class. Files that cannot be read are left out and told at the end.
    """
    from studies.cli.bars import counting
    from wdiv.inference.choice import choose
    from wdiv.inference.files import listed
    from wdiv.inference.network import Network
    from wdiv.inference.predict import check_csv
    from wdiv.inference.predict import predict as ask

    check_csv(out)
    files, choice = listed(images), choose(network, average, dataset)
    shown = Network(choice, device)
    with counting("images", len(files), quiet=as_json) as count:
        found = ask(shown, files, lambda block: count(block.seen))
    if out:
        found.write_csv(out)
    if as_json:
        told = {"network": choice.name, "classes": found.classes, "counts": found.counts, "unreadable": dict(found.bad)}
        echo_json(told | ({"file": str(out)} if out else {"images": found.rows()}))
        return
    click.echo(f"network: {choice.name}")
    if not out:
        _print(found)
    click.echo(
        f"{len(found.files)} image{'s' if len(found.files) > 1 else ''}: "
        + ", ".join(f"{n} {name!r}" for name, n in found.counts.items() if n)
    )
    _print_bad(found)
    if out:
        click.echo(f"wrote {out}")


def _print(found: Predictions) -> None:
    from studies.cli.console import print_table

    print_table(found.rows()[:SHOWN], {"file": str, "class": str, "probability": "{:.3f}".format})
    if len(found.files) > SHOWN:
        click.echo(f"… and {len(found.files) - SHOWN} more; -o FILE.csv writes all")


def _print_bad(found: Predictions) -> None:
    for file, why in found.bad[:SHOWN]:
        click.echo(f"cannot be read: {file}: {why}", err=True)
    if found.bad:
        click.echo(f"note: {len(found.bad)} of {len(found.bad) + len(found.files)} files cannot be read", err=True)
