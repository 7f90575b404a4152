"""``wdiv cka``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from studies.cli import options

MANY = 12
"""Layers that are named in one line at most."""
SHUFFLED = "procrustes_distance_shuffled"


@click.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--data",
    required=True,
    metavar="NAME|PATH",
    help="A data set's name, or a folder with one folder of images per class.",
)
@click.option("--count", type=int, default=32, show_default=True, metavar="N", help="How many images, at least 4.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="N", help="Draws the images.")
@click.option("--model", metavar="NAME", help="The network of files that do not say.  [default: the other one's]")
@click.option("--all-modules", is_flag=True, help="Every module, not only layers of the kinds that wdiv measures.")
@click.option("--across", is_flag=True, help="Also every layer of A against every layer of B; needs -o.")
@click.option("--skip-bad-images", is_flag=True, help="Leave out files that cannot be read.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu or cuda.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.nc", help="Write the result here; a .png draws it."
)
@options.as_json
def cka(
    a: str,
    b: str,
    data: str,
    count: int,
    seed: int,
    model: str | None,
    all_modules: bool,
    across: bool,
    skip_bad_images: bool,
    device: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Compare what two networks see in the same images, layer by layer, in the order in which A runs them.

    A and B are RUN_DIR[@EPOCH] of a wdiv store, source cards, checkpoint files or torchvision's names. linear_cka is
    1 for layers that see alike up to rotation and scale; procrustes_distance is 0. shuffled: what that comes to when B
    gets the images in another order; of few images it is near 0, too.
    """
    from wdiv.similarity import DEFAULT_METRICS, similarity_of

    _check(out, across)
    found = similarity_of(
        a, b, data, count=count, seed=seed, model=model, modules="all" if all_modules else "layers", across=across,
        device=device, skip_bad=skip_bad_images,
    )  # fmt: skip
    if out:
        _write(found, out)
    rows = _rows(found, DEFAULT_METRICS)
    if as_json:
        options.echo_json({"a": a, "b": b, **found.attrs, "layers": rows})
    else:
        _show(rows, found.attrs, DEFAULT_METRICS)
        if out:
            click.echo(f"wrote {out}")


def _check(out: Path | None, across: bool) -> None:
    """Say what is wrong with the file before anything runs."""
    from wdiv.errors import BadInput

    if across and out is None:
        raise BadInput("--across gives a value for every pair of layers: name a file for them with -o")
    if out is not None and out.suffix not in (".nc", ".png", ".pdf", ".svg"):
        raise BadInput(f"{out}: the file's name must end in .nc, or in .png, .pdf or .svg for a figure")
    if out is not None and out.suffix != ".nc" and not across:
        raise BadInput(f"{out}: only --across can be drawn; without it give a .nc file")


def _write(found: Any, out: Path) -> None:
    from studies.report.figures.across_layers import draw_across
    from wdiv.store.files import write_atomically

    if out.suffix == ".nc":
        write_atomically(out, lambda temporary: found.to_netcdf(temporary))
    else:
        draw_across(found, "linear_cka", out)


def _rows(found: Any, metrics: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each layer of A; with all pairs at hand, also which layer of B it is most like."""
    import numpy as np

    columns = {
        name: found[name].values.tolist() for name in ("depth", "layer", "kind", "stage", *metrics, SHUFFLED, "why")
    }
    if "layer_b" in found.dims:
        grid = np.nan_to_num(found["linear_cka_across"].values, nan=-np.inf)
        best = grid.argmax(axis=1)
        known = grid.max(axis=1) > -np.inf
        names = found["layer_b"].values[best]
        columns["most_like"] = [name if ok else None for name, ok in zip(names, known, strict=True)]
        columns["most_like_cka"] = np.where(known, grid.max(axis=1), np.nan).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _show(rows: list[dict[str, Any]], attrs: dict[str, Any], metrics: tuple[str, ...]) -> None:
    from studies.cli.console import print_table

    four = "{:.4f}".format
    columns: dict[str, Any] = {"depth": str, "layer": str, "kind": str, "stage": str}
    columns |= {name: four if name == "linear_cka" else "{:.4g}".format for name in metrics}
    columns["shuffled"] = "{:.4g}".format
    rows = [row | {"shuffled": row[SHUFFLED]} for row in rows]
    if "most_like" in rows[0]:
        columns |= {"most_like": str, "most_like_cka": four}
    elif any(row["why"] for row in rows):
        columns["why"] = str
    print_table(rows, columns)
    click.echo(f"\n{attrs['n']} images of {attrs['data']}; A = {attrs['a']}, B = {attrs['b']}")
    for text, name in (("only in A", "only_in_a"), ("only in B", "only_in_b"), ("left out", "left_out")):
        labels = attrs[name].split(", ") if attrs[name] else []
        if labels:
            click.echo(f"{text}: {', '.join(labels) if len(labels) <= MANY else f'{len(labels)} layers'}")
