"""Figures of a study, drawn from the long tables of :mod:`studies.report.observations`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from studies.report.figures import augmented, bought, moved
from studies.report.figures.asked import StudyFigure
from studies.report.figures.common import STYLE, chosen, saved
from studies.report.figures.measured import check_file
from studies.spec.figure import FIGURE_KINDS, Figure, FigureKind
from studies.spec.study import Study
from wdiv.errors import BadInput
from wdiv.store.files import plain_name

__all__ = ["DRAWN_BY", "draw", "figures"]

DRAWN_BY: Mapping[str, Callable[[StudyFigure], Any]] = MappingProxyType(
    {
        "panels": moved.panels,
        "profile": moved.profile,
        "accuracy": bought.accuracy,
        "bars": bought.bars,
        "lines": bought.lines,
        "corners": bought.corners,
        "layers": bought.layers,
        "augmented": augmented.augmented,
    }
)
"""Kind of figure -> what makes a matplotlib figure of what was :class:`StudyFigure`."""


def draw(
    figure: Figure,
    observations: pd.DataFrame,
    distances: pd.DataFrame,
    paper: pd.DataFrame | None,
    out: Path,
    ending: str = ".png",
    study: Study | None = None,
    n_test: Mapping[str, int] = MappingProxyType({}),
) -> list[Path]:
    """Draw what :func:`figures` makes into a folder: ``NAME.png``, or ``NAME-MODEL.png`` where it is of one model."""
    import matplotlib as mpl

    check_file(Path(f"{figure.name}{ending}"))
    made = figures(figure, observations, distances, paper, study, n_test)
    with mpl.rc_context(STYLE):
        return [
            saved(one, out / f"{figure.name}{f'-{plain_name(model)}' if model else ''}{ending}")
            for model, one in made.items()
        ]


def figures(
    figure: Figure,
    observations: pd.DataFrame,
    distances: pd.DataFrame,
    paper: pd.DataFrame | None = None,
    study: Study | None = None,
    n_test: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """A figure of a study as matplotlib's, for a notebook: model -> figure, or ``""`` -> the one figure of all models.

    observations, distances  as :func:`~studies.report.observations.observe` and ``layer_distances`` beside it give them
    paper   the paper's values, to be shown beside: ``value`` (a share of 1) and ``strategy``, and of the columns of
            ``observations`` those that tell them apart
    study   whose images are shown, by a figure that shows some
    n_test  dataset -> its test images: where they are known bands are intervals, else the range over the seeds

    Raises :class:`~wdiv.errors.BadInput`, saying what is missing, where there are no data for it.
    """
    import matplotlib as mpl

    kind = FIGURE_KINDS[figure.kind]
    with mpl.rc_context(STYLE):
        return {
            asked.model: DRAWN_BY[kind.name](asked)
            for asked in _asked(figure, kind, observations, distances, paper, study, n_test)
        }


def _asked(
    figure: Figure, kind: FigureKind, observations: pd.DataFrame, distances: pd.DataFrame, paper: pd.DataFrame | None,
    study: Study | None, n_test: Mapping[str, int],
) -> Iterator[StudyFigure]:  # fmt: skip
    """What each of its files is drawn from."""
    if kind.of_study:
        yield StudyFigure(figure, "", observations, distances, observations, paper, study, n_test)
        return
    table = distances if kind.by_layer else observations
    where = {column: values for column, values in figure.where.items() if column in table}
    lost = [column for column in figure.where if column not in table]
    if lost:
        raise BadInput(f"figure {figure.name!r}: {lost[0]} is no column of what a figure of kind {kind.name!r} shows")
    mine = chosen(table, where, figure.name)
    if mine.empty:
        raise BadInput(f"figure {figure.name!r}: no data at all")
    models: Sequence[str] = list(dict.fromkeys(mine["model"])) if kind.per_model else [""]
    for model in models:
        rows = mine[mine["model"].eq(model)] if model else mine
        every = observations[observations["model"].eq(model)] if model else observations
        parts = (every, rows) if kind.by_layer else (rows, distances)
        yield StudyFigure(figure, model, *parts, everything=every, paper=paper, study=study, n_test=n_test)
