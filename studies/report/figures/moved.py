"""Figures of divergence: by layer and size, and by stage and condition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from studies.report.figures.asked import StudyFigure
from studies.report.figures.common import colours, legend, named, new, plain, seeds, titled
from studies.report.observations import HALVES, START
from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.plots import mark_stages
from wdiv.store.stages import OUTSIDE

__all__ = ["panels", "profile"]

DECADES = 1.5
"""Powers of ten between the largest and the least positive value from which an axis is logarithmic."""


def panels(asked: StudyFigure) -> Any:
    """Divergence by layer for one network: above, each size against the start; below, each pair of sizes.

    A thick line is the mean over seeds, a thin one a seed. On a logarithmic axis a layer that has not moved is a
    triangle at the lower edge.
    """
    table = asked.distances[~asked.distances["stage"].isin(OUTSIDE)]
    table = table.assign(label=named(table, ("condition", "dataset", "bn_mode")))
    counts = asked.everything.drop_duplicates("per_class").set_index("per_class")["n_train"].sort_values()
    sizes = [size for size in counts.index if size in set(table["per_class"]) | set(table["against"])]
    pairs = list(combinations(sizes, 2))
    if table.empty or not sizes:
        raise BadInput(f"figure {asked.figure.name!r}: no layer of the trunk has a value")
    wide = max(len(sizes), 2)
    rows = [[(size, START) for size in sizes], *([*pairs[i : i + wide]] for i in range(0, len(pairs), wide))]
    figure, axes = new(len(rows), wide, 3.1 * wide + 0.6, 2.2 * len(rows) + 0.7)
    palette = colours(table["label"])
    order = table.drop_duplicates("layer").sort_values("depth")
    places = dict(zip(order["layer"], range(1, len(order) + 1), strict=True))
    for i, (row, found) in enumerate(zip(axes, rows, strict=True)):
        mine = [table[table["per_class"].eq(size) & table["against"].eq(other)] for size, other in found]
        log = _spans_decades([value for part in mine for value in part["value"]])
        for ax in row[len(found) :]:
            ax.set_visible(False)
        for ax, part, (size, other) in zip(plain(row[: len(found)]), mine, found, strict=False):
            _layers(ax, part, places, palette, log=log)
            mark_stages(list(order["stage"]), ax, offset=-0.5, at=list(places.values()), narrow=0.09)
            ax.set_xlim(0.5, len(places) + 0.5)
            name = f"{asked.model}-{counts[size]}" if other == START else f"{counts[size]}-{counts[other]}"
            ax.set_title(name, loc="left", fontweight="bold")
        _same_scale(row[: len(found)], log=log)
        row[0].set_ylabel("against the start" if not i else "between sizes" if i == 1 else "")
    for ax in axes[-1]:  # not the figure's label, on which its legend would lie
        ax.set_xlabel("layer by depth")
    return _finished(figure, asked, palette)


def profile(asked: StudyFigure) -> Any:
    """Mean divergence of each stage from the start, a line a condition, a panel a kind and role of layer."""
    table = asked.observations[asked.observations["against"].eq(START)]
    table = table[~table["part"].isin([*HALVES, *OUTSIDE, ""])]
    if table.empty:
        raise BadInput(f"figure {asked.figure.name!r}: no divergence from the start is known by stage")
    label = named(table, labels=asked.figure.labels)
    only = {asked.figure.labels.get(name, name) + ", " for name in table["strategy"]}
    if len(only) == 1 and label.str.startswith(*only).all():  # each says in what it differs, all of one strategy
        label = label.str.removeprefix(*only)
    table = table.assign(label=label)
    kinds, stages = list(dict.fromkeys(table["layers"])), _in_depth(table["part"])
    figure, axes = new(1, len(kinds), 3.4 * len(kinds) + 0.6, 3.4)
    palette = colours(table["label"])
    for ax, kind in zip(plain(axes[0]), kinds, strict=True):
        mine = table[table["layers"].eq(kind)]
        log = _spans_decades(mine["value"])
        for name, group in mine.groupby("label", sort=False):
            means = seeds(group, ["part"]).set_index("part").reindex(stages)
            _line(ax, range(len(stages)), means["mean"], palette[str(name)], log=log, marker="o", label=str(name))
            if not log or (means["low"] > 0).all():
                ax.fill_between(
                    range(len(stages)), means["low"], means["high"], color=palette[str(name)], alpha=0.15, lw=0
                )
        ax.set_xticks(range(len(stages)), stages)
        ax.set_title(kind.replace(":", " "), loc="left", fontweight="bold")
        _same_scale([ax], log=log)
    axes[0, 0].set_ylabel("mean over the layers of a stage")
    return _finished(figure, asked, palette)


def _finished(figure: Any, asked: StudyFigure, palette: dict[str, Any]) -> Any:
    """With a legend, where there are several lines, and what is measured in its title."""
    if len(palette) > 1:
        legend(figure, palette, columns=min(len(palette), 5))
    measure = METRICS[asked.figure.measures[0]]
    units = "" if measure.units == "1" else f" ({measure.units})"
    return titled(figure, f"{asked.title}\n{measure.long_name}{units}")


def _spans_decades(values: Any) -> bool:
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    return bool(len(positive) and not (values < 0).any() and np.log10(positive.max() / positive.min()) > DECADES)


def _layers(ax: Any, table: pd.DataFrame, places: dict[str, int], palette: dict[str, Any], *, log: bool) -> None:
    for name, group in table.sort_values("depth").groupby("label", sort=False):
        runs = group.groupby("run", sort=False)
        for _, run in runs if len(runs) > 1 else ():
            _line(ax, run["layer"].map(places), run["value"], palette[str(name)], log=log, linewidth=0.6, alpha=0.45)
        mean = group.groupby(["layer", "depth"], sort=False)["value"].mean().reset_index()
        _line(ax, mean["layer"].map(places), mean["value"], palette[str(name)], log=log, linewidth=1.4, label=str(name))


def _line(ax: Any, x: Any, y: Any, colour: Any, *, log: bool, **how: Any) -> None:
    """A line; on a logarithmic axis with a gap, and a triangle at the lower edge, where y is zero."""
    x, y = np.asarray(list(x)), np.asarray(y, dtype=float)
    shown = np.where(y == 0, np.nan, y) if log else y
    ax.plot(x, shown, color=colour, markersize=3.5, **how)
    if log and (y == 0).any() and "label" in how:
        at = ax.get_xaxis_transform()
        ax.plot(x[y == 0], np.full((y == 0).sum(), 0.015), "v", color=colour, markersize=4, mfc="none", transform=at)


def _same_scale(axes: Sequence[Any], *, log: bool) -> None:
    """One y axis for a row; from zero, unless it is logarithmic or values are negative."""
    drawn = [line.get_ydata() for ax in axes for line in ax.get_lines() if line.get_transform() == ax.transData]
    drawn += [path.vertices[:, 1] for ax in axes for band in ax.collections for path in band.get_paths()]
    values = np.concatenate([np.asarray(one, dtype=float) for one in drawn]) if drawn else np.array([])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    for i, ax in enumerate(axes):
        if log:
            ax.set_yscale("log")
            ax.set_ylim(low / 1.6, high * 1.3)
        elif low == high == 0:
            ax.set_ylim(-0.05, 1)
            ax.set_yticks([0])
            ax.text(0.5, 0.5, "did not move", transform=ax.transAxes, ha="center", color="0.4")
        else:
            ax.set_ylim(min(0.0, 1.08 * low), 1.08 * high if high > 0 else 0.0)
        if i:
            ax.tick_params(labelleft=False)


def _in_depth(stages: pd.Series) -> list[str]:
    """Stages as a network has them: the stem, then by name.

    >>> import pandas as pd
    >>> _in_depth(pd.Series(["stage2", "stage10", "stem", "stage1"]))
    ['stem', 'stage1', 'stage2', 'stage10']
    """
    return sorted(stages.unique(), key=lambda name: (name != "stem", len(name), name))
