"""A figure a question: each of its claims, over all its cells and in each of them, with intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from studies.report.figures.common import GREY, STYLE, new, saved, titled
from studies.report.findings import DEPENDS, FAILS, HOLDS, NOT_DECIDED, Cell, Verdict
from studies.report.words import cell_in_words
from studies.spec.columns import ACCURACIES
from wdiv.store.files import plain_name

__all__ = ["draw"]

COLOURS = {HOLDS: "#1b7837", FAILS: "#b2182b", DEPENDS: "#e08214", NOT_DECIDED: "0.6"}
ROW = 0.19
"""Inches of a line."""
REACH = 4.0
"""How many times the farthest effect the axis reaches; intervals beyond, of few seeds, end in an arrow."""


def draw(verdicts: Sequence[Verdict], to: Path) -> dict[str, Path]:
    """Draw the claims of each question that were compared. Returns question -> file, in the folder ``to``."""
    import matplotlib

    found: dict[str, Path] = {}
    for question in dict.fromkeys(verdict.claim.question for verdict in verdicts):
        ours = [one for one in verdicts if one.claim.question == question and not math.isnan(one.effect)]
        if ours:
            name = _name(question, {file.stem for file in found.values()})
            with matplotlib.rc_context(STYLE):
                found[question] = saved(_figure(ours), to / f"{name}.png")
    return found


def _name(question: str, taken: Collection[str]) -> str:
    """A file's name that tells the question, and is not that of another one."""
    name = f"claims-{plain_name(question)}" if question else "claims"
    others = (f"{name}-{number}" for number in itertools.count(2))
    return name if name not in taken else next(other for other in others if other not in taken)


def _figure(verdicts: Sequence[Verdict]) -> Any:
    """A panel a unit of the effects: points, ratios, and differences of anything else."""
    units = [_unit(verdict) for verdict in verdicts]
    panels = {unit: [v for v, u in zip(verdicts, units, strict=True) if u == unit] for unit in dict.fromkeys(units)}
    heights = [sum(1.6 + len(_shown(verdict)) for verdict in ours) for ours in panels.values()]
    figure, axes = new(
        len(panels), 1, 9.0, ROW * sum(heights) + 0.7 * len(panels) + 0.5, gridspec_kw={"height_ratios": heights}
    )
    for ax, (unit, ours) in zip(axes[:, 0], panels.items(), strict=True):
        _panel(ax, unit, ours)
    handles = [_handle(word) for word in COLOURS if any(word in _words(verdict) for verdict in verdicts)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return titled(figure, "Square: over all cells; dots: in each cell. Lines: 95 % intervals")


def _unit(verdict: Verdict) -> str:
    if verdict.claim.scale == "ratio":
        return "left / right"
    return "points" if set(verdict.claim.measures) <= set(ACCURACIES) else "left − right"


def _shown(verdict: Verdict) -> list[Cell]:
    return [cell for cell in verdict.cells if not math.isnan(cell.effect)]


def _words(verdict: Verdict) -> set[str]:
    return {verdict.verdict, *(cell.verdict for cell in _shown(verdict))}


def _panel(ax: Any, unit: str, verdicts: Sequence[Verdict]) -> None:
    ratio, scale = unit == "left / right", 100.0 if unit == "points" else 1.0
    ends = [scale * one.effect for verdict in verdicts for one in (verdict, *_shown(verdict)) if one.effect]
    if ratio:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}")
        ax.xaxis.set_minor_formatter(lambda x, _: f"{x:.3g}" if f"{x:e}"[0] in "25" else "")
        far = max((abs(math.log(end)) for end in ends if 0 < end < math.inf), default=1.0) or 1.0
        limits = (math.exp(-REACH * far), math.exp(REACH * far))
    else:
        far = max(map(abs, ends), default=1.0)
        limits = (-REACH * far, REACH * far)
    row, ticks, labels = 0.0, [], []
    for verdict in verdicts:
        for one in (verdict, *_shown(verdict)):
            whole = one is verdict
            ticks.append(row)
            labels.append(verdict.claim.name if whole else cell_in_words(one.where) if isinstance(one, Cell) else "")
            colour, x = COLOURS[one.verdict], scale * one.effect
            low, high = (scale * end if end == end else x for end in (one.low, one.high))
            low, high = max(low, limits[0]), min(high, limits[1])
            ax.plot([low, high], [row, row], color=colour, linewidth=2.0 if whole else 1.0, solid_capstyle="butt")
            ax.plot([x], [row], "s" if whole else "o", color=colour, markersize=5 if whole else 3.5)
            row += 1.0
        margin = verdict.claim.margin
        if margin is not None:
            bounds = (margin, 1.0 / margin) if ratio else (scale * margin, -scale * margin)
            ax.vlines(bounds, row - 1.4 - len(_shown(verdict)), row - 0.6, color=GREY, linewidth=0.7, linestyle=":")
        row += 0.6
    ax.axvline(1.0 if ratio else 0.0, color=GREY, linewidth=0.8)
    ax.set_yticks(ticks, labels, fontsize=7)
    names = {verdict.claim.name for verdict in verdicts}
    for label in ax.get_yticklabels():
        label.set_parse_math(False)
        label.set_fontweight("bold" if label.get_text() in names else "normal")
    ax.set_ylim(row - 0.4, -0.8)
    ax.set_xlabel(f"{unit}: right of the line the left side is greater" if ratio else f"left less right, {unit}"
                  if unit == "points" else unit)  # fmt: skip
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="0.92", linewidth=0.7)
    ax.set_axisbelow(True)


def _handle(word: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=COLOURS[word], marker="s", markersize=5, label=word)
