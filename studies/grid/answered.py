"""How each run of a study, and each of its baselines, answered the test images."""

from __future__ import annotations

from collections.abc import Mapping
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

__all__ = ["answered"]

Found = tuple[ClassificationScores | None, tuple[str, ...]]


def answered(out: Path, opened: Mapping[str, CheckpointStore] | None = None) -> list[dict[str, Any]]:
    """A row for each run that has kept predictions of the epoch that counts, and for each baseline.

    ``run``, the columns of :func:`wdiv.summary.answers`, and ``problem``: why they are not known though they were kept,
    else empty.

    opened: those of the study's :func:`~studies.grid.conditions.stores` that are open already.
    """
    found = stores(out) | dict(opened or {})
    rows = [_row(name, lambda run=run: _of_run(run)) for name, run in named_runs(found).items() if run is not None]
    for condition, store in found.items():
        for outcome in trials.load(store.path):
            name = f"{condition}/{outcome.id}" if condition else outcome.id
            rows.append(_row(name, lambda one=outcome, at=store.path: trials.scores_of(one, at)))
    return [row for row in rows if row["problem"] or row["confusion"] is not None]


def _row(name: str, scores: Any) -> dict[str, Any]:
    try:
        found, problem = scores(), ""
    except BadStore as error:
        found, problem = (None, ()), str(error)
    return {"run": name, **summary.answers(*found), "problem": problem}


def _of_run(run: Run) -> Found:
    found = predictions.of_run(run)
    if found is None:
        return None, ()
    return classification_scores(found.logits, found.images.labels, found.probabilities), found.classes
