"""``wdiv verify``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import as_json, echo_json


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--repair", is_flag=True, help="Make again what is damaged: weights from their source, runs by training anew."
)
@as_json
def verify(store: Path, repair: bool, as_json: bool) -> None:
    """Read and hash every file of a store again: is it all there, and did what was frozen stay as it was?

    Of a study, every condition that has begun, and its source networks. A run is only made again where that gives, bit
    for bit, what is left of it.
    """
    from dataclasses import asdict, replace

    from studies.cli.bars import Bars
    from studies.cli.console import print_table
    from studies.grid import verifying
    from studies.grid.study_file import lost
    from wdiv.errors import BadStore
    from wdiv.store.verify import verify as check

    if repair:
        for line in verifying.repair(store, progress=Bars(quiet=as_json)):
            click.echo(line, err=as_json)
    opened = verifying.verified(store)
    verdicts = [
        replace(verdict, run="/".join(filter(None, (condition, verdict.run))))
        for condition, one in opened.items()
        for verdict in check(one)
    ]
    rows = [
        {**asdict(v), "verdict": "damaged" if v.problems else "not hashed" if v.note else "intact"} for v in verdicts
    ]
    if as_json:
        echo_json(rows)
    else:
        thinned = ["thinned"] if any(row["thinned"] for row in rows) else []
        print_table(rows, ["run", "epochs", *thinned, "planned", "frozen", "verdict"])
    problems = dict.fromkeys(problem for verdict in verdicts for problem in verdict.problems)
    for folder in dict.fromkeys([store, *(one.path for one in opened.values())]):
        problems |= dict.fromkeys(verifying.files_at_fault(folder).values())
    without_study = lost(store)
    if without_study and not as_json:
        click.echo(f"note: {without_study}")
    if problems:
        hint = "" if repair else "; 'wdiv verify --repair' makes again what can be"
        raise BadStore("\n  ".join([f"{store}: {len(problems)} problems{hint}", *problems]))
    if not as_json:
        frozen = sum(verdict.frozen for verdict in verdicts)
        hashed = sum(not verdict.note for verdict in verdicts)
        if hashed:
            click.echo(f"{hashed} runs intact; {frozen} frozen tensors bit-identical")
        for note in dict.fromkeys(verdict.note for verdict in verdicts if verdict.note):
            click.echo(f"{len(rows) - hashed} runs {note}")
