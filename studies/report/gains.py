"""Change and gain: whether of runs that are alike in all but the seed those that moved more gained more."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from studies.report.observations import HALVES, START
from studies.spec.columns import headline
from wdiv.metrics import METRICS
from wdiv.numerics import false_discovery
from wdiv.store.stages import OUTSIDE

__all__ = ["change_and_gain"]

CELL = ["condition", "dataset", "per_class", "strategy", "bn_mode"]
"""What runs of one network agree in that differ in their seed alone."""
DRAWS = 5000
"""Orders of the seeds that are tried, where there are more."""


def change_and_gain(
    observations: pd.DataFrame, metric: str | None = None, in_modes: Collection[str] = ()
) -> pd.DataFrame:
    """Whether runs that moved more gained more: one row a model, kind and role of layer, and stage.

    rho      Spearman's rank correlation, over all runs, of a stage's divergence from the start and the run's gain: its
             accuracy less that of ``fc`` with the same model, data, size, seed and condition, in the same BN mode or,
             where there is no such one, in the only one there is. It mixes strategies, sizes and seeds, and describes.
             NaN where either is the same for all runs
    n        runs. ``fc`` itself and runs that started at random are left out: the ones gain nothing, the others began
             elsewhere
    within   the same of ranks among the runs that differ in their seed alone: no strategy or size can make it
    p, p_adjusted   of ``within``, two-sided, by permutation: which seed has which gains, in all cells alike, as a seed
             has the same images and partners in all of them. Three seeds have 6 orders, so p is a sixth at least. And
             adjusted for all rows, by Benjamini and Hochberg

    metric    :func:`~studies.spec.columns.headline` of those that the table has, unless another is named
    in_modes  strategies that are to run in several BN modes, though so far they may have in one
    """
    if metric is None:
        metric = headline([name for name in METRICS if observations["measure"].eq(name).any()])
    moved = observations[observations["measure"].eq(METRICS[metric].name) & observations["against"].eq(START)]
    moved = moved[~moved["part"].isin([*HALVES, *OUTSIDE, ""])].drop(columns="measure")
    table = moved.merge(_gains(observations, "fc" not in in_modes), on=["condition", "model", "dataset", "run"])
    rows = []
    for keys, group in table.groupby(["model", "layers", "part"], sort=False):
        varied = len(group) > 2 and group["value"].nunique() > 1 and group["gain"].nunique() > 1
        rho = float(spearmanr(group["value"], group["gain"])[0]) if varied else math.nan
        rows.append((*keys, metric, len(group), rho, *_within(group)))
    found = pd.DataFrame(rows, columns=["model", "layers", "stage", "measure", "n", "rho", "within", "p"])
    found = found.astype({"n": "int64", "rho": "float64", "within": "float64", "p": "float64"})
    return found.assign(p_adjusted=false_discovery(found["p"]))


def _within(group: pd.DataFrame) -> tuple[float, float]:
    """The correlation of ranks within cells, and its p."""
    cells = list(map(tuple, group[CELL].to_numpy()))
    rows, seeds = list(dict.fromkeys(cells)), sorted(group["seed"].unique())
    change, gain = np.full((2, len(rows), len(seeds)), np.nan)
    where = [rows.index(cell) for cell in cells], [seeds.index(seed) for seed in group["seed"]]
    change[where], gain[where] = group["value"], group["gain"]
    x, y = _ranks(change), _ranks(gain)
    size = math.sqrt(float((x**2).sum() * (y**2).sum()))
    if size == 0 or len(seeds) < 2:
        return math.nan, math.nan
    seen = float((x * y).sum())
    others = np.array([float((x * y[:, order]).sum()) for order in _orders(len(seeds))])
    return seen / size, float((np.abs(others) >= abs(seen) * (1 - 1e-9)).mean())


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Within each row, about their mean; 0 for what is missing."""
    found = rankdata(values, axis=1, nan_policy="omit")
    return np.nan_to_num(found - np.nanmean(found, axis=1, keepdims=True))


def _orders(count: int) -> list[tuple[int, ...]]:
    """Every order of so many, or :data:`DRAWS` of them, the one they have among those."""
    if math.factorial(count) <= DRAWS:
        return list(itertools.permutations(range(count)))
    rng = np.random.default_rng(0)
    return [tuple(range(count)), *(tuple(rng.permutation(count)) for _ in range(DRAWS - 1))]


def _gains(observations: pd.DataFrame, lone: bool = True) -> pd.DataFrame:
    """condition, model, dataset, run and gain over ``fc``, of the runs that have such a partner.

    lone: an ``fc`` that is there in one BN mode only is of one mode only, and a partner of all others.
    """
    cell = ["condition", "model", "dataset", "per_class", "seed"]
    accuracy = observations[observations["measure"].eq("accuracy")]
    is_fc = accuracy["strategy"].eq("fc")
    partners: dict[tuple[Any, ...], dict[str, float]] = {}  # cell -> BN mode -> accuracy
    for *where, mode, value in accuracy.loc[is_fc, [*cell, "bn_mode", "value"]].itertuples(index=False):
        partners.setdefault(tuple(where), {})[mode] = value
    others, gains = accuracy[~is_fc & ~accuracy["source"].eq("random")], []
    for *where, mode, value in others[[*cell, "bn_mode", "value"]].itertuples(index=False):
        found = partners.get(tuple(where), {})
        only = next(iter(found.values())) if lone and len(found) == 1 else float("nan")
        gains.append(value - found.get(mode, only))
    return others[["condition", "model", "dataset", "run"]].assign(gain=gains).dropna(subset="gain")
