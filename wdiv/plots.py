"""Axes in, Axes out. Nothing is computed here: tables come from :mod:`wdiv.summary`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

__all__ = ["Shade", "accuracy_by", "heatmap", "log_norm", "loss_by_rate", "mark_stages", "profile", "shade"]

UNCOMPARABLE = "0.82"
UNMOVED = "white"
MOST_LINES = 40
"""Rows between which lines are drawn; of more one would see the lines alone."""
DISTANCE, SIGNED, SHARE = "rocket_r", "vlag", "rocket"
"""Colour maps of seaborn's: from nothing to far, from less through white to more, from least to most."""


def log_norm(*grids: pd.DataFrame, decades: float = 4.0) -> Normalize:
    """One colour scale for several grids: logarithmic, from their largest value down, at most some decades."""
    from matplotlib.colors import LogNorm

    values = np.concatenate([np.array([]), *(grid.to_numpy(dtype=float).ravel() for grid in grids)])
    values = values[np.isfinite(values) & (values > 0)]
    top = float(values.max()) if values.size else 1.0
    bottom = max(float(values.min()), top * 10**-decades) if values.size else 0.1
    return LogNorm(min(bottom, top / 10), top)


class Shade(NamedTuple):
    """How values become colours: a scale, a colour map's name, and the value that is drawn white."""

    norm: Normalize
    colours: str
    unmoved: float

    @property
    def extend(self) -> str:
        """Which end of the colour bar is open."""
        return "min" if self.unmoved == self.norm.vmin or self.colours == DISTANCE else "neither"


def shade(*grids: pd.DataFrame, identity: float = 0.0, lower: float = 0.0, upper: float = np.inf) -> Shade:
    """One scale for several grids, from what is known of the metric: its value for equal weights, and its bounds.

    A distance is shown on a logarithmic scale, a signed change on one that is centred, a share between its bounds.
    """
    from matplotlib.colors import CenteredNorm, Normalize

    if lower < 0:
        values = np.concatenate([np.array([]), *(grid.to_numpy(dtype=float).ravel() for grid in grids)])
        reach = float(np.abs(values[np.isfinite(values)] - identity).max(initial=0.0)) or 1.0
        return Shade(CenteredNorm(identity, reach), SIGNED, identity)
    if np.isfinite(upper) and identity != lower:
        return Shade(Normalize(lower, upper), SHARE, identity)
    return Shade(log_norm(*grids), DISTANCE, identity)


def heatmap(grid: pd.DataFrame, ax: Axes, *, shade: Shade, title: str = "", label: str = "", bar: bool = True) -> Axes:
    """A :func:`~wdiv.summary.layer_grid`: a row a strategy and size (or an epoch), a column a layer, stages marked off.

    White: did not move. Grey: not comparable.
    """
    import matplotlib as mpl
    import seaborn as sns

    values = grid.to_numpy(dtype=float)
    norm = shade.norm
    assert norm.vmin is not None
    colours = mpl.colormaps[shade.colours].with_extremes(bad=UNCOMPARABLE, under=UNMOVED)
    below = norm.vmin / 2 if norm.vmin > 0 else norm.vmin - 1.0  # moved a little is not unmoved
    shown = np.where(values == shade.unmoved, below, np.clip(values, norm.vmin, norm.vmax))
    sns.heatmap(
        shown, ax=ax, norm=norm, vmin=norm.vmin, vmax=norm.vmax, cmap=colours, mask=np.isnan(values), cbar=bar,
        cbar_kws={"label": label, "pad": 0.01}, xticklabels=False, yticklabels=list(grid.index),
    )  # fmt: skip
    ax.set_facecolor(UNCOMPARABLE)
    if len(grid) <= MOST_LINES:
        ax.hlines(np.arange(1, len(grid)), *ax.get_xlim(), color="0.85", linewidth=0.6)
    ax.spines[:].set(visible=True, color="0.4", linewidth=0.6)
    mark_stages(list(grid.columns.get_level_values("stage")), ax, offset=0.0)
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="y", rotation=0)
    return ax


def profile(
    table: pd.DataFrame,
    ax: Axes,
    *,
    palette: Mapping[str, Any] | None = None,
    title: str = "",
    label: str = "",
    log: bool = True,
) -> Axes:
    """Divergence by depth: one line a label, its band from the lowest to the highest seed.

    table    columns label, depth, stage, value; NaN is left out, and so is zero of a logarithmic axis
    palette  label -> colour, for several panels with one legend elsewhere; without it the panel has its own
    """
    import seaborn as sns

    shown = table[table["value"] > 0] if log else table.dropna(subset="value")
    if len(shown):
        names = [n for n in palette if n in set(shown["label"])] if palette else list(dict.fromkeys(shown["label"]))
        sns.lineplot(
            shown, x="depth", y="value", hue="label", hue_order=names, palette=palette, errorbar=("pi", 100), ax=ax,
            linewidth=1.2, legend=palette is None,
        )  # fmt: skip
        ax.set_yscale("log" if log else "linear")
        if palette is None:
            ax.legend(title="", fontsize=7, ncols=2, frameon=False)
    else:
        ax.set_yticks([])
        ax.text(0.5, 0.5, "nothing moved, or nothing to compare with", transform=ax.transAxes, ha="center", color="0.4")
    places = table[["depth", "stage"]].drop_duplicates().sort_values("depth")
    mark_stages(list(places["stage"]), ax, offset=-0.5, at=list(places["depth"]))
    if len(places):
        first, last = places["depth"].iloc[[0, -1]]
        edge = 1 + (last - first) / 25
        ax.set_xlim(first - edge, last + edge)
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="", ylabel=label)
    return ax


