"""``wdiv best``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.cli.options import as_json, dataset, echo_json

if TYPE_CHECKING:
    from wdiv.summary.best import Best


@click.command()
@click.argument("store", metavar="STORE", type=click.Path(path_type=Path))
@dataset
@as_json
def best(store: Path, dataset: str | None, as_json: bool) -> None:
    """Say which network of a store to use.

    Finished runs that differ in their seed alone are taken together, and the least mean validation loss is the best; of
    it, the seed with the least. Where no images were held out to validate, the test images choose, and it is said. Runs
    that have learned nothing, or answer one class alone, are not chosen.
    """
    from wdiv.inference.choice import best_of

    found = best_of(store, dataset)
    if as_json:
        echo_json(found.to_json())
        return
    _print(found)
    click.echo(f"\nbest by {found.by}: {found.chosen.name}")
    click.echo(f"use {store / 'runs' / found.run} after epoch {found.epoch}:")
    click.echo(f"  wdiv predict {shlex.quote(str(store))} IMAGES -o predictions.csv")


def _print(found: Best) -> None:
    from studies.cli.console import percent, print_table

    rows = [
        {
            "model": one.model, "images": one.n_train, "strategy": one.strategy, "bn mode": one.bn_mode,
            "runs": one.seeds, "loss": one.loss, "validation %": one.val_accuracy, "test %": one.test_accuracy,
            "problem": one.problem or None,
        }
        for one in found.candidates
    ]  # fmt: skip
    spell = {"loss": "{:.4f}".format, "validation %": percent, "test %": percent}
    some = [name for name in rows[0] if any(row[name] is not None and row[name] == row[name] for row in rows)]
    print_table(
        rows,
        {name: spell.get(name, str) for name in some},
        title=f"mean over runs, of seeds or folds; loss: {found.by}",
    )
    for note in found.notes:
        click.echo(f"note: {note}")
