"""``wdiv measure``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli import options

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from wdiv.store.reader import CheckpointStore


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@options.metrics
@options.reference
@click.option(
    "--reduction",
    default="layer",
    show_default=True,
    metavar="layer|filter|stage",
    help="What one value stands for; filters are written with -o, not printed.",
)
@options.shown
@options.group
@options.epoch
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.nc|.zarr", help="Write every epoch and layer here."
)
@options.as_json
def measure(
    store: Path,
    metrics: tuple[str, ...],
    reference: str | None,
    reduction: str,
    group: str | None,
    epoch: str,
    out: Path | None,
    as_json: bool,
    **of_images: Any,
) -> None:
    """Measure how far each layer has moved; print the mean of each stage.

    What was measured before is kept in DIR/measures.nc: only epochs that are new are read. output_change shows each
    layer images, those that the runs trained on or others: then it is one number for every kind of layer.
    """
    from studies.cli.console import print_table
    from wdiv import summary
    from wdiv.cache import formats
    from wdiv.cache.measures import measured
    from wdiv.errors import BadInput
    from wdiv.measure import DEFAULT_METRICS
    from wdiv.metrics import METRICS, metric_names
    from wdiv.store.engine import open_store
    from wdiv.store.reader import CheckpointStore, without_damaged

    names = metric_names(metrics or DEFAULT_METRICS, reduction, images=True)
    images = options.images_of("output_change" in names, **of_images)
    if reduction == "filter" and not out:
        raise BadInput("--reduction filter gives a value for each filter: say where to, with -o FILE.nc")
    if out:
        formats.check(out)
    against = reference or "pretrained"
    opened = CheckpointStore.open(store)

    def divergences() -> xr.DataTree:
        if reduction == "layer":
            return measured(opened, names, against, group, images)
        return _by_reduction(opened, open_store(opened, group), names, against, reduction, images)

    div = without_damaged([opened], divergences)
    if out:
        formats.save(div, out)
    rows = [] if reduction == "filter" else _by_stage(div, names, epoch).to_dict("records")
    broken = summary.not_finite(div).to_dict("records")
    missing = summary.without_value(div, names, epoch)
    if as_json:
        options.echo_json({
            "reference": div.attrs["reference"], "epoch": epoch, "reduction": reduction, "stages": rows,
            "without_value": missing, "not_finite": broken,
        })  # fmt: skip
        return
    if rows:
        keys, shown = [key for key in rows[0] if key not in names], names[: options.MOST]
        rows = [row for row in rows if any(row[name] == row[name] for name in shown)]
        print_table(rows, {**dict.fromkeys(keys, str), **dict.fromkeys(shown, lambda v: f"{v:.4g}")})
        if len(names) > options.MOST:
            click.echo(f"{len(names) - options.MOST} more metrics were measured; --json prints and -o writes them all")
        what = "all weights of a stage as one tensor" if reduction == "stage" else "mean over the layers of a stage"
        paths = all(METRICS[name].family == "trajectory" for name in names)
        against = f"{div.attrs['direction']}, reference {div.attrs['reference']}"
        click.echo(f"{what}, {'along the path from the first saved epoch' if paths else against}")
    for reason, count in missing.items():
        click.echo(f"no value: {count} {'filters' if reduction == 'filter' else 'tensors'}, {reason}")
    if broken:
        click.echo(f"inf or NaN: {len(broken)} tensors; the first epoch of each:")
        print_table(broken, list(broken[0]))
    if out:
        click.echo(f"wrote {out}")


def _by_reduction(
    store: CheckpointStore, tree: xr.DataTree, names: tuple[str, ...], reference: str, reduction: str, images: Any
) -> xr.DataTree:
    """By filter or stage, which is not kept."""
    from wdiv.measure import divergence, together

    of_weights = [name for name in names if name != "output_change"]
    parts = [divergence(tree, of_weights, reference, reduction=reduction)] if of_weights else []
    if len(of_weights) < len(names):
        from wdiv.outputs import Images, Starts, changes

        parts.append(changes(store, tree, Starts(images or Images()), reference, reduction=reduction))
    return together(parts, names)


def _by_stage(div: xr.DataTree, names: tuple[str, ...], epoch: str) -> pd.DataFrame:
    """One row a (run, kind, role, stage), the metrics beside one another; ``layers``: the most that one of them has."""
    import pandas as pd

    from wdiv.summary import stage_profile

    long = pd.concat([stage_profile(div, name, epoch).assign(metric=name) for name in names], ignore_index=True)
    keys = [key for key in ("run", "kind", "role", "stage") if key in long]
    values = long.pivot_table(index=keys, columns="metric", values="value", sort=False).reindex(columns=list(names))
    layers = long.groupby(keys, sort=False)["layers"].max()
    return pd.concat([layers, values], axis=1).reset_index()
