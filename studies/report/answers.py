"""Which test images each run, and each baseline, got right: what verdicts on accuracies are paired by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from baselines import trials
from studies.report.effects import Answers
from wdiv.errors import BadStore
from wdiv.store import predictions
from wdiv.store.predictions import Predictions
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.wholes import join, wholes

__all__ = ["answers_of"]


def answers_of(stores: Mapping[str, CheckpointStore]) -> Answers:
    """Of every finished run and every baseline of some stores, condition -> store.

    Without those whose answers were not kept, or are damaged: verdicts on those are about these test images alone.
    """
    found = {}
    for key, read in _asked(stores):
        try:
            one = read()
        except BadStore:
            continue
        if one is not None:
            right = one.logits.argmax(axis=1) == one.images.labels
            found[key] = (one.images.digest, right.astype(np.float64))
    return found


def _asked(stores: Mapping[str, CheckpointStore]) -> Iterator[tuple[tuple[str, str], Callable[[], Predictions | None]]]:
    for condition, store in stores.items():
        told = ((run.record.id, run.record.fold, run) for run in store if run.finished)
        for name, runs in wholes(told).items():
            yield (condition, name), partial(_of_folds, runs)
        for outcome in trials.load_wholes(store.path):
            yield (condition, outcome.id), partial(trials.predictions_of, outcome, store.path)


def _of_folds(runs: Sequence[Run]) -> Predictions | None:
    """Of one run, or of those of all folds of a cross-validation."""
    found = [predictions.of_run(run) for run in runs]
    known = [one for one in found if one is not None]
    return join(known) if len(known) == len(found) else None
