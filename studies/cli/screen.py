"""What ``wdiv watch`` shows: lines of text, divergence as a strip of blocks for each stage, the newest epoch last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from studies.cli.console import duration
from studies.grid.watching import RunView, StoreView, Strip
from wdiv import plots
from wdiv.metrics import METRICS
from wdiv.numerics.proportion import in_words

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["picture", "sentence"]

BLOCKS = "▁▂▃▄▅▆▇█"
COLOURS = ("#4a6fb5", "#3f92bd", "#41ab9b", "#6fb765", "#b5b446", "#dd9a37", "#e0703a", "#d0402f")
"""From nothing to far: to be told apart on a dark terminal and on a light one."""
UNMOVED, NOTHING = "·", " "
VALUE = 10
"""Columns for the value of the last epoch."""
Shades = dict[tuple[str, str], plots.Shade]


def picture(view: StoreView, width: int) -> list[Text]:
    """The whole view, a Text a line, at most ``width`` wide."""
    from rich.text import Text

    lines = [Text(f"{view.finished} of {view.of} runs finished", style="dim")]
    shades = _shades(view)
    for seen in view.runs:
        lines += [Text(), Text.assemble((seen.run, "bold"), f"  {seen.state}"), Text("  " + _progress(seen))]
        if len(seen.epochs) > 1:
            lines += _strips(seen, view.metric, shades, width)
        elif seen.history:
            lines.append(Text("  divergence comes with the first epoch", style="dim"))
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return lines


def sentence(seen: RunView, metric: str, place: int) -> str:
    """One epoch of a run in a line. place: of its row in ``seen.history``."""
    epoch, parts = seen.history[place]["epoch"], []
    at = seen.epochs.index(epoch) if epoch in seen.epochs else None
    for (kind, role), strips in groupby(seen.moved, key=lambda strip: (strip.kind, strip.role)):
        values = [f"{s.stage} {s.values[at]:.3g}".strip() for s in strips if at and s.values[at] == s.values[at]]
        parts += [f"{kind} {role} {' '.join(values)}"] if values else []
    return f"{seen.run}: {_progress(seen, place)}" + (f"; {metric}: {'; '.join(parts)}" if parts else "")


def _progress(seen: RunView, place: int = -1) -> str:
    if not seen.history:
        return "has not begun" if seen.state == "waiting" else "before the first epoch"
    row, newest = seen.history[place], place in (-1, len(seen.history) - 1)
    parts = [f"epoch {row['epoch']}/{seen.of}"]
    if row["train_loss"] is not None:
        parts.append(f"loss {row['train_loss']:.4g}")
    if row["test_accuracy"] is not None:
        parts.append(f"test {in_words(row['test_accuracy'], seen.n_test)}")
    if newest and seen.seconds_left is not None and seen.state == "running":
        parts.append(f"about {duration(seen.seconds_left)} left")
    return ", ".join(parts)


def _shades(view: StoreView) -> Shades:
    """A scale for each kind and role, for all runs the same, as a figure would have it."""
    import pandas as pd

    about, rows = METRICS[view.metric], dict[tuple[str, str], list[tuple[float, ...]]]()
    for strip in (strip for seen in view.runs for strip in seen.stages):
        rows.setdefault((strip.kind, strip.role), []).append(strip.values)
    return {
        panel: plots.shade(
            pd.DataFrame(values, dtype=float), identity=about.identity, lower=about.lower, upper=about.upper
        )
        for panel, values in rows.items()
    }


def _strips(seen: RunView, metric: str, shades: Shades, width: int) -> list[Text]:
    from rich.text import Text

    told = seen.moved
    names = [f"{strip.kind} {strip.role}" for strip in told]
    left = [max((len(name) for name in column), default=0) for column in (names, [strip.stage for strip in told])]
    room = width - (2 + left[0] + 2 + left[1] + 2) - VALUE
    places, cell = _columns(len(seen.epochs), room)
    title = f"{metric} against the start, mean of a stage's layers; each kind and role on its own scale"
    lines = [Text(f"  {title}", style="dim")]
    first, last = str(seen.epochs[places[0]]), str(seen.epochs[places[-1]])
    gap = len(places) * cell - len(first) - len(last)
    ruler = f"{first}{' ' * gap}{last}" if gap > 0 else last.rjust(len(places) * cell)
    every = "" if len(places) > len(seen.epochs) - 2 else f"  every {places[-1] - places[-2]} epochs"
    lines.append(Text(f"{'epoch':>{2 + left[0] + 2 + left[1]}}  {ruler}{every}", style="dim"))
    for i, (name, strip) in enumerate(zip(names, told, strict=True)):
        shown = name if i == 0 or names[i - 1] != name else ""
        line = Text(f"  {shown:<{left[0]}}  {strip.stage:<{left[1]}}  ")
        for mark, colour in _marks([strip.values[place] for place in places], shades[strip.kind, strip.role]):
            line.append(mark * cell, style=colour)
        line.append(f"  {strip.values[-1]:.3g}" if strip.values[-1] == strip.values[-1] else "")
        lines.append(line)
    return [*lines, *_rest(seen, told)]


def _columns(epochs: int, room: int) -> tuple[list[int], int]:
    """Positions of the epochs that are shown, epoch 0 left out, the newest the last; and the width of each."""
    step = max(1, -(-(epochs - 1) // max(1, room)))
    places = list(range(epochs - 1, 0, -step))[::-1]
    return places, 2 if 2 * len(places) <= room // 2 else 1


def _marks(values: Sequence[float], shade: plots.Shade) -> Iterator[tuple[str, str]]:
    """A character and its colour for each value."""
    import numpy as np

    heights = np.ma.filled(shade.norm(np.array(values)), 0.0)  # masked: nothing that a logarithm could show
    levels = np.clip(np.nan_to_num(heights) * len(BLOCKS), 0, len(BLOCKS) - 1).astype(int)
    for value, level in zip(values, levels.tolist(), strict=True):
        if value != value:
            yield NOTHING, ""
        elif value == shade.unmoved:
            yield UNMOVED, "dim"
        else:
            yield BLOCKS[level], COLOURS[level]


def _rest(seen: RunView, told: Sequence[Strip]) -> list[Text]:
    """What has no strip, in words."""
    from rich.text import Text

    said: dict[str, dict[str, None]] = {}
    for strip in seen.stages:
        name = f"{strip.kind} {strip.role}"
        if strip not in told or strip.why:
            said.setdefault(f"no value, {strip.why}" if strip.why else "not moved", {})[name] = None
    return [Text(f"  {reason}: {', '.join(names)}", style="dim") for reason, names in said.items()]
