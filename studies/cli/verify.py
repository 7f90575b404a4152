"""``wdiv verify``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@as_json
def verify(store: Path, as_json: bool) -> None:
    """Read and hash every file of a store again: is it all there, and did what was frozen stay as it was?

    Of a study with conditions, every store that has begun.
    """
    from dataclasses import asdict, replace

    from studies.cli.console import print_table
    from studies.grid.conditions import begun
    from wdiv.errors import BadStore
    from wdiv.store.reader import CheckpointStore
    from wdiv.store.verify import verify as check

    verdicts = [
        replace(verdict, run="/".join(filter(None, (condition, verdict.run))))
        for condition, one in (begun(store) or {"": CheckpointStore.at(store)}).items()
        for verdict in check(one)
    ]
    rows = [
        {**asdict(v), "verdict": "damaged" if v.problems else "not hashed" if v.note else "intact"} for v in verdicts
    ]
    if as_json:
        echo_json(rows)
    else:
        print_table(rows, ["run", "epochs", "planned", "frozen", "verdict"])
    problems = [problem for verdict in verdicts for problem in verdict.problems]
    if problems:
        raise BadStore("\n  ".join([f"{store}: {len(problems)} problems", *problems]))
    if not as_json:
        frozen = sum(verdict.frozen for verdict in verdicts)
        hashed = sum(not verdict.note for verdict in verdicts)
        if hashed:
            click.echo(f"{hashed} runs intact; {frozen} frozen tensors bit-identical")
        for note in dict.fromkeys(verdict.note for verdict in verdicts if verdict.note):
            click.echo(f"{len(rows) - hashed} runs {note}")
