"""What baselines on frozen features came to, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from baselines.trials import BEST, Outcome
from studies.report.figures.common import new, saved
from wdiv.plots import accuracy_by

__all__ = ["draw"]


def draw(outcomes: Sequence[Outcome], out: Path) -> Path:
    """A figure (.png, .pdf or .svg): accuracy over the number of training images, and where there are several layers,
    over the layers, from input to output."""
    import matplotlib as mpl

    table = pd.DataFrame(
        {"n_train": o.n_train, "strategy": o.strategy, "baseline": o.baseline, "layer": o.layer, "accuracy": o.accuracy}
        | {end: o.scores["accuracy"][end] for end in ("low", "high")}
        for o in outcomes
    )
    by_layer = table[~table["layer"].str.contains(r"\+") & (table["layer"] != BEST)]
    panels = [("n_train", "strategy", table, "training images")]
    if by_layer["layer"].nunique() > 1:
        several = by_layer["baseline"].nunique() > 1
        names = by_layer["n_train"].map("{} images".format)
        by_layer = by_layer.assign(line=by_layer["baseline"] + ", " + names if several else names)
        panels.append(("layer", "line", by_layer, "features of"))
    first = outcomes[0]
    with mpl.rc_context({"savefig.dpi": 130, "font.size": 9}):
        figure, axes = new(1, len(panels), 6.8 * len(panels), 4.2)
        for ax, (x, lines, rows, label) in zip(axes[0], panels, strict=True):
            accuracy_by(rows, x, ax, lines=lines, label=label)
        figure.suptitle(f"{first.model}, frozen, on {first.dataset}: {first.n_test} test images", x=0.01, ha="left")
        return saved(figure, out)
