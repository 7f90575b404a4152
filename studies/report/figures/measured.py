"""Figures of a measured store: which panels, which table behind each, and one file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from studies.report.figures.common import legend, new, saved, titled
from wdiv import plots, summary
from wdiv.errors import BadInput
from wdiv.metrics import METRICS, Metric
from wdiv.registry import MANY, did_you_mean

__all__ = ["FIGURES", "PANELS", "check", "check_file", "draw", "in_words"]

PANELS = (("conv", "weight"), ("bn", "gamma"), ("bn", "beta"), ("bn", "affine"))
ENDINGS = (".png", ".pdf", ".svg")
MOST_ROWS = 40
"""Rows that are given their own height and label."""


def draw(
    div: xr.DataTree,
    figure: str,
    out: str | Path,
    *,
    metric: str = "relative_l2",
    epoch: int | str = "last",
    roles: Sequence[str] = (),
    run: str | None = None,
) -> Path:
    """Draw a figure of a divergence tree into a file (.png, .pdf or .svg).

    figure  ``heatmap`` and ``profile``: strategies after an epoch; ``epochs``: one run, epoch by epoch
    roles   panels as ``kind:role`` (default conv:weight, bn:gamma, bn:beta; of whole layers conv:weight, bn:affine)
    run     whose epochs; it may be left out where there is one run only
    """
    import matplotlib as mpl

    out = Path(out)
    check(figure, out, metric)
    table = summary.layers(div, metric, epoch)
    panels = _panels(table, roles)
    asked = StoreFigure(div, METRICS[metric], epoch, table, panels, run)
    with mpl.rc_context({"figure.dpi": 130, "savefig.dpi": 130, "font.size": 9}):
        return saved(FIGURES[figure](asked), out)


@dataclass(frozen=True)
class StoreFigure:
    """What a figure is drawn from; ``table`` is :func:`wdiv.summary.layers` at ``epoch``."""

    div: xr.DataTree
    metric: Metric
    epoch: int | str
    table: pd.DataFrame
    panels: Sequence[tuple[str, str]]
    run: str | None

    @property
    def subtitle(self) -> str:
        when = "last epoch" if self.epoch == "last" else f"epoch {self.epoch}"
        return f"{self.div.attrs.get('architecture', '')}: {when} {self.against}"

    @property
    def against(self) -> str:
        if self.metric.family == "trajectory":
            return "along each run's path"
        return f"against {in_words(self.div.attrs.get('reference', ''))}"

    @property
    def one_run(self) -> str:
        runs = [str(name) for name in self.div.to_dataset()["run"].values]
        if self.run is None and len(runs) > 1:
            raise BadInput(f"figure 'epochs' shows one run: give --run, one of {', '.join(runs[:MANY])}")
        if self.run is not None and self.run not in runs:
            raise BadInput(f"no run {self.run!r}; {did_you_mean(self.run, runs)}")
        return self.run or runs[0]


def check_file(out: Path) -> None:
    """Raise :class:`~wdiv.errors.BadInput` for a name that no figure can be written to."""
    if out.suffix not in ENDINGS:
        raise BadInput(f"{out}: the file's name must end in {', '.join(ENDINGS)}")


def check(figure: str, out: Path, metric: str) -> None:
    """Raise what :func:`draw` would raise for these, before anything is measured."""
    check_file(out)
    if figure not in FIGURES:
        raise BadInput(f"unknown figure {figure!r}; {did_you_mean(figure, FIGURES)}")
    METRICS[metric]


def _panels(table: pd.DataFrame, roles: Sequence[str]) -> list[tuple[str, str]]:
    have = list(dict.fromkeys(zip(table["kind"], table["role"], strict=True)))
    names = {f"{kind}:{role}": (kind, role) for kind, role in have}
    for role in roles:
        if role not in names:
            raise BadInput(f"no panel {role!r}; {did_you_mean(role, names)}")
    return [names[role] for role in roles] or [panel for panel in PANELS if panel in have] or have


def in_words(reference: str | int) -> str:
    """A reference as a reader would call it.

    >>> in_words("pretrained"), in_words(0), in_words(12)
    ('pretrained weights', 'the start', '12')
    """
    words = {"pretrained": "pretrained weights", "0": "the start", "previous": "the epoch before"}
    return words.get(str(reference), str(reference))


def _heatmap(asked: StoreFigure) -> Any:
    return _grids(asked, [summary.layer_grid(asked.table, *panel) for panel in asked.panels], asked.subtitle)


def _epochs(asked: StoreFigure) -> Any:
    run = asked.one_run
    grids = [summary.epoch_grid(asked.div, asked.metric.name, kind, role, run) for kind, role in asked.panels]
    return _grids(asked, grids, f"{run}: epoch by epoch {asked.against}")


def _shade(about: Metric, *grids: pd.DataFrame) -> plots.Shade:
    shade = plots.shade(*grids, identity=about.identity, lower=about.lower, upper=about.upper)
    return shade._replace(unmoved=float("nan")) if about.undefined == "path" else shade  # unmoved it has no value


def _grids(asked: StoreFigure, grids: Sequence[pd.DataFrame], subtitle: str) -> Any:
    import matplotlib as mpl

    about = asked.metric
    shade = _shade(about, *grids)
    height = sum(0.55 + 0.17 * min(len(grid), MOST_ROWS) for grid in grids)
    figure, axes = new(len(grids), 1, 10.5, max(height + 0.4, 3.4))
    for ax, grid, (kind, role) in zip(axes[:, 0], grids, asked.panels, strict=True):
        shown, title = _with_values(grid, f"{kind} {role}")
        plots.heatmap(shown, ax, shade=shade, title=title, bar=False)
        if len(grid) > MOST_ROWS:
            places = range(0, len(grid), -(-len(grid) // MOST_ROWS))
            ax.set_yticks([place + 0.5 for place in places], [grid.index[place] for place in places])
    mappable = mpl.cm.ScalarMappable(shade.norm, shade.colours)
    bar = figure.colorbar(mappable, ax=axes, pad=0.01, aspect=35, extend=shade.extend)
    bar.set_label(textwrap.fill(about.long_name, int(12 * figure.get_figheight())), fontsize=8)
    grey = "undefined or nothing to compare with"
    words = f"grey: not moved, {grey}" if about.undefined == "path" else f"white: not moved, grey: {grey}"
    return titled(figure, f"{subtitle}   ({words})")


def _with_values(grid: pd.DataFrame, title: str) -> tuple[pd.DataFrame, str]:
    """Without the layers that have no value in any row, of which somebody else's network may have most."""
    shown = grid.dropna(axis="columns", how="all")
    left = grid.shape[1] - shown.shape[1]
    if not left or shown.empty:
        return grid, title
    return shown, f"{title}   ({left} of {grid.shape[1]} layers have nothing to compare with)"


