"""Is a study's folder what was written? And what is not is made again, where it can be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from studies.grid import domain_distance
from studies.grid.conditions import Part, parts
from studies.grid.planning import StudyGrid, plan_grid, trained_sources
from studies.grid.progress import Progress
from studies.grid.results import csv_is_whole, write_results
from studies.grid.runner import with_sources
from studies.grid.study_file import read_study, read_study_json
from wdiv.errors import WdivError
from wdiv.store import running_metrics
from wdiv.store.files import sha256
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.seals import has_tail
from wdiv.store.verify import live_at_fault, verify
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.run import fine_tune

if TYPE_CHECKING:
    from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["files_at_fault", "repair"]

REPAIR = ".repair"
"""Beneath a store, where its damaged runs are trained again."""


def files_at_fault(out: Path) -> dict[Path, str]:
    """Files beside a store's runs that are not what was written -> what is wrong, in words.

    Those that wdiv wrote before it sealed its files are not looked at, but for whether they can be read.
    """
    found: dict[Path, str] = {}
    sealed = False
    try:
        sealed = read_study_json(out)["sealed"]
    except WdivError as error:
        found[out / "study.json"] = str(error)
    for file in sorted((out / trials.FOLDER).glob("[!.]*.json")):
        try:
            trials.check_predictions(trials.read(file), out)
        except WdivError as error:
            found[file] = str(error)
    try:
        domain_distance.load(out)
    except WdivError as error:
        found[out / domain_distance.FILE] = str(error)
    results = out / "results.nc"
    for file in (*out.glob("measures*.nc"), *out.glob("pairs*.nc"), *([results] if results.exists() else [])):
        if sealed and not has_tail(file):
            found[file] = f"{file}: damaged: not what was written"
    if sealed and results.exists() and results not in found and not csv_is_whole(out):
        found[out / "results.csv"] = f"{out / 'results.csv'}: damaged: not what was written"
    return found


def repair(out: Path, device: str = "auto", progress: Progress | None = None) -> list[str]:
    """Make again what is damaged in a study's folder and can be made again. Returns a line for each that was, or that
    could not be.

    Starting weights come from their source. A run is trained again from the start, beside itself, and takes its own
    place if every epoch that is not damaged is the same, bit for bit: that wants the same machine, or one that
    computes alike. Results are written again. Other files are taken away, and made again when they are asked for.
    """
    progress = progress or Progress()
    study = read_study(out)
    told: list[str] = []
    for part in parts(study, out):
        if (part.out / "runs").is_dir():
            told += _repair_part(part, device, progress)
    return told


def _repair_part(part: Part, device: str, progress: Progress) -> Iterator[str]:
    for run in CheckpointStore.at(part.out).folders():
        yield from _take_away_live(run)
    if _at_fault(part):
        grid = plan_grid(part.study)
        trained = {} if grid.source is None else trained_sources(grid, part.sources)
        specs = {planned.id: planned.spec for planned in with_sources(grid.runs, trained)}
        yield from _heal_bases(part, grid, specs, device)
        for name, problems in _at_fault(part).items():
            run = Run(part.out / "runs" / name)
            if name in specs:
                progress.say(f"{name}: trained again from the start")
                yield _again(run, specs[name], grid, part.out, device, progress)
            else:
                yield f"{run.path}: cannot be made again, for the study does not train it: {problems[0]}"
    yield from _repair_files(part)


def _at_fault(part: Part) -> dict[str, tuple[str, ...]]:
    return {found.run: found.problems for found in verify(part.out) if found.problems}


def _take_away_live(run: Run) -> Iterator[str]:
    """What only served to look on. It has nothing that the epochs do not have."""
    live = run.path / running_metrics.NAME
    try:
        problems = [*live_at_fault(run)]
    except WdivError:  # its record is damaged, and it will be trained again
        problems = []
    if problems:
        live.unlink()
        yield f"{live}: taken away; it served to look on"


def _heal_bases(part: Part, grid: StudyGrid, specs: Mapping[str, RunSpec], device: str) -> Iterator[str]:
    """Starting weights that are damaged, from their source where that still is what it was."""
    networks, done = NetworkCache(), set[Path]()
    for name in _at_fault(part):
        try:
            base = Run(part.out / "runs" / name).base
        except WdivError:
            continue
        if name in specs and base not in done and not (base.is_file() and sha256(base) == base.stem):
            done.add(base)
            start = networks.prepare(specs[name], len(grid.split.pool.classes), choose_device(device)).start
            if start.write_base(part.out) == base.stem:
                yield f"{base}: written again, from {specs[name].start}"


def _again(run: Run, spec: RunSpec, grid: StudyGrid, out: Path, device: str, progress: Progress) -> str:
    place = out / REPAIR
    shutil.rmtree(place, ignore_errors=True)
    try:
        with progress.run(run.path.name, spec.recipe.epochs) as watcher:
            new = fine_tune(spec, grid.split, place, device=device, watcher=watcher)
        other = [epoch for epoch, same in _compared(run, new).items() if same is False]
        if other:
            return (
                f"{run.path}: cannot be made again: trained anew, epoch {other[0]} is not what it was; "
                "another machine, or other versions, may compute alike"
            )
        for shared in (*place.glob("bases/*"), *place.glob("images/*")):
            (out / shared.parent.name).mkdir(exist_ok=True)
            os.replace(shared, out / shared.relative_to(place))
        aside = place / "damaged"
        os.rename(run.path, aside)
        os.rename(new.path, run.path)
        return f"{run.path}: made again; {sum(_compared(Run(aside), run).values())} epochs are the same as before"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _compared(old: Run, new: Run) -> dict[int, bool]:
    """Epoch -> whether it is the same, of those that are whole in the old run or were when they were written."""
    try:
        digests = {row["epoch"]: row.get("sha256") for row in old.history()}
    except WdivError:
        digests = {}
    found = {}
    for row in new.history():
        file, epoch = old.epoch_file(row["epoch"]), row["epoch"]
        then = digests.get(epoch) or (sha256(file) if file.is_file() else None)
        if then is not None:
            found[epoch] = then == row["sha256"]
    return found


def _repair_files(part: Part) -> Iterator[str]:
    for file, what in files_at_fault(part.out).items():
        if file.name == "study.json":
            yield f"{what}; cannot be made again: delete it, and give the command that made the study once more"
        elif file.name.startswith("results."):
            write_results(part.out)
            yield f"{file}: written again"
        else:
            file.unlink()
            yield f"{file}: taken away; it is made again by the command that made it"
