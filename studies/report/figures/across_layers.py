"""Every layer of one network against every layer of another, as a figure."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from studies.report.figures.common import new, saved, titled

__all__ = ["draw_across"]

TICKS = 40
"""Layers that are named on an axis at most."""


def draw_across(found: xr.Dataset, metric: str, out: Path) -> Path:
    """Draw ``<metric>_across`` of :func:`wdiv.similarity.similarity` into a file; grey: undefined.

    A runs from top to bottom, B from left to right.
    """
    import matplotlib as mpl

    grid = found[f"{metric}_across"]
    figure, ((ax,),) = new(1, 1, 8.5, 7.5)
    image = ax.imshow(grid.values, vmin=0, vmax=1, cmap=mpl.colormaps["magma"].with_extremes(bad="0.8"), aspect="auto")
    for axis, dim in ((ax.yaxis, "layer"), (ax.xaxis, "layer_b")):
        labels = grid[dim].values.tolist()
        step = -(-len(labels) // TICKS)
        axis.set_ticks(range(0, len(labels), step), labels[::step], fontsize=6)
    ax.tick_params(axis="x", rotation=90)
    ax.set(ylabel=f"A: {found.attrs['a']}", xlabel=f"B: {found.attrs['b']}")
    figure.colorbar(image, ax=ax, label=found[metric].attrs["long_name"], extend="min")
    with mpl.rc_context({"savefig.dpi": 130}):
        return saved(titled(figure, f"{found.attrs['n']} images"), out)
