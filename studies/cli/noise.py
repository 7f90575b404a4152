"""``wdiv noise``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli import options


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-m", "--metric", default="relative_l2", show_default=True, metavar="METRIC")
@click.option("--reference", metavar="R", help="pretrained, or an epoch.  [default: pretrained]")
@options.group
@click.option("-q", "--fdr", default=0.05, show_default=True, type=click.FloatRange(0, 1), help="False discovery rate.")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write the table here.")
@options.as_json
def noise(
    store: Path, metric: str, reference: str | None, group: str | None, fdr: float, out: Path | None, as_json: bool
) -> None:
    """Say which layers moved more than seeds differ.

    For each strategy with several seeds and each layer: how far it moved, how far seeds lie apart, their ratio, and a
    one-sided jackknife test that the ratio is above 1 (3 seeds or more), adjusted for the number of layers.
    """
    from studies.cli.console import print_table
    from wdiv.cache.measures import measured
    from wdiv.errors import BadInput
    from wdiv.measure import pairwise
    from wdiv.store.engine import open_store
    from wdiv.store.files import write_atomically
    from wdiv.summary import against_noise_floor, without_value

    if out and out.suffix != ".csv":
        raise BadInput(f"{out}: the file's name must end in .csv")
    div = measured(store, metric, reference or "pretrained", group)
    table = against_noise_floor(div, pairwise(open_store(store, group), metric), metric, fdr)
    if out:
        write_atomically(out, lambda temporary: table.to_csv(temporary, index=False))
    same = [name for name in ("model", "dataset", "n_train", "bn_mode") if table[name].nunique() == 1]
    rows = table.drop(columns=same).to_dict("records")
    if as_json:
        options.echo_json({"metric": metric, "reference": reference or "pretrained", "fdr": fdr, "layers": rows})
        return
    numbers = dict.fromkeys(("moved", "apart", "ratio", "p", "p_adjusted"), lambda v: f"{v:.3g}")
    shown = [row for row in rows if row["moved"] or row["apart"]]
    print_table(shown, {name: numbers.get(name, str) for name in shown[0]} if shown else [])
    if len(shown) < len(rows):
        click.echo(f"{len(rows) - len(shown)} tensors did not move in any of the seeds, and are not listed")
    missing = sum(without_value(div, [metric]).values())
    if missing:
        click.echo(f"{missing} tensors of single runs have nothing to be compared with, such as a fresh head")
    more = int(table["moved_more"].sum())
    click.echo(f"{metric}: {more} of {len(table)} tensors moved more than seeds differ (false discovery rate {fdr:g})")
    if (table["seeds"] < 3).any():
        click.echo("with 2 seeds there is a ratio but no test; 3 or more give one")
    if out:
        click.echo(f"wrote {out}")
