"""``wdiv import``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command("import")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--pattern", metavar="PATTERN",
    help="An epoch's file within DIR: {epoch} is its number; * and ? stand for other characters.  "
    "[default: the checkpoint files whose names differ in one number]",
)  # fmt: skip
@click.option("--base", type=click.Path(path_type=Path), metavar="FILE", help="The weights that training started from.")
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW",
    help="Change the beginning of the base's names; may be repeated.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="STORE", help="The store.  [default: runs/DIR's name]")
@click.option("--name", metavar="RUN", help="The run's name.  [default: DIR's]")
@click.option(
    "--label",
    metavar="NETWORK",
    help="The network's name; runs with one label open as one tree, and a torchvision name gives stages.",
)
@click.option("--strategy", default="foreign", show_default=True, metavar="S", help="What was trained, for tables.")
@click.option("--dataset", default="unknown", show_default=True, metavar="D", help="On which images, for tables.")
@click.option("--n-train", type=click.IntRange(min=0), default=0, metavar="N", help="On how many, for tables.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", help="With which seed, for tables.")
def import_(
    folder: Path, pattern: str | None, base: Path | None, renames: tuple[str, ...], out: Path | None,
    name: str | None, label: str | None, strategy: str, dataset: str, n_train: int, seed: int,
) -> None:  # fmt: skip
    """Open anyone's folder of epochs as a run: DIR's checkpoints stay where they are, nothing is copied.

    The same command again adds the epochs that have come since.
    """
    from wdiv.store.imports import import_run

    run = import_run(
        folder, pattern, base=base, renames=renames, out=out, name=name, label=label, strategy=strategy,
        dataset=dataset, n_train=n_train, seed=seed,
    )  # fmt: skip
    entered, table = run.imported, run.record.table
    assert entered is not None
    kinds = ", ".join(f"{len(table.of(k))} {k}" for k in dict.fromkeys(layer.kind for layer in table))
    epochs = list(entered.epochs)
    click.echo(f"{run.path}: {len(epochs)} epochs, {epochs[0]} to {epochs[-1]}, as {entered.data['pattern']!r}")
    click.echo(f"layers: {kinds}")
    click.echo(f"start: {base}: {entered.data['matched']}" if base else "start: none; give --base to measure from it")
    complexes = [f"{', '.join(sorted(entered.complexes))}: complex numbers, which no metric compares"]
    for note in (*entered.data["notes"], *(complexes if entered.complexes else ())):
        click.echo(f"note: {note}")
    click.echo(f"nothing was copied; next: wdiv measure {run.root}" + ("" if base else f" --reference {epochs[0]}"))
