"""``wdiv plot``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from studies.cli import options


@click.command()
@click.argument("measures", metavar="DIR|FILE.nc|.zarr", type=click.Path(path_type=Path))
@click.argument("figure", metavar="heatmap|profile|epochs")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.png", help="Or .pdf, .svg.")
@click.option("-m", "--metric", metavar="METRIC", help="What to draw.  [default: output_change]")
@click.option(
    "--role", "roles", multiple=True, metavar="KIND:ROLE", help="A panel, such as bn:running_mean; may be repeated."
)
@click.option("--run", "run_id", metavar="RUN", help="Whose epochs 'epochs' shows.  [default: the only one]")
@options.shown
@options.epoch
@options.group
def plot(
    measures: Path,
    figure: str,
    out: Path,
    metric: str | None,
    roles: tuple[str, ...],
    run_id: str | None,
    epoch: str,
    group: str | None,
    **of_images: Any,
) -> None:
    """Draw how far each layer has moved: strategy by strategy, or one run epoch by epoch.

    A store's folder is measured against the pretrained weights first; a file is what 'wdiv measure -o' wrote. Unless a
    metric is named, it is output_change, or its proxy where there are no images; of a role that is one tensor, such as
    bn:gamma, relative_l2.
    """
    from studies.report.figures.measured import check, draw
    from studies.report.finish import load_measures
    from wdiv.errors import BadStore
    from wdiv.layers import KINDS
    from wdiv.measure import roles_of
    from wdiv.summary import finished

    own = {f"{kind}:{role}" for kind in KINDS for role in roles_of("output_change", kind)}
    if metric is None and not own.issuperset(roles):
        metric = "relative_l2"
    check(figure, out, metric or "output_change")
    images = options.images_of(metric in (None, "output_change"), **of_images)
    div, metric, note = load_measures(measures, metric, group, images)
    if note:
        click.echo(f"note: {note}")
    if figure != "epochs":  # which is of one run, however far it is; the others are of what strategies come to
        div = finished(div)
        if not div.sizes["run"]:
            raise BadStore(
                f"{measures}: no run is finished, and {figure!r} is of finished runs; 'epochs' draws any run"
            )
    drawn = draw(div, figure, out, metric=metric, epoch=epoch, roles=roles, run=run_id)
    click.echo(f"wrote {drawn}")
