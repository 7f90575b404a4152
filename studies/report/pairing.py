"""The two sides of a claim, row by row: which observations are compared with which."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd

from studies.spec.claim import Claim
from studies.spec.columns import COLUMNS, IMAGES, OPTIONAL, SELECTABLE, SIZES
from wdiv.errors import BadInput
from wdiv.registry import did_you_mean

__all__ = ["CELL", "KEYS", "Observations", "Pairs", "Part", "of_claim", "prepare"]

CELL = tuple(name for name in SELECTABLE if name != "source")
"""What two rows must agree in to be compared, beside the seed, where the claim does not name it. Not the source: a
condition has one for a network, and training from scratch none."""
KEYS = (*CELL, "seed")
ROUNDING = 1e-12
"""The share of two values by which they differ at most, if they differ by rounding alone."""
Part = tuple[tuple[str, str], float]
"""A run, by its condition and its name, and with which weight its value enters a difference."""


@dataclass(frozen=True)
class Observations:
    """A checked table, and what words for sizes mean in it.

    table  the columns of :data:`~studies.spec.columns.COLUMNS` and of :data:`~studies.spec.columns.OPTIONAL`, and
           ``lone``: the strategy is of one BN mode only
    sizes  word -> (model, dataset) -> per_class
    """

    table: pd.DataFrame
    sizes: Mapping[str, Mapping[tuple[str, str], str]]

    @cached_property
    def places(self) -> list[tuple[str, str]]:
        """Model and data set of each row."""
        return list(zip(self.table["model"], self.table["dataset"], strict=True))


@dataclass(frozen=True)
class Pairs:
    """What a claim compares.

    keys      columns that tell its cells: all of :data:`CELL` that it does not compare
    table     one row a pair: those and ``seed``; ``left`` and ``right``, which of the side's values, counted from 0;
              ``source`` and ``source_other``; ``difference`` (of logarithms for a ratio); ``parts``, the runs that it
              is made of, a tuple of :data:`Part`; ``untrained``, those among them that have not learned their training
              images; ``steps``, of the left side's runs, over those of the right one's, NaN where not known
    left_out  values that are no number on the claim's scale
    lacking   values of a side that no run has, in words
    missing   why there is no pair; empty where there is one
    """

    keys: tuple[str, ...]
    table: pd.DataFrame
    left_out: int = 0
    lacking: tuple[str, ...] = ()
    missing: str = ""


def prepare(observations: pd.DataFrame, in_modes: Collection[str] = ()) -> Observations:
    """in_modes: strategies that are to run in several BN modes, though so far they may have in one.

    Raises :class:`~wdiv.errors.BadInput` for a table that lacks a column.
    """
    lacking = [name for name in COLUMNS if name not in observations]
    if lacking:
        raise BadInput(f"observations have no column {', '.join(lacking)}")
    told = [name for name in OPTIONAL if name in observations]
    table = observations[[*COLUMNS, *told]].astype({"value": "float64", "n_train": "float64"})
    table = table.assign(**{name: np.nan if name == "steps" else "" for name in OPTIONAL if name not in told})
    for name in (*SELECTABLE, "trained"):
        table[name] = table[name].astype(str).mask(table[name].isna(), "")  # a file gives NaN for what is empty
    # the order of rows shall not matter; sizes are told from small to large
    table = table.sort_values([*KEYS, "run"], kind="stable", ignore_index=True, key=_in_order)
    modes = table.groupby(["model", "dataset", "strategy"])["bn_mode"].transform("nunique")
    alone = (modes.astype("float64") == 1) & ~table["strategy"].isin(in_modes)
    return Observations(table.assign(lone=alone), _sizes(table))


def _in_order(column: pd.Series) -> pd.Series:
    return pd.to_numeric(column, errors="coerce").fillna(np.inf) if column.name == "per_class" else column


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
    """Left less right, for each combination of what the claim does not name, and each of the values that a side names.

    Rows agree in their BN mode too, but a strategy that is of one mode only (a baseline on frozen features, training
    from scratch) is set against every mode. What else differs within a seed is averaged.
    """
    table = observations.table
    keys = tuple(name for name in CELL if name not in claim.compared)
    whole = {side: _chosen(observations, claim.side(side)) for side in ("left", "right")}
    for side, mask in whole.items():
        if not mask.any():
            return _no_pairs(keys, table, _missing(observations, claim.side(side)))
    same = whole["left"] & whole["right"]  # where words name one size in two ways
    sides, left_out, lacking = {}, 0, []
    for side, over in zip(("left", "right"), claim.over_sides, strict=True):
        values = _values(claim, table[whole[side] & ~same], table, over)
        left_out += int(values["value"].isna().sum())
        sides[side] = values
    frames = []
    chosen = {side: [*_alternatives(claim, side)] for side in sides}
    for (i, one), (k, other) in product(enumerate(chosen["left"]), enumerate(chosen["right"])):
        left, right = (
            sides[side][_chosen(observations, asked).reindex(sides[side].index)].dropna(subset=["value"])
            for side, asked in (("left", one), ("right", other))
        )
        frames.append(_beside(left, right, [*keys, "seed"]).assign(left=i, right=k))
    for asked in chosen.values():
        lacking += [_missing(observations, one) for one in asked if not _chosen(observations, one).any()]
    beside = pd.concat([one for one in frames if len(one)] or frames[:1], ignore_index=True)
    if beside.empty:
        return _no_pairs(keys, table, _unpaired(claim, same.any(), sides["left"], sides["right"]), left_out)
    difference, size = beside["value"] - beside["value_other"], beside["value"].abs() + beside["value_other"].abs()
    beside["difference"] = difference.where(difference.abs() > ROUNDING * size, 0.0)
    beside["steps"] = beside["steps"] / beside["steps_other"]
    beside["untrained"] = beside["untrained"] + beside["untrained_other"]
    beside["parts"] = [_joined((a, 1.0), (b, -1.0)) for a, b in zip(beside.parts, beside.parts_other, strict=True)]
    by = [*keys, "left", "right", "seed", "source", "source_other"]
    return Pairs(keys, _averaged(beside, by, "difference"), left_out, tuple(dict.fromkeys(lacking)))


def _alternatives(claim: Claim, side: str) -> Iterator[dict[str, tuple[str, ...]]]:
    """The side's selectors, once for each combination of the values that it, and not both sides, names."""
    selectors, own = claim.side(side), getattr(claim, side)
    for values in product(*(selectors[column] for column in own)):
        yield selectors | {column: (value,) for column, value in zip(own, values, strict=True)}


