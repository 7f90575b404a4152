"""A whole study: every condition planned, trained and measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import distance, runner
from studies.conditions import Part, parts
from studies.finish import finish
from studies.papers import published
from studies.progress import Progress
from studies.report import write as write_report
from studies.results import write_all
from studies.runner import source_study
from studies.stored import STUDY, merged
from studies.study import Study
from studies.tables import check_against
from wdiv.store.files import write_json

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["conclude", "describe", "plan", "run"]


def plan(study: Study, out: Path) -> list[tuple[Part, runner.Grid | None]]:
    """Resolve every condition, and what the report will need; trains and writes nothing.

    Returns each with its grid; None where there are conditions, so that the images of all are not held at once.

    Raises any of wdiv's errors. That ``out`` holds another study is one of them.
    """
    found: list[tuple[Part, runner.Grid | None]] = []
    for part in parts(study, out):
        grid = runner.plan(part.study)
        merged(part.study, part.out)
        if part.study.pretrain is not None:
            merged(source_study(part.study), part.sources)
        found.append((part, None if study.conditions else grid))
        del grid
    if study.conditions:
        merged(study, out)
    if study.paper is not None:
        check_against(study.tables, published(study.paper))
    return found


def run(study: Study, out: Path, *, device: str = "auto", progress: Progress | None = None, jobs: int = 1) -> list[str]:
    """Train every condition's grid and its baselines, and measure how far the target's images lie from the source's,
    where a claim or a table asks for it. Returns a line for each run that diverged."""
    progress = progress or Progress(quiet=True)
    wanted = plan(study, out)
    if study.conditions:
        told = merged(study, out)
        write_json(out / STUDY, {"study": told, "conditions": [one["name"] for one in told["conditions"]]})
    diverged: list[str] = []
    for part, grid in wanted:
        if part.condition:
            progress.say(f"condition {part.condition}")
        _, lines = runner.run(
            part.study, part.out, device=device, progress=progress, jobs=jobs, source_store=part.sources, grid=grid
        )
        diverged += [f"{part.condition}/{line}" if part.condition else line for line in lines]
    if distance.asked(study):
        distance.measure(study, out, device=device)
    return diverged


def conclude(study: Study, out: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Measure and draw every condition, and write the tables. Returns what moved and what it bought, and the files."""
    import pandas as pd

    tables, files = [], []
    for part in parts(study, out):
        table, written = finish(part.out, study.metrics, study.reference)
        tables.append(table if not part.condition else table.assign(condition=part.condition))
        files += written
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs |= tables[0].attrs
    if study.conditions:
        files += write_all(out)
    if study.claims or study.tables or study.figures:
        files += write_report(out)[1][:2]
    return whole, files


def describe(study: Study, out: Path, device: str = "auto") -> dict[str, Any]:
    """What a run of the study into ``out`` would do and take, as plain data: of all conditions, and of the source
    networks that they train first."""
    found, seen = [], set()
    for part, grid in plan(study, out):
        if part.study.pretrain is not None and part.sources not in seen:
            seen.add(part.sources)
            source = runner.describe(runner.plan(source_study(part.study)), part.sources, device)
            found.append(source | {"condition": part.sources.relative_to(out).as_posix()})
        found.append(runner.describe(grid or runner.plan(part.study), part.out, device) | {"condition": part.condition})
    return {"parts": found, **_total(found)}


def _total(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = found[-1]
    runs = [
        run | {"run": "/".join(filter(None, (one["condition"], run["run"])))} for one in found for run in one["runs"]
    ]
    sums = {name: sum(one[name] for one in found) for name in ("finished", "steps", "bytes", "seconds")}
    notes = list(dict.fromkeys(note for one in found for note in one["notes"]))
    facts = ("study", "data", "classes", "train_images", "test_images", "image_size", "epochs")
    return {**{name: last[name] for name in facts}, "runs": runs, **sums, "notes": notes}
