"""A study's report: a verdict on every claim, the paper's tables beside ours, its figures, and the numbers behind them.

Read from the store alone, so that it can be made again, and while runs are still missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from studies import distance
from studies.conditions import begun
from studies.observations import change_and_gain, layer_distances, observe, write_observations
from studies.papers import published
from studies.state import states
from studies.stored import read_study, told
from studies.study import Study
from studies.tables import Filled, at_sizes_of, fill
from studies.transfer import negative_transfer
from studies.verdicts import Verdict, judge
from wdiv.cache import plain_name
from wdiv.errors import BadStore, WdivError
from wdiv.store.files import write_atomically, write_json
from wdiv.store.reader import CheckpointStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOLDER", "Report", "gather", "write"]

FOLDER = "report"
"""Beneath a study's folder."""


@dataclass(frozen=True, eq=False)
class Report:
    """What there is to say of a study.

    transfer    runs that did worse than training from scratch;  change: how a stage's change goes with gain
    figures     name -> its files;  missing: name -> why it could not be drawn
    unfinished  how many of the study's runs are not over, and how many there are
    """

    study: Study
    observations: pd.DataFrame
    distances: pd.DataFrame
    verdicts: Sequence[Verdict]
    tables: Sequence[Filled]
    transfer: pd.DataFrame
    change: pd.DataFrame
    figures: dict[str, list[Path]]
    missing: dict[str, str]
    unfinished: tuple[int, int]
    notes: Sequence[str]


def gather(out: Path, figures: Path | None = None) -> Report:
    """Everything a report says, its figures drawn into a folder, if one is given.

    Raises :class:`~wdiv.errors.BadStore` for a folder that holds no study, or no finished run.
    """
    import pandas as pd

    study = read_study(out)
    found = begun(out)
    if not found:
        raise BadStore(f"{out}: no run has begun; there is nothing to report")
    distances = layer_distances(found, study.metrics)
    observations = pd.concat([observe(found, study.metrics, distances=distances), distance.observe(found)])
    observations = observations.reset_index(drop=True)
    paper = None if study.paper is None else published(study.paper)
    told, sizes = (observations, "") if paper is None else at_sizes_of(paper, observations)
    drawn, missing = ({}, {}) if figures is None else _draw(study, observations, distances, paper, figures)
    whole = states(out)
    tests, notes = _told(found)
    return Report(
        study, observations, distances, judge(study.claims, observations),
        [fill(table, told, paper) for table in study.tables],
        negative_transfer(observations, tests), change_and_gain(observations), drawn, missing,
        (sum(not state.over for state in whole), len(whole)), [*notes, *filter(None, [sizes])],
    )  # fmt: skip


def write(out: Path, to: Path | None = None) -> tuple[Report, list[Path]]:
    """Write the report of the study in ``out`` into a folder (default ``report`` beneath it). Returns it and the files.

    ``report.md`` and ``report.html`` (one file, its figures inside), ``claims.json``, the tables, the observations,
    and the figures. ``distances.csv.gz`` has a row a layer: hundreds of thousands.
    """
    from studies.pages import as_html, as_markdown

    to = to or out / FOLDER
    report = gather(out, to / "figures")
    page = as_markdown(report, to)
    files = [
        _write_text(to / "report.md", page),
        _write_text(to / "report.html", as_html(page, to)),
        write_json(to / "claims.json", [
            {**verdict.to_json(), "text": verdict.claim.text, "where": verdict.claim.where}
            for verdict in report.verdicts
        ]),
        write_observations(report.observations, to / "observations.csv"),
        write_observations(report.distances, to / "distances.csv.gz"),
        *(_write_csv(table.cells, to / "tables" / f"{plain_name(table.table.name)}.csv") for table in report.tables),
        _write_csv(report.change, to / "change_and_gain.csv"),
        _write_csv(report.transfer, to / "negative_transfer.csv"),
        *(file for drawn in report.figures.values() for file in drawn),
    ]  # fmt: skip
    return report, files


def _draw(
    study: Study, observations: pd.DataFrame, distances: pd.DataFrame, paper: pd.DataFrame | None, to: Path
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    from studies.pictures import draw

    shares = _shares(study, paper)
    drawn, missing = {}, {}
    for figure in study.figures:
        try:
            drawn[figure.name] = draw(figure, observations, distances, shares, to, study=study)
        except WdivError as error:
            missing[figure.name] = str(error)
    return drawn, missing


def _shares(study: Study, paper: pd.DataFrame | None) -> pd.DataFrame | None:
    """The paper's numbers as shares of 1, by strategy: as the paper says, or as the study's tables read it."""
    import pandas as pd

    if paper is not None and "strategy" not in paper:
        readings = [reading for table in study.tables for reading in table.reading.items()]
        read = [paper.assign(strategy=paper[name].map(strategies)) for name, strategies in readings]
        paper = pd.concat(read).dropna(subset="strategy").drop_duplicates() if read else None
    return None if paper is None else paper.assign(value=paper["value"] / 100)


def _told(found: dict[str, Path]) -> tuple[dict[str, int], list[str]]:
    """Dataset -> its test images, and what the stores say of their data."""
    tests: dict[str, int] = {}
    notes: dict[str, None] = {}
    for path in found.values():
        notes |= dict.fromkeys(told(path)["notes"])
        if (path / "runs").is_dir():
            for run in CheckpointStore.open(path):
                tests[run.record.dataset] = run.record.n_test
    return tests, list(notes)


def _write_text(path: Path, text: str) -> Path:
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _write_csv(table: pd.DataFrame, path: Path) -> Path:
    return write_atomically(path, lambda temporary: table.to_csv(temporary, index=False))
