"""What baselines on frozen features came to, as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from baselines.trials import BEST, Outcome

__all__ = ["draw"]


def draw(outcomes: Sequence[Outcome], out: Path) -> Path:
    """A figure (.png, .pdf or .svg): accuracy over the number of training images, and where there are several layers,
    over the layers, from input to output."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from wdiv.plots import accuracy_by

    table = pd.DataFrame(
        {"n_train": o.n_train, "strategy": o.strategy, "baseline": o.baseline, "layer": o.layer, "accuracy": o.accuracy}
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
        figure = Figure(figsize=(6.8 * len(panels), 4.2), layout="constrained")
        for axes, (x, lines, rows, label) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            accuracy_by(rows, x, axes, lines=lines, label=label)
        figure.suptitle(f"{first.model}, frozen, on {first.dataset}: {first.n_test} test images", x=0.01, ha="left")
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    return out
