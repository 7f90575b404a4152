"""The part of a report that says what to do with one's own images."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from studies.report.recommendation import Recommendation
from studies.report.tables import markdown

__all__ = ["commands", "what_to_do"]

TABLE = """\
right: mean over seeds, and its 95 % interval for other test images and other seeds. Against the chosen: in points, with
the 95 % interval of the difference, paired by image; within noise where a test at a false discovery rate of 5 % over
this table does not tell the two apart. balanced: the mean over classes of what is right of each.
"""
HEATMAP = """\
How far each layer's outputs moved from where they started, by what was trained: columns are layers, from input to
output; white did not move.
"""


def commands(out: Path) -> dict[str, str]:
    """What to type to use the network that was chosen: for what -> the command.

    >>> commands(Path("runs/my photos"))["label other images"]
    "wdiv predict 'runs/my photos' IMAGES -o predictions.csv"
    """
    where = shlex.quote(str(out))
    return {
        "label other images": f"wdiv predict {where} IMAGES -o predictions.csv",
        "see what it gets wrong": f"wdiv errors {where} -o errors.png",
        "have it as one file": f"wdiv export {where} -o network.onnx",
    }


def what_to_do(advice: Recommendation, out: Path, to: Path) -> Iterator[str]:
    """Paragraphs of Markdown.

    out: the study's folder;  to: the report's, beneath which the heatmap lies, if there is one.
    """
    yield "## What to do"
    yield "\n".join(f"- {sentence}" for sentence in advice.sentences())
    yield "\n".join(f"To {what}:\n\n    {command}\n" for what, command in commands(out).items())
    yield "## What was compared"
    yield TABLE.strip()
    yield _table(advice.table())
    yield f"Of each class, by what was chosen ({advice.called(advice.chosen.cell)}):"
    yield _table(advice.by_class())
    for figure in sorted((to / "figures").glob("heatmap*.png")):
        yield HEATMAP.strip()
        yield f"![{figure.stem}]({figure.relative_to(to).as_posix()})"


def _table(rows: list[dict[str, str]]) -> str:
    return markdown([rows[0], ["---"] * len(rows[0]), *(row.values() for row in rows)])
