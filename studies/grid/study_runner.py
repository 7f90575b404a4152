"""A whole study: every condition planned and trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from studies.grid import domain_distance
from studies.grid.conditions import Part, parts
from studies.grid.failure import Failure
from studies.grid.planning import StudyGrid, plan_grid
from studies.grid.power import power_in_words
from studies.grid.progress import Progress
from studies.grid.runner import describe_grid, extensions, run_grid
from studies.grid.study_file import merge_axes, update_study_json
from studies.papers import published
from studies.spec.study import Study
from studies.spec.table import check_against

__all__ = ["describe", "plan", "run"]


def plan(study: Study, out: Path) -> list[tuple[Part, StudyGrid | None]]:
    """Resolve every condition, and what the report will need; trains and writes nothing.

    Returns each with its grid; None where there are conditions, so that the images of all are not held at once.

    Raises any of wdiv's errors. That ``out`` holds another study is one of them.
    """
    found: list[tuple[Part, StudyGrid | None]] = []
    for part in parts(study, out):
        grid = plan_grid(part.study)
        merge_axes(part.study, part.out)
        extensions(grid.runs, part.out)
        if grid.source is not None:
            merge_axes(grid.source.study, part.sources)
        found.append((part, None if study.conditions else grid))
        del grid
    if study.conditions:
        merge_axes(study, out)
    if study.paper is not None:
        check_against(study.tables, published(study.paper))
    return found


def run(
    study: Study, out: Path, *, device: str = "auto", progress: Progress | None = None, jobs: int = 1
) -> list[Failure]:
    """Train every condition's grid and its baselines, and measure how far the target's images lie from the source's,
    where a claim or a table asks for it. Returns the runs that diverged or are damaged."""
    progress = progress or Progress()
    wanted = plan(study, out)
    if study.conditions:
        update_study_json(out, lambda: _whole(study, out))
    distances, failed = domain_distance.asked(study), list[Failure]()
    for part, grid in wanted:
        failed += _run_part(part, grid or plan_grid(part.study), device, progress, jobs, distances)
    return failed


def _whole(study: Study, out: Path) -> dict[str, Any]:
    told = merge_axes(study, out)
    return {"study": told, "conditions": [one["name"] for one in told["conditions"]]}


def _run_part(
    part: Part, grid: StudyGrid, device: str, progress: Progress, jobs: int, distances: bool
) -> list[Failure]:
    if part.condition:
        progress.say(f"condition {part.condition}")
    _, failed = run_grid(
        part.study, part.out, device=device, progress=progress, jobs=jobs, source_store=part.sources, grid=grid
    )
    if distances:
        domain_distance.measure(grid, part, device=device)
    return [replace(one, run="/".join(filter(None, (part.condition, one.run)))) for one in failed]


def describe(study: Study, out: Path, device: str = "auto") -> dict[str, Any]:
    """What a run of the study into ``out`` would do and take, as plain data: of all conditions, and of the source
    networks that they train first."""
    found, seen = list[dict[str, Any]](), set[Path]()
    for part, grid in plan(study, out):
        found += _describe_part(part, grid or plan_grid(part.study), out, device, sources=part.sources not in seen)
        seen.add(part.sources)
    total = _total(found)
    return {"parts": found, **total, "notes": [*total["notes"], *power_in_words(study)]}


def _describe_part(part: Part, grid: StudyGrid, out: Path, device: str, sources: bool) -> Iterator[dict[str, Any]]:
    if sources and grid.source is not None:
        name = part.sources.relative_to(out).as_posix()
        yield describe_grid(grid.source, part.sources, device) | {"condition": name}
    yield describe_grid(grid, part.out, device) | {"condition": part.condition}


def _total(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    last = found[-1]
    runs = [
        run | {"run": "/".join(filter(None, (one["condition"], run["run"])))} for one in found for run in one["runs"]
    ]
    sums = {name: sum(one[name] for one in found) for name in ("finished", "steps", "bytes", "seconds")}
    notes = list(dict.fromkeys(note for one in found for note in one["notes"]))
    facts = ("study", "data", "classes", "train_images", "test_images", "image_size", "epochs")
    return {**{name: last[name] for name in facts}, "runs": runs, **sums, "notes": notes}
