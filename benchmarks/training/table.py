"""The comparisons as rows of the table."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.process import alone
from benchmarks.training.agreement import TOLERANCE, disagreement
from benchmarks.training.grid import compare_grid
from benchmarks.training.side import CONTENDERS, installed
from benchmarks.training.tasks import TASKS, Task, prepare

__all__ = ["compare_task", "rows"]


def rows(
    names: Sequence[str] = (), *, scale: float = 1.0, fraction: float = 1.0, weights: str | None = None
) -> Iterator[dict[str, Any]]:
    """Of the tasks of these names, or of all and the grid."""
    known = [*(task.name for task in TASKS), "grid"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"{unknown[0]!r} is none of {', '.join(known)}")
    for task in TASKS:
        if not names or task.name in names:
            yield from compare_task(task, scale, weights if task.model == "resnet50" else None)
    if not names or "grid" in names:
        yield from compare_grid(fraction, scale)


def compare_task(task: Task, scale: float = 1.0, start: str | None = None) -> Iterator[dict[str, Any]]:
    """A row for each contender; ``scale`` cuts the epochs."""
    task = replace(task, epochs=max(1, round(task.epochs * scale)))
    with tempfile.TemporaryDirectory() as folder:
        work = prepare(task, Path(folder), start)
        ours = alone("benchmarks.training.side", "wdiv", work)
        row = {"work": task.title, "ours_s": ours["seconds"], "ours_MB": ours["MB"]}
        for name in (*task.peers, "wdiv, nothing saved"):
            if not installed(name):
                yield row | {"theirs": name, "remark": "not installed"}
                continue
            theirs = alone("benchmarks.training.side", name, work)
            measured = {"theirs": name, "theirs_s": theirs["seconds"], "theirs_MB": theirs["MB"]}
            yield row | measured | _judge(name, task, ours, theirs)


def _judge(name: str, task: Task, ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The ratio, if it was the same work, and the remark."""
    ratio = theirs["seconds"] / ours["seconds"]
    last = f"test accuracy {theirs['accuracies'][-1]:.3f}, wdiv {ours['accuracies'][-1]:.3f}"
    if not CONTENDERS[name].same:
        return {"ratio": ratio, "remark": f"{last}; BatchNorm by batch statistics, so not the same training"}
    off = disagreement(ours["losses"][0], theirs["losses"][0])
    if not off <= TOLERANCE[task.precision]:
        losses = f"{theirs['losses'][0]:.4f}, wdiv {ours['losses'][0]:.4f}"
        return {"ratio": None, "remark": f"NOT THE SAME WORK: loss of the first epoch {losses}"}
    if name == "wdiv, nothing saved":
        return {"ratio": ratio, "remark": f"saving {task.epochs} epochs takes {1 - ratio:.0%} of the time"}
    return {"ratio": ratio, "remark": f"{last}; losses of the first epoch agree to {off:.0e}"}
