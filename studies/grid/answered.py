"""How each run of a study, and each of its baselines, answered the test images, and whether it learned its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from baselines import trials
from studies.grid.conditions import stores
from studies.grid.state import named_runs
from wdiv import summary
from wdiv.errors import BadStore
from wdiv.numerics.classification import ClassificationScores, classification_scores
from wdiv.store import predictions
from wdiv.store.reader import CheckpointStore, Run

__all__ = ["answered", "notes"]

Found = tuple[ClassificationScores | None, tuple[str, ...]]


def answered(out: Path, opened: Mapping[str, CheckpointStore] | None = None) -> list[dict[str, Any]]:
    """A row for each finished run of which answers after the epoch that counts are known, and for each baseline.

    ``run``, the columns of :func:`wdiv.summary.answers` and of :func:`wdiv.summary.fitted`, and ``problem``: why the
    former are not known though they were kept, else empty.

    opened: those of the study's :func:`~studies.grid.conditions.stores` that are open already.
    """
    found = stores(out) | dict(opened or {})
    rows = [
        _row(name, partial(_of_run, run)) | summary.fitted(run.final_row)
        for name, run in named_runs(found).items() if run is not None and run.finished
    ]  # fmt: skip
    for condition, store in found.items():
        for outcome in trials.load(store.path):
            name = f"{condition}/{outcome.id}" if condition else outcome.id
            rows.append(_row(name, partial(trials.scores_of, outcome, store.path)) | summary.fitted(outcome.fitted))
    return [row for row in rows if row["problem"] or row["trained"] or row["confusion"] is not None]


def notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of rows of :func:`answered` in words: who has not trained, who answers one class alone, and
    what is damaged."""
    return [
        *summary.untrained_notes(rows),
        *summary.one_class_notes(rows),
        *(row["problem"] for row in rows if row["problem"]),
    ]


def _row(name: str, scores: Callable[[], Found]) -> dict[str, Any]:
    try:
        return {"run": name, **summary.answers(*scores()), "problem": ""}
    except BadStore as error:
        return {"run": name, **summary.answers(None, ()), "problem": str(error)}


def _of_run(run: Run) -> Found:
    found = predictions.of_run(run)
    if found is None:
        return None, ()
    return classification_scores(found.logits, found.images.labels, found.probabilities), found.classes
