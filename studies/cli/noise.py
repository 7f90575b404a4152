"""``wdiv noise``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.cli import options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-m", "--metric", default="l2", show_default=True, metavar="METRIC")
@click.option("--reference", metavar="R", help="pretrained, or 0.  [default: pretrained]")
@options.group
@click.option("-q", "--fdr", default=0.05, show_default=True, type=click.FloatRange(0, 1), help="False discovery rate.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write the table here.")
@options.as_json
def noise(
    store: Path, metric: str, reference: str | None, group: str | None, fdr: float, out: Path | None, as_json: bool
) -> None:
    """Say which layers moved more than seeds differ.

    For each strategy with several seeds and each layer: how far it moved, how far seeds lie apart, their ratio (0.71
    where seeds share nothing), and a test that the seeds moved the same way (3 seeds or more), adjusted for the number
    of layers. The metric is one that measures lengths in the unit of the weights: l2.
    """
    from wdiv.cache.measures import measured
    from wdiv.errors import BadInput, BadStore
    from wdiv.measure import pairwise
    from wdiv.store.engine import open_store
    from wdiv.store.files import write_atomically
    from wdiv.store.reader import CheckpointStore, without_damaged
    from wdiv.summary import against_noise_floor, finished, without_value
    from wdiv.summary.noise import check_asked

    if out and out.suffix != ".csv":
        raise BadInput(f"{out}: the file's name must end in .csv")
    check_asked(metric, reference or "pretrained")
    opened = CheckpointStore.open(store)

    def compared() -> tuple[xr.DataTree, pd.DataFrame]:
        div = finished(measured(opened, metric, reference or "pretrained", group))
        return div, against_noise_floor(div, pairwise(finished(open_store(opened, group)), metric), metric, fdr)

    left = [run.path.name for run in opened if group in (None, run.record.label) and run.state != "finished"]
    if len(left) == sum(group in (None, run.record.label) for run in opened):
        raise BadStore(f"{store}: no run is finished, and only finished ones are compared; there are {', '.join(left)}")
    if left:
        click.echo(f"note: {len(left)} runs are not finished, and left out: {', '.join(left)}", err=True)
    div, table = without_damaged([opened], compared)
    if out:
        write_atomically(out, lambda temporary: table.to_csv(temporary, index=False))
    if as_json:
        rows = table.astype({"moved_more": object}).where(table.notna(), None).to_dict("records")
        options.echo_json({"metric": metric, "reference": reference or "pretrained", "fdr": fdr, "layers": rows})
        return
    _print(table)
    missing = sum(without_value(div, [metric]).values())
    if missing:
        click.echo(f"{missing} tensors of single runs have nothing to be compared with, such as a fresh head")
    if len(tested := table["moved_more"].dropna()):
        click.echo(
            f"{metric}: {tested.sum()} of {len(tested)} tensors moved more than seeds differ "
            f"(false discovery rate {fdr:g})"
        )
    if (table["seeds"] < 3).any():
        click.echo("with 2 seeds there is a ratio but no test, and no verdict; 3 or more give one")
    if out:
        click.echo(f"wrote {out}")


def _print(table: pd.DataFrame) -> None:
    """What moved, without the columns that say the same in every row, and without those that say nothing."""
    from studies.cli.console import print_table

    shown = table[table["moved"].gt(0) | table["apart"].gt(0)]
    facts = ["model", "dataset", "n_train", "bn_mode", "source", "epochs"]
    shown = shown.drop(columns=[name for name in facts if table[name].nunique() == 1]).dropna(axis="columns", how="all")
    numbers = dict.fromkeys(("moved", "apart", "ratio", "p", "p_adjusted"), lambda v: f"{v:.3g}")
    rows = shown.astype(object).where(shown.notna(), None).to_dict("records")
    print_table(rows, {name: numbers.get(name, str) for name in shown})
    if len(shown) < len(table):
        click.echo(f"{len(table) - len(shown)} tensors did not move in any of the seeds, and are not listed")
    uneven = table[table["epochs"].str.contains(" to ")]
    for (strategy, epochs), _ in uneven.groupby(["strategy", "epochs"], sort=False):
        click.echo(f"{strategy}: its seeds ended after different epochs, {epochs}, each of which is taken as it is")
