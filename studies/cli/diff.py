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
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.nc|.zarr", help="Write the result here.")
@options.as_json
def diff(a: str, b: str, metrics: tuple[str, ...], renames: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Compare two checkpoints layer by layer: metric(A, B), A being the reference.

    A and B are checkpoint files (.pt .pth .tar .safetensors) or RUN_DIR[@EPOCH] of a wdiv store.
    """
    from studies.cli.console import print_table
    from wdiv.cache import formats
    from wdiv.compare import diff as compare
    from wdiv.measure import DEFAULT_METRICS
    from wdiv.metrics import metric_names
    from wdiv.summary import diff_rows, diff_summary

    names = metric_names(metrics or DEFAULT_METRICS, follows_epochs=False)
    if out:
        formats.check(out)
    tree = compare(a, b, names, renames=renames)
    if out:
        formats.save(tree, out)
    rows, summary = diff_rows(tree, names), diff_summary(tree, names)
    if as_json:
        options.echo_json({"a": a, "b": b, "layers": rows, "summary": summary})
        return
    shown = [row for row in rows if row["comparable"]]
    spell = dict.fromkeys(names[: options.MOST], lambda v: f"{v:.5g}")
    partner = {"partner": str} if any(row["partner"] != row["layer"] for row in shown) else {}
    reason = {"why": str} if any(row["why"] for row in shown) else {}
    print_table(shown, {"layer": str, **partner, "kind": str, "role": str, "depth": str, **spell, **reason})
    if len(names) > options.MOST:
        click.echo(f"{len(names) - options.MOST} more metrics were measured; --json prints and -o writes them all")
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
