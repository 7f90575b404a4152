"""The two sides of a claim, row by row: which observations are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from studies.spec.claim import Claim
from studies.spec.columns import COLUMNS, SELECTABLE, SIZES
from wdiv.errors import BadInput
from wdiv.registry import did_you_mean

__all__ = ["Observations", "Pairs", "of_claim", "prepare"]

KEYS = (*(name for name in SELECTABLE if name != "source"), "seed")
"""What two rows must agree in to be compared, where the claim does not name it. Not the source: a condition has one for
a network, and training from scratch none."""
ROUNDING = 1e-12
"""The share of two values by which they differ at most, if they differ by rounding alone."""


@dataclass(frozen=True)
class Observations:
    """A checked table, and what words for sizes mean in it.

    table  the columns of :data:`~studies.spec.columns.COLUMNS`, and ``lone``: the strategy exists in one BN mode only
    sizes  word -> (model, dataset) -> per_class
    """

    table: pd.DataFrame
    sizes: Mapping[str, Mapping[tuple[str, str], str]]


@dataclass(frozen=True)
class Pairs:
    """What a claim compares.

    table     ``seed`` and ``difference`` (of logarithms for a ratio), one row a pair
    left_out  values that are no number on the claim's scale
    missing   why there is no pair; empty where there is one
    """

    table: pd.DataFrame
    left_out: int = 0
    missing: str = ""


def prepare(observations: pd.DataFrame) -> Observations:
    """Raises :class:`~wdiv.errors.BadInput` for a table that lacks a column."""
    lacking = [name for name in COLUMNS if name not in observations]
    if lacking:
        raise BadInput(f"observations have no column {', '.join(lacking)}")
    table = observations[list(COLUMNS)].astype({"value": "float64", "n_train": "float64"})
    for name in SELECTABLE:
        table[name] = table[name].astype(str).mask(table[name].isna(), "")  # a file gives NaN for what is empty
    table = table.sort_values([*KEYS, "run"], kind="stable", ignore_index=True)  # the order of rows shall not matter
    modes = table.groupby(["model", "dataset", "strategy"])["bn_mode"].transform("nunique")
    return Observations(table.assign(lone=modes.astype("float64") == 1), _sizes(table))


def _sizes(table: pd.DataFrame) -> dict[str, dict[tuple[str, str], str]]:
    found: dict[str, dict[tuple[str, str], str]] = {word: {} for word in SIZES}
    means = table.groupby(["model", "dataset", "per_class"], as_index=False)["n_train"].mean()
    means = means.assign(last=means["per_class"] == "all").sort_values(["n_train", "last"], kind="stable")
    for place, group in means.groupby(["model", "dataset"]):
        sizes = group["per_class"].tolist()
        found["smallest"][place], found["largest"][place] = sizes[0], sizes[-1]
        if len(sizes) > 2:
            found["middle"][place] = sizes[(len(sizes) - 1) // 2]
    return found


def of_claim(claim: Claim, observations: Observations) -> Pairs:
    """Left less right, for each combination of what the claim does not name.

    What a selector gives several values of is averaged before. Rows agree in their BN mode too, but a strategy that
    exists in one mode only (a baseline on frozen features, training from scratch) is set against every mode.
    """
    table = observations.table
    masks = {side: _chosen(observations, claim.side(side)) for side in ("left", "right")}
    for side, mask in masks.items():
        if not mask.any():
            return _no_pairs(table, _missing(observations, claim.side(side)))
    same = masks["left"] & masks["right"]  # where words name one size in two ways
    left, right = (_values(claim, table[mask & ~same], table) for mask in masks.values())
    left_out = int(left["value"].isna().sum() + right["value"].isna().sum())
    keys = [name for name in KEYS if name not in claim.compared]
    beside = _beside(left.dropna(subset=["value"]), right.dropna(subset=["value"]), keys)
    if beside.empty:
        return _no_pairs(table, _unpaired(claim, same.any(), left, right), left_out)
    difference, size = beside["value"] - beside["value_other"], beside["value"].abs() + beside["value_other"].abs()
    beside["difference"] = difference.where(difference.abs() > ROUNDING * size, 0.0)
    pairs = beside.groupby(keys, as_index=False)["difference"].mean()
    return Pairs(pairs[["seed", "difference"]], left_out)


def _no_pairs(table: pd.DataFrame, why: str, left_out: int = 0) -> Pairs:
    none = table.iloc[:0].rename(columns={"value": "difference"})
    return Pairs(none[["seed", "difference"]], left_out, f"no runs to compare: {why}")


def _unpaired(claim: Claim, same: bool, left: pd.DataFrame, right: pd.DataFrame) -> str:
    """Why two sides that both have rows have none to compare."""
    for side in (left, right):
        if side.empty:
            return "both sides are the same runs" if same else f"no run of {claim.over!r} beside them"
        if side["value"].isna().all():
            return f"none of {len(side)} values is a number" + (" above 0" if claim.scale == "ratio" else "")
    return "no two of them agree in all that is not compared"


def _chosen(observations: Observations, selectors: Mapping[str, Sequence[str]]) -> pd.Series:
    return pd.concat([_is(observations, *chosen) for chosen in selectors.items()], axis=1).all(axis=1)


def _is(observations: Observations, column: str, values: Sequence[str]) -> pd.Series:
    table = observations.table
    found = table[column].isin(values)
    if column in ("per_class", "against"):
        places = list(zip(table["model"], table["dataset"], strict=True))
        for word in set(values) & set(SIZES):
            sizes = [observations.sizes[word].get(place) for place in places]
            found |= table[column].eq(pd.Series(sizes, table.index, object))
    return found


def _missing(observations: Observations, selectors: Mapping[str, Sequence[str]]) -> str:
    """The first selector that leaves nothing of what those before it chose."""
    mask = pd.Series(True, observations.table.index)
    if mask.empty:
        return "there are no observations"
    for column, values in selectors.items():
        narrower = mask & _is(observations, column, values)
        if not narrower.any():
            break
        mask = narrower
    present = set(observations.table.loc[mask, column])
    hint = f"; {did_you_mean(values[0], present)}" if len(values) == 1 and values[0] not in SIZES else ""
    return f"nothing with {column} {' or '.join(map(repr, values))}{hint}"


def _values(claim: Claim, side: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """A side's rows with the values that are compared: logarithms for ratios, gains above ``over``."""
    side = side.assign(value=_on_scale(side["value"], claim.scale))
    if not claim.over:
        return side
    base = table[table["strategy"] == claim.over]
    base = base.assign(value=_on_scale(base["value"], claim.scale))
    keys = [name for name in KEYS if name != "strategy"]
    means = _beside(side.assign(row=side.index), base, keys).groupby("row")["value_other"].mean()
    return side.loc[means.index].assign(value=lambda rows: rows["value"] - means)


def _on_scale(values: pd.Series, scale: str) -> pd.Series:
    """What has no place on the scale is NaN: infinite values, and logarithms of what is not above 0."""
    if scale == "ratio":
        values = np.log(values.where(values > 0))
    return values.where(np.isfinite(values))


def _beside(left: pd.DataFrame, right: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Every row of ``left`` beside every row of ``right`` that agrees in the keys, its value as ``value_other``.

    ``bn_mode``, where it is a key, is that of the side which has several, and empty where neither has.
    """
    by = [name for name in keys if name != "bn_mode"]
    pairs = left.merge(right[[*by, *({"bn_mode", "lone"} - {*by}), "value"]], on=by, suffixes=("", "_other"))
    if "bn_mode" not in keys:
        return pairs
    pairs = pairs[(pairs["bn_mode"] == pairs["bn_mode_other"]) | pairs["lone"] | pairs["lone_other"]]
    mode = pairs["bn_mode"].where(~pairs["lone"], pairs["bn_mode_other"])
    return pairs.assign(bn_mode=mode.where(~(pairs["lone"] & pairs["lone_other"]), ""))
