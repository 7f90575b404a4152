"""Figures of a measured store: which panels, which table behind each, and one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wdiv import plots, summary
from wdiv.errors import BadInput
from wdiv.metrics import METRICS, Metric
from wdiv.registry import did_you_mean

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["FIGURES", "PANELS", "check", "draw", "in_words"]

PANELS = (("conv", "weight"), ("bn", "gamma"), ("bn", "beta"))
ENDINGS = (".png", ".pdf", ".svg")


def draw(
    div: xr.DataTree,
    figure: str,
    out: str | Path,
    *,
    metric: str = "relative_l2",
    epoch: int | str = "last",
    roles: Sequence[str] = (),
) -> Path:
    """Draw a figure of a divergence tree into a file (.png, .pdf or .svg).

    figure  ``heatmap`` or ``profile``;  roles: panels as ``kind:role`` (default conv:weight, bn:gamma, bn:beta)
    """
    out = Path(out)
    check(figure, out, metric)
    table = summary.layers(div, metric, epoch)
    panels = _panels(table, roles)
    import matplotlib as mpl

    with mpl.rc_context({"figure.dpi": 130, "savefig.dpi": 130, "font.size": 9}):
        figure_made = FIGURES[figure](table, panels, METRICS[metric], _subtitle(div, epoch))
        out.parent.mkdir(parents=True, exist_ok=True)
        figure_made.savefig(out)
    return out


def check(figure: str, out: Path, metric: str) -> None:
    """Raise what :func:`draw` would raise for these, before anything is measured."""
    if out.suffix not in ENDINGS:
        raise BadInput(f"{out}: the file's name must end in {', '.join(ENDINGS)}")
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


def _subtitle(div: xr.DataTree, epoch: int | str) -> str:
    when = "last epoch" if epoch == "last" else f"epoch {epoch}"
    return f"{div.attrs.get('architecture', '')}: {when} against {in_words(div.attrs.get('reference', ''))}"


def in_words(reference: str | int) -> str:
    """A reference as a reader would call it.

    >>> in_words("pretrained"), in_words(0), in_words(12)
    ('pretrained weights', 'the start', '12')
    """
    words = {"pretrained": "pretrained weights", "0": "the start", "previous": "the epoch before"}
    return words.get(str(reference), str(reference))


def _new(rows: int, width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: nothing to close, no window
    return figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def _heatmap(table: pd.DataFrame, panels: Sequence[tuple[str, str]], metric: Metric, subtitle: str) -> Any:
    grids = [summary.layer_grid(table, kind, role) for kind, role in panels]
    norm = plots.log_norm(*grids)
    height = sum(0.55 + 0.17 * len(grid) for grid in grids)
    figure, axes = _new(len(panels), 10.5, height + 0.4)
    for ax, grid, (kind, role) in zip(axes, grids, panels, strict=True):
        plots.heatmap(grid, ax, norm=norm, unmoved=metric.identity, title=f"{kind} {role}", bar=False)
    import matplotlib as mpl

    mappable = mpl.cm.ScalarMappable(norm, "rocket_r")
    figure.colorbar(mappable, ax=list(axes), label=metric.long_name, pad=0.01, aspect=35, extend="min")
    figure.suptitle(f"{subtitle}   (white: not moved, grey: nothing to compare with)", x=0.01, ha="left", fontsize=10)
    return figure


def _profile(table: pd.DataFrame, panels: Sequence[tuple[str, str]], metric: Metric, subtitle: str) -> Any:
    import seaborn as sns
    from matplotlib.lines import Line2D

    shown = [pair in panels for pair in zip(table["kind"], table["role"], strict=True)]
    labelled = summary.in_order(table[shown]).assign(label=summary.labels)
    names = list(dict.fromkeys(labelled.loc[labelled["value"] > 0, "label"]))
    palette = dict(zip(names, sns.color_palette("husl" if len(names) > 10 else "tab10", len(names)), strict=True))
    figure, axes = _new(len(panels), 10.5, 2.4 * len(panels) + 0.6)
    for ax, (kind, role) in zip(axes, panels, strict=True):
        chosen = labelled[labelled["kind"].eq(kind) & labelled["role"].eq(role)]
        plots.profile(chosen, ax, palette=palette, title=f"{kind} {role}")
    lines = [Line2D([], [], color=colour) for colour in palette.values()]
    figure.legend(lines, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    figure.suptitle(f"{metric.long_name}\n{subtitle}", x=0.01, ha="left", fontsize=10)
    return figure


FIGURES = {"heatmap": _heatmap, "profile": _profile}
