"""Which test images each run, and each baseline, got right: what verdicts on accuracies are paired by."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from baselines import trials
from studies.report.effects import Answers
from wdiv.errors import BadStore
from wdiv.store import predictions
from wdiv.store.predictions import Predictions
from wdiv.store.reader import CheckpointStore

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
        for run in store:
            if run.finished:
                yield (condition, run.record.id), partial(predictions.of_run, run)
        for outcome in trials.load(store.path):
            yield (condition, outcome.id), partial(trials.predictions_of, outcome, store.path)
