"""Axes in, Axes out. Nothing is computed here: tables come from :mod:`wdiv.summary`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

__all__ = ["heatmap", "log_norm", "profile"]

UNCOMPARABLE = "0.82"
UNMOVED = "white"


def log_norm(*grids: pd.DataFrame, decades: float = 4.0) -> Normalize:
    """One colour scale for several grids: logarithmic, from their largest value down, at most some decades."""
    from matplotlib.colors import LogNorm

    values = np.concatenate([grid.to_numpy(dtype=float).ravel() for grid in grids]) if grids else np.array([])
    values = values[np.isfinite(values) & (values > 0)]
    top = float(values.max()) if values.size else 1.0
    bottom = max(float(values.min()), top * 10**-decades) if values.size else 0.1
    return LogNorm(min(bottom, top / 10), top)


def heatmap(
    grid: pd.DataFrame,
    ax: Axes,
    *,
    norm: Normalize,
    unmoved: float = 0.0,
    title: str = "",
    label: str = "",
    bar: bool = True,
) -> Axes:
    """A :func:`~wdiv.summary.layer_grid`: a row a strategy and size, a column a layer, stages marked off.

    White: did not move, which is the value ``unmoved``. Grey: not comparable.
    """
    import matplotlib as mpl
    import seaborn as sns

    values = grid.to_numpy(dtype=float)
    colours = mpl.colormaps["rocket_r"].with_extremes(under=UNMOVED, bad=UNCOMPARABLE)
    assert norm.vmin is not None
    shown = np.where(values == unmoved, norm.vmin / 2, np.maximum(values, norm.vmin))  # moved a little is not unmoved
    sns.heatmap(
        shown, ax=ax, norm=norm, vmin=norm.vmin, vmax=norm.vmax, cmap=colours, mask=np.isnan(values), cbar=bar,
        cbar_kws={"label": label, "pad": 0.01}, xticklabels=False, yticklabels=list(grid.index),
    )  # fmt: skip
    ax.set_facecolor(UNCOMPARABLE)
    ax.hlines(np.arange(1, len(grid)), *ax.get_xlim(), color="0.85", linewidth=0.6)
    ax.spines[:].set(visible=True, color="0.4", linewidth=0.6)
    _mark_stages(list(grid.columns.get_level_values("stage")), ax, offset=0.0)
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="y", rotation=0)
    return ax


def profile(
    table: pd.DataFrame, ax: Axes, *, palette: Mapping[str, Any] | None = None, title: str = "", label: str = ""
) -> Axes:
    """Divergence by depth: one line a label, its band from the lowest to the highest seed.

    table    columns label, depth, stage, value; zero and NaN are left out of the logarithmic axis
    palette  label -> colour, for several panels with one legend elsewhere; without it the panel has its own
    """
    import seaborn as sns

    shown = table[table["value"] > 0]
    if len(shown):
        names = [n for n in palette if n in set(shown["label"])] if palette else list(dict.fromkeys(shown["label"]))
        sns.lineplot(
            shown, x="depth", y="value", hue="label", hue_order=names, palette=palette, errorbar=("pi", 100), ax=ax,
            linewidth=1.2, legend=palette is None,
        )  # fmt: skip
        ax.set_yscale("log")
        if palette is None:
            ax.legend(title="", fontsize=7, ncols=2, frameon=False)
    places = table[["depth", "stage"]].drop_duplicates().sort_values("depth")
    _mark_stages(list(places["stage"]), ax, offset=-0.5, at=list(places["depth"]))
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xlabel="", ylabel=label)
    return ax


def _mark_stages(stages: list[str], ax: Axes, *, offset: float, at: list[Any] | None = None) -> None:
    """A line before each stage's first layer, and its name under its middle."""
    places = np.arange(len(stages)) if at is None else np.asarray(at)
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    ends = [*starts[1:], len(stages)]
    for i in starts[1:]:
        ax.axvline(places[i] + offset, color="0.4", linewidth=0.6)
    middles = [(places[a] + places[b - 1] + (1 if at is None else 0)) / 2 for a, b in zip(starts, ends, strict=True)]
    ax.set_xticks(middles, [stages[i] for i in starts], rotation=0, fontsize=8)
