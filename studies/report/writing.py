"""A study's report as files: the page, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from studies.report.observations import write_observations
from studies.report.pages import as_html, as_markdown
from studies.report.report import Report, gather
from wdiv.store.files import plain_name, write_atomically, write_json
from wdiv.store.reader import CheckpointStore

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FOLDER", "write"]

FOLDER = "report"
"""Beneath a study's folder."""


def write(
    out: Path, to: Path | None = None, opened: Mapping[str, CheckpointStore] | None = None
) -> tuple[Report, list[Path]]:
    """Write the report of the study in ``out`` into a folder (default ``report`` beneath it). Returns it and the files.

    ``report.md`` and ``report.html`` (one file, its figures inside), ``claims.json``, the tables, the observations,
    and the figures. ``distances.csv.gz`` has a row a layer: hundreds of thousands. opened: as for
    :func:`~studies.report.report.gather`.
    """
    to = to or out / FOLDER
    report = gather(out, to / "figures", opened)
    drawn = _heatmaps(out, to / "figures") if report.advice is not None else []
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
        *drawn,
        *report.shown.values(),
        *(file for drawn in report.figures.values() for file in drawn),
    ]  # fmt: skip
    return report, files


def _heatmaps(out: Path, to: Path) -> list[Path]:
    """Those that were drawn when all was measured, beside the report's own figures."""
    return [_copy(file, to / file.name) for file in sorted(out.glob("heatmap*.png"))]


def _copy(file: Path, to: Path) -> Path:
    return write_atomically(to, lambda temporary: temporary.write_bytes(file.read_bytes()))


def _write_text(path: Path, text: str) -> Path:
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _write_csv(table: pd.DataFrame, path: Path) -> Path:
    return write_atomically(path, lambda temporary: table.to_csv(temporary, index=False))
