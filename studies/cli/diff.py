"""``wdiv diff``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli import options


@click.command()
@click.argument("a")
@click.argument("b")
@options.metrics
@click.option(
    "--rename", "renames", multiple=True, metavar="OLD=NEW", help="Change the beginning of B's names; may be repeated."
)
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.nc", help="Write the result here.")
@options.as_json
def diff(a: str, b: str, metrics: tuple[str, ...], renames: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Compare two checkpoints layer by layer: metric(A, B), A being the reference.

    A and B are checkpoint files (.pt .pth .tar .safetensors) or RUN_DIR[@EPOCH] of a wdiv store.
    """
    from studies.console import print_table
    from studies.finish import write_netcdf
    from wdiv.compare import diff as compare
    from wdiv.measure import DEFAULT_METRICS
    from wdiv.summary import diff_rows, diff_summary

    names = metrics or DEFAULT_METRICS
    tree = compare(a, b, names, renames=renames)
    if out:
        write_netcdf(tree, out)
    rows, summary = diff_rows(tree, names), diff_summary(tree, names)
    if as_json:
        options.echo_json({"a": a, "b": b, "layers": rows, "summary": summary})
        return
    shown = [row for row in rows if row["comparable"]]
    spell = dict.fromkeys(names, lambda v: f"{v:.5g}")
    print_table(shown, {"layer": str, "partner": str, "kind": str, "role": str, "depth": str, **spell, "why": str})
    click.echo(f"\nmatched {summary['matched']}; metric(A, B), A = {a}")
    means = [{"kind": kind, **entry} for kind, entry in summary["kinds"].items()]
    print_table(
        means,
        {"kind": str, "comparable": str, "not_comparable": str, **spell},
        title="mean over layers (weight, gamma)",
    )
    left = [row for row in rows if not row["comparable"]]
    if left:
        click.echo(f"\nnot comparable: {len(left)} tensors")
        print_table(left, ["layer", "kind", "role", "side", "why"])
    if out:
        click.echo(f"wrote {out}")
