"""``wdiv features``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from studies.cli.console import print_table
from studies.cli.options import as_json, device, echo_json, given, of_frozen, pooling


@click.command()
@click.argument("data", metavar="NAME|PATH")
@of_frozen(grid=False)
@click.option(
    "--layer", "layers", multiple=True, metavar="L",
    help="A stage, a layer's name or depth, bottleneck, or 'all' stages and the bottleneck; may be repeated."
    "  [default: bottleneck]",
)  # fmt: skip
@pooling
@device
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.nc", help="The file.  Or .zarr."
)
@as_json
def features(
    data: str, layers: tuple[str, ...], pooling: str, device: str, out: Path, as_json: bool, **options: Any
) -> None:
    """Write what a frozen network makes of images, at any of its layers, as labelled netCDF.

    One group a layer, (sample, feature), of one forward pass; each sample with its name, its label, and whether it is
    in the training pool or the test set. --per-class and --seed take part of the pool, as 'wdiv run' does.
    """
    from studies.grid.frozen_features import write_features
    from studies.spec.study import Study, override
    from wdiv.cache import formats

    formats.check(out)
    study = override(Study("features"), {"data": data, **given(options)})
    tree = write_features(study, layers, out, pooling=pooling, device=device)
    rows = [
        {
            "layer": name, "stage": node.attrs["stage"], "depth": node.attrs["depth"],
            "samples": node.sizes["sample"], "features": node.sizes["feature"],
        }
        for name, node in tree.children.items()
    ]  # fmt: skip
    if as_json:
        echo_json({"file": str(out), "layers": rows})
    else:
        print_table(rows, list(rows[0]))
        click.echo(f"wrote {out}")
