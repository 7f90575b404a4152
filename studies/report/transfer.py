"""Negative transfer: runs that did worse than training from scratch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from studies.report.pairing import prepare
from wdiv.numerics import share_interval

__all__ = ["negative_transfer"]

ALIKE = ["condition", "model", "dataset", "per_class", "seed"]
"""What a run and its run from scratch share; not the source, for which scratch has no use, nor the BN mode."""
ONE_SIDED = 1.6448536269514722
"""The 95 % quantile of the normal distribution."""


def negative_transfer(observations: pd.DataFrame, n_test: int | Mapping[str, int] | None = None) -> pd.DataFrame:
    """Each run and baseline whose test accuracy is below that of the best run from scratch beside it, worst first.

    observations  as for :func:`~studies.report.verdicts.judge`; a run from scratch is one whose strategy is
                  ``scratch``, at whatever rate. What else starts from random weights transfers nothing, and is left out
    n_test        test images, or dataset -> test images

    condition, model, source, dataset, per_class, strategy, bn_mode, seed, run    of the run
    accuracy, scratch    of the run, and of scratch on as much data, same seed;  lost: scratch − accuracy, shares of 1
    low, high            95 % interval of ``accuracy`` for other test images; NaN where ``n_test`` is not known
    beyond_sampling      whether so few test images alone would make it lose as much in under one of 20 cases: the
                         one-sided two-proportion z test, pooled. Both are judged on the same images, which as a rule
                         makes the true error smaller, so True is on the safe side. None where ``n_test`` is not known

    One seed is one draw: this flags runs, and decides nothing on strategies.
    """
    table = prepare(observations).table
    table = table[table["measure"].eq("accuracy") & table["value"].notna()]
    is_scratch = table["strategy"].str.fullmatch("scratch([ =].*)?")
    is_random = table["strategy"].str.contains("random")
    best = table[is_scratch].groupby(ALIKE, as_index=False)["value"].max().rename(columns={"value": "scratch"})
    found = table[~is_scratch & ~is_random].merge(best, on=ALIKE).rename(columns={"value": "accuracy"})
    found["lost"] = found["scratch"] - found["accuracy"]
    found = found[found["lost"] > 0].sort_values(["lost", "run"], ascending=[False, True], ignore_index=True)
    known = n_test if isinstance(n_test, Mapping) else dict.fromkeys(found["dataset"], n_test)
    images = found["dataset"].map(known).astype("float64")
    _, found["low"], found["high"] = share_interval([found["accuracy"]], images)
    pooled = (found["scratch"] + found["accuracy"]) / 2
    beyond = found["lost"] > ONE_SIDED * np.sqrt(2 * pooled * (1 - pooled) / images)
    found["beyond_sampling"] = beyond.astype(object).where(images.notna(), None)
    columns = ["condition", "model", "source", "dataset", "per_class", "strategy", "bn_mode", "seed", "run"]
    return found[[*columns, "low", "high", "accuracy", "scratch", "lost", "beyond_sampling"]]