def _joined(*weighted: tuple[tuple[Part, ...], float]) -> tuple[Part, ...]:
    """Parts with the weights of several sums of them."""
    total: dict[tuple[str, str], float] = {}
    for parts, weight in weighted:
        for run, share in parts:
            total[run] = total.get(run, 0.0) + weight * share
    return tuple(total.items())


def _averaged(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """One row a group: the means of the value and of the steps; what runs they are of."""
    groups = rows.groupby(list(by), as_index=False, dropna=False, sort=False)
    return groups.agg(
        **{value: (value, "mean")},
        steps=("steps", "mean"),
        untrained=("untrained", lambda several: tuple(dict.fromkeys(run for one in several for run in one))),
        parts=("parts", lambda several: _joined(*((one, 1.0 / len(several)) for one in several))),
    )


def _no_pairs(keys: tuple[str, ...], table: pd.DataFrame, why: str, left_out: int = 0) -> Pairs:
    none = table.iloc[:0].rename(columns={"value": "difference"})
    return Pairs(keys, none[[*keys, "seed", "difference"]], left_out, missing=f"no runs to compare: {why}")


def _unpaired(claim: Claim, same: bool, left: pd.DataFrame, right: pd.DataFrame) -> str:
    """Why two sides that both have rows have none to compare."""
    for side, over in zip((left, right), claim.over_sides, strict=True):
        if side.empty:
            return "both sides are the same runs" if same else f"no run of {over!r} beside them"
        if side["value"].isna().all():
            return f"none of {len(side)} values is a number" + (" above 0" if claim.scale == "ratio" else "")
    return "no two of them agree in all that is not compared"


def _chosen(observations: Observations, selectors: Mapping[str, Sequence[str]]) -> pd.Series:
    return pd.concat([_is(observations, *chosen) for chosen in selectors.items()], axis=1).all(axis=1)


def _is(observations: Observations, column: str, values: Sequence[str]) -> pd.Series:
    table = observations.table
    found = table[column].isin(values)
    if column == "per_class":
        for less, count in (match.groups() for match in map(IMAGES.fullmatch, values) if match):
            found |= (table["n_train"] < int(count)) == (less == "<")
    if column in ("per_class", "against"):
        for word in set(values) & set(SIZES):
            sizes = [observations.sizes[word].get(place) for place in observations.places]
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


def _values(claim: Claim, side: pd.DataFrame, table: pd.DataFrame, over: str) -> pd.DataFrame:
    """A side's rows with the values that are compared: logarithms for ratios, gains above ``over``."""
    side = _told(side, claim.scale)
    if not over:
        return side
    keys = [name for name in KEYS if name != "strategy"]
    found = _beside(side.assign(row=side.index), _told(table[table["strategy"] == over], claim.scale), keys)
    found["parts"], found["untrained"] = found["parts_other"], found["untrained_other"]
    base = _averaged(found, ["row"], "value_other").set_index("row")
    side = side.loc[base.index]
    parts = [_joined((a, 1.0), (b, -1.0)) for a, b in zip(side["parts"], base["parts"], strict=True)]
    return side.assign(
        value=side["value"] - base["value_other"], parts=parts, untrained=side["untrained"] + base["untrained"]
    )


def _told(rows: pd.DataFrame, scale: str) -> pd.DataFrame:
    """Rows with their values on the scale, and which run each is of."""
    runs = list(zip(rows["condition"], rows["run"], strict=True))
    bad = [(run,) if no else () for run, no in zip(runs, rows["trained"].eq("no"), strict=True)]
    return rows.assign(
        value=_on_scale(rows["value"], scale),
        parts=pd.Series([((run, 1.0),) for run in runs], rows.index, dtype=object),
        untrained=pd.Series(bad, rows.index, dtype=object),
    )


def _on_scale(values: pd.Series, scale: str) -> pd.Series:
    """What has no place on the scale is NaN: infinite values, and logarithms of what is not above 0."""
    if scale == "ratio":
        values = np.log(values.where(values > 0))
    return values.where(np.isfinite(values))


BESIDE = ("lone", "value", "source", "steps", "parts", "untrained")
"""Columns of the right side that stand beside the left one's, ending in ``_other``."""


def _beside(left: pd.DataFrame, right: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Every row of ``left`` beside every row of ``right`` that agrees in the keys.

    ``bn_mode``, where it is a key, is that of the side which has several, and empty where neither has.
    """
    by = [name for name in keys if name != "bn_mode"]
    names = ["bn_mode", *BESIDE] if "bn_mode" in keys else [*BESIDE]
    pairs = left.merge(right[[*by, *names]].rename(columns={name: f"{name}_other" for name in names}), on=by)
    if "bn_mode" not in keys:
        return pairs
    pairs = pairs[(pairs["bn_mode"] == pairs["bn_mode_other"]) | pairs["lone"] | pairs["lone_other"]]
    mode = pairs["bn_mode"].where(~pairs["lone"], pairs["bn_mode_other"])
    return pairs.assign(bn_mode=mode.where(~(pairs["lone"] & pairs["lone_other"]), ""))