def loss_by_rate(
    rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], ax: Axes,
    *, marks: Mapping[str, float] | None = None, now: float | None = None, title: str = "",
    label: str = "learning rate",
) -> Axes:  # fmt: skip
    """A range test: each batch's loss as a dot, the smoothed loss as a line, over rates on a logarithmic axis.

    marks  name -> rate; each is a dot on the line, with its name and rate in the legend
    now    the rate as it is, a dashed line
    """
    import seaborn as sns

    line, most = np.asarray(smoothed), float(np.max(smoothed))
    ax.scatter(rates, losses, s=8, color="0.7", linewidths=0, label="each batch")
    ax.plot(rates, line, color="0.25", linewidth=1.5, label="smoothed")
    colours = sns.color_palette("colorblind", len(marks or {}))
    for (name, rate), colour in zip((marks or {}).items(), colours, strict=True):
        height = float(np.interp(np.log(rate), np.log(rates), line))
        ax.plot(rate, height, "o", color=colour, markeredgecolor="white", markersize=8, label=f"{name}: {rate:.2g}")
        ax.axvline(rate, color=colour, linewidth=0.8, linestyle=":")
    if now is not None and rates[0] <= now <= rates[-1]:
        ax.axvline(now, color="0.55", linewidth=1.0, linestyle="--", label=f"as it is: {now:.2g}")
    ax.set_ylim(float(np.min(losses)) - 0.08 * most, 1.08 * most)  # batches that ran away are cut off
    ax.set_xscale("log")
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel=label, ylabel="loss")
    ax.legend(fontsize=8, frameon=False, loc="best")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def accuracy_by(
    table: pd.DataFrame, x: str, ax: Axes, *, lines: str = "strategy", title: str = "", label: str = ""
) -> Axes:
    """Test accuracy over a column: a dot a run, and a line through the means of each of ``lines``.

    table  columns ``x``, ``lines`` and ``accuracy`` (a share of 1), and where they are known ``low`` and ``high``, the
           ends of its interval, which a thin line joins. Numbers stand on a logarithmic axis with a tick at each,
           anything else side by side in the order of the rows
    """
    import pandas as pd
    import seaborn as sns

    shown = table.assign(accuracy=100 * table["accuracy"])
    numeric = pd.api.types.is_numeric_dtype(shown[x])
    names = list(dict.fromkeys(shown[lines]))
    colours = dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
    places = {value: value if numeric else i for i, value in enumerate(dict.fromkeys(shown[x]))}
    for name in names:
        mine = shown[shown[lines] == name]
        means = mine.groupby(x, sort=numeric)["accuracy"].mean()
        at = [places[v] for v in mine[x]]
        ax.plot(at, mine["accuracy"], "o", color=colours[name], markersize=3.5, alpha=0.5)
        if {"low", "high"} <= {*mine}:
            ax.vlines(at, 100 * mine["low"], 100 * mine["high"], color=colours[name], linewidth=0.8, alpha=0.5)
        ax.plot([places[v] for v in means.index], means, color=colours[name], label=str(name))
    if numeric:
        ax.set_xscale("log")
        ax.minorticks_off()
    ax.set_xticks(list(places.values()), [str(value) for value in places])
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel=label, ylabel="test accuracy, %")
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))  # beside: it hides no line
    ax.grid(axis="y", color="0.9", linewidth=0.8)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def mark_stages(
    stages: list[str], ax: Axes, *, offset: float, at: list[Any] | None = None, narrow: float = 0.0
) -> None:
    """A line before each stage's first layer, and its name under its middle, unless it has less than this share."""
    places = np.arange(len(stages)) if at is None else np.asarray(at)
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    ends = [*starts[1:], len(stages)][: len(starts)]
    for i in starts[1:]:
        ax.axvline(places[i] + offset, color="0.4", linewidth=0.6)
    middles = [(places[a] + places[b - 1] + (1 if at is None else 0)) / 2 for a, b in zip(starts, ends, strict=True)]
    named = [
        (place, stages[i])
        for place, i, end in zip(middles, starts, ends, strict=True)
        if stages[i] and end - i >= narrow * len(stages)
    ]
    ax.set_xticks([place for place, _ in named], [name for _, name in named], rotation=0, fontsize=8)
