"""``wdiv plot``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli import options


@click.command()
@click.argument("measures", metavar="DIR|FILE.nc", type=click.Path(path_type=Path))
@click.argument("figure", metavar="heatmap|profile")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.png", help="Or .pdf, .svg.")
@click.option("-m", "--metric", default="relative_l2", show_default=True, metavar="METRIC")
@click.option(
    "--role", "roles", multiple=True, metavar="KIND:ROLE", help="A panel, such as bn:running_mean; may be repeated."
)
@options.epoch
@options.group
def plot(
    measures: Path, figure: str, out: Path, metric: str, roles: tuple[str, ...], epoch: str, group: str | None
) -> None:
    """Draw how far each layer has moved, strategy by strategy.

    A store's folder is measured against the pretrained weights first; a file is what 'wdiv measure -o' wrote.
    """
    from studies.figures import check, draw
    from studies.finish import load_measures

    check(figure, out, metric)
    click.echo(
        f"wrote {draw(load_measures(measures, (metric,), group), figure, out, metric=metric, epoch=epoch, roles=roles)}"
    )
