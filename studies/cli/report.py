"""``wdiv report``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.cli.options import as_json, echo_json

if TYPE_CHECKING:
    from studies.report.findings import Verdict


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where it is written.  [default: DIR/report]"
)
@as_json
def report(store: Path, out: Path | None, as_json: bool) -> None:
    """Judge the claims of a study by its runs, and fill its tables and figures.

    The paper's numbers stand beside ours. 'wdiv run' writes it when all is trained; runs that are not finished are left
    out, and the report names them.
    """
    from studies.cli.console import print_table
    from studies.report.findings import p_in_words
    from studies.report.pages import summary, without
    from studies.report.writing import write

    found, files = write(store, out)
    if as_json:
        echo_json({
            "study": found.study.name, "claims": [verdict.to_json() for verdict in found.verdicts],
            "unfinished": found.unfinished[0], "left_out": found.left_out, "figures_missing": found.missing,
            "files": [str(f) for f in files],
        })  # fmt: skip
        return
    if found.verdicts:
        rows = [verdict.to_json() | {"reason": _reason(verdict)} for verdict in found.verdicts]
        print_table(rows, {"claim": str, "verdict": str, "in_words": str, "seeds": str, "q": p_in_words, "reason": str})
        click.echo(summary(found.verdicts))
    if found.left_out:
        click.echo(f"note: {without(found)}")
    for name, why in found.missing.items():
        click.echo(f"note: {name} could not be drawn: {why}")
    click.echo(f"wrote {files[0]}, {files[1].name} and {len(files) - 2} files beside them")


def _reason(verdict: Verdict) -> str:
    """Beside what is said of a verdict in words: why it is not decided, or on what it depends."""
    from studies.report.findings import DEPENDS

    if verdict.verdict == DEPENDS:
        return verdict.in_cells
    return verdict.reason if verdict.pairs else ""
