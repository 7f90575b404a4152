"""``wdiv errors``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from studies.cli.options import as_json, dataset, echo_json


@click.command()
@click.argument("network", metavar="RUN|STORE")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw them.  Or .pdf, .svg.")
@click.option("--most", default=144, show_default=True, type=click.IntRange(min=1), metavar="N", help="Images drawn.")
@click.option("--data", metavar="NAME|PATH", help="Where the images are now.  [default: where the store says]")
@dataset
@as_json
def errors(
    network: str, out: Path | None, most: int, data: str | None, dataset: str | None, as_json: bool
) -> None:  # fmt: skip
    """Show the test images that a network gets wrong, by class.

    Of a STORE, the strategy that 'wdiv best' names, and how many of its seeds get each image wrong; of a RUN (its
    folder, or RUN@EPOCH), itself. The answers are those that the store has kept. -o draws a contact sheet, several
    files where there are many, those first in each class that most seeds get wrong; it needs the images.
    """
    from studies.cli.console import percent, print_table
    from studies.report.figures import contact_sheet
    from studies.report.figures.measured import check_file
    from wdiv.inference.mistakes import mistakes, of_all_seeds, pixels_of

    if out:
        check_file(out)
    choice = of_all_seeds(network, dataset)
    found = mistakes(choice)
    pages: list[Path] = []
    if out and found.found:
        shown = found.shown(most)
        title = f"{choice.first.record.label}, {choice.first.record.strategy}: {found.in_words}"
        title += f"; {len(shown)} of them" if len(shown) < len(found.found) else ""
        pages = contact_sheet.draw(shown, pixels_of(choice, shown, data), out, title)
    if as_json:
        echo_json(found.to_json() | {"files": [str(page) for page in pages]})
        return
    rows = [vars(one) | {"wrong": f"{one.wrong} of {one.of}"} for one in found.found]
    columns: dict[str, Callable[[Any], str]] = {"label": str, "file": str, "answer": str, "probability": percent}
    if rows:
        print_table(rows, columns | ({"wrong": str} if found.networks > 1 else {}))
    click.echo(f"{choice.first.record.label}, {choice.first.record.strategy}: {found.in_words}")
    for page in pages:
        click.echo(f"wrote {page}")
