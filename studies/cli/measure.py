"""``wdiv measure``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli import options


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@options.metrics
@options.reference
@options.group
@options.epoch
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.nc", help="Write every epoch and layer here."
)
@options.as_json
def measure(
    store: Path,
    metrics: tuple[str, ...],
    reference: str | None,
    group: str | None,
    epoch: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure how far each layer has moved; print the mean of each stage."""
    from studies.console import print_table
    from studies.finish import measure_store, write_netcdf
    from wdiv.measure import DEFAULT_METRICS
    from wdiv.summary import stage_profile

    names = metrics or DEFAULT_METRICS
    div = measure_store(store, names, reference or "pretrained", group)
    written = write_netcdf(div, out) if out else None
    tables = [stage_profile(div, name, epoch).rename(columns={"value": name}) for name in names]
    keys = [key for key in ("run", "kind", "role", "stage", "layers") if key in tables[0]]
    table = tables[0]
    for other in tables[1:]:
        table = table.merge(other, how="outer", on=[c for c in table if c in other and c not in names], sort=False)
    rows = table[[*keys, *names]].to_dict("records")
    if as_json:
        options.echo_json({"reference": div.attrs["reference"], "epoch": epoch, "stages": rows})
        return
    print_table(rows, {**dict.fromkeys(keys, str), **dict.fromkeys(names, lambda v: f"{v:.4g}")})
    click.echo(f"mean over the layers of a stage, {div.attrs['direction']}, reference {div.attrs['reference']}")
    if written:
        click.echo(f"wrote {written}")
