"""The test images that networks get wrong, beside one another: by true class, each with what it was taken for."""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from studies.report.figures.common import STYLE, new, saved, titled
from studies.report.figures.measured import check_file
from wdiv.inference.mistakes import Mistake

__all__ = ["draw", "page_names"]

ACROSS, DOWN = 6, 6
"""Images beside one another, and lines of them, on a page."""
LETTERS = 26
"""Of a file's name, the end; of a class's, the beginning."""

Thing = TypeVar("Thing")


def draw(found: Sequence[Mistake], pixels: np.ndarray, out: Path, title: str = "") -> list[Path]:
    """Draw mistakes into a file, and into as many more as it takes (:func:`page_names`). Returns the files.

    found   by true class, as :func:`wdiv.inference.mistakes.mistakes` has them: each class begins a line
    pixels  (n, 3, size, size) uint8, of each
    """
    import matplotlib as mpl

    check_file(out)
    classes = [list(ours) for _, ours in groupby(range(len(found)), key=lambda i: found[i].label)]
    pages = _parts([line for ours in classes for line in _parts(ours, ACROSS)], DOWN)
    files = page_names(out, len(pages))
    with mpl.rc_context({**STYLE, "font.size": 7}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)  # of a file's name: a box will do
        for number, (file, page) in enumerate(zip(files, pages, strict=True), start=1):
            of = f", page {number} of {len(pages)}" if len(pages) > 1 else ""
            saved(titled(_page(found, pixels, page), textwrap.fill(title + of, 110), size=9), file)
    return files


def page_names(out: Path, count: int) -> list[Path]:
    """The files that so many pages go to.

    >>> [page.name for page in page_names(Path("errors.png"), 2)]
    ['errors.png', 'errors-2.png']
    """
    return [out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}") for number in range(1, count + 1)]


def _parts(things: list[Thing], size: int) -> list[list[Thing]]:
    return [things[start : start + size] for start in range(0, len(things), size)]


def _page(found: Sequence[Mistake], pixels: np.ndarray, page: Sequence[Sequence[int]]) -> Any:
    figure, axes = new(len(page), ACROSS, 8.6, 0.5 + 1.75 * len(page))
    for ax in axes.flat:
        ax.set_axis_off()
    for line, row in zip(page, axes, strict=True):
        for i, ax in zip(line, row, strict=False):
            ax.imshow(pixels[i].transpose(1, 2, 0), interpolation="nearest")
            ax.set_title(_caption(found[i]), fontsize=6)
        row[0].text(
            -0.06, 0.5, _start(found[line[0]].label), transform=row[0].transAxes, rotation=90, ha="right", va="center",
            fontsize=8, fontweight="bold",
        )  # fmt: skip
    return figure


def _caption(one: Mistake) -> str:
    """The file, what it was taken for, and by how many networks.

    >>> print(_caption(Mistake("a/0.png", "a", "b", 0.98, 2, 3, 0)))
    0.png
    → b 98 %
    2 of 3 seeds
    """
    name = Path(one.file).name
    short = name if len(name) <= LETTERS else f"…{name[1 - LETTERS :]}"
    seeds = f"\n{one.wrong} of {one.of} seeds" if one.of > 1 else ""
    return f"{short}\n→ {_start(one.answer)} {100 * one.probability:.0f} %{seeds}"


def _start(name: str) -> str:
    return name if len(name) <= LETTERS else f"{name[: LETTERS - 1]}…"