def _profile(asked: StoreFigure) -> Any:
    import seaborn as sns

    table, panels = asked.table, asked.panels
    shown = table[[pair in panels for pair in zip(table["kind"], table["role"], strict=True)]]
    labelled = summary.in_order(shown[shown["value"].notna()] if shown["value"].notna().any() else shown)
    labelled = labelled.assign(label=summary.labels)
    log = _shade(asked.metric).colours == plots.DISTANCE
    values = labelled["value"]
    names = list(dict.fromkeys(labelled.loc[values > 0 if log else values.notna(), "label"]))
    palette = dict(zip(names, sns.color_palette("husl" if len(names) > 10 else "tab10", len(names)), strict=True))
    figure, axes = new(len(panels), 1, 10.5, 2.4 * len(panels) + 0.6)
    for ax, (kind, role) in zip(axes[:, 0], panels, strict=True):
        chosen = labelled[labelled["kind"].eq(kind) & labelled["role"].eq(role)]
        plots.profile(chosen, ax, palette=palette, title=f"{kind} {role}", log=log)
    if palette:
        legend(figure, palette, fontsize=8)
    return titled(figure, f"{asked.metric.long_name}\n{asked.subtitle}")


FIGURES = {"heatmap": _heatmap, "profile": _profile, "epochs": _epochs}
