"""Running a planned grid: its source networks, its runs, its baselines."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines import trials
from studies.grid.failure import OF_ONE_RUN, Failure
from studies.grid.jobs import side_by_side
from studies.grid.planning import Planned, StudyGrid, plan_grid, source_networks, trained_sources, trials_of
from studies.grid.progress import Progress
from studies.grid.study_file import facts_of, merge_axes, read_study_json, update_study_json
from studies.spec.study import Study
from wdiv.errors import BadStore
from wdiv.numerics.proportion import in_words
from wdiv.store.files import clear_leftovers
from wdiv.store.keep import Keep
from wdiv.store.names import taken
from wdiv.store.reader import CheckpointStore, Run, is_being_written
from wdiv.store.writer import clear
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks import sources
from wdiv.tuning.prefix.feature_store import FeatureStore
from wdiv.tuning.training import precision
from wdiv.tuning.training.cost import estimate_seconds
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.extending import check_extension, is_longer, stays_stopped
from wdiv.tuning.training.identity import check_identity
from wdiv.tuning.training.interrupt import Stop, Stopped, asked_by_signals
from wdiv.tuning.training.loop import Diverged
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.run import fine_tune
from wdiv.tuning.training.run_spec import RunSpec
from wdiv.tuning.training.small_maps import check_maps

if TYPE_CHECKING:
    import torch

__all__ = ["describe_grid", "extensions", "run_grid", "with_sources"]


def run_grid(
    study: Study, out: Path, *, device: str = "auto", progress: Progress | None = None, jobs: int = 1,
    source_store: Path | None = None, grid: StudyGrid | None = None,
) -> tuple[Path, list[Failure]]:  # fmt: skip
    """Train the study's grid into the store at ``out``; what is finished is left, what was stopped goes on.

    Its baselines follow, on the same images. Conditions are not looked at: :mod:`studies.grid.study_runner` does.

    jobs          runs that train side by side, each in a process of its own
    source_store  where the study's own source networks are trained; by default ``source`` beneath ``out``
    grid          what :func:`plan_grid` made of the study, where that is at hand: its images need not be read again

    Returns the folder and the runs whose loss diverged or whose files are damaged; the others go on regardless. SIGINT
    and SIGTERM finish the step, save it, and raise :class:`~wdiv.tuning.training.interrupt.Stopped`.
    """
    progress = progress or Progress()
    precision.check(study.precision, choose_device(device).type)
    grid = grid or plan_grid(study)
    runs, failed = _readable(grid.runs, out)
    left = _left(runs, out)
    _check_maps(left, grid, device)
    for planned in grid.runs:
        planned.spec.source.fetch()
    merge_axes(study, out)
    extended = extensions(runs, out)
    if grid.source is None:
        _check_identity(runs, grid.split, out, choose_device(device))
    for folder in (out, out / "bases", out / trials.FOLDER):
        clear_leftovers(folder)
    update_study_json(out, lambda: _resolved(grid, out))
    for line in (*(f"note: {note}" for note in grid.notes), *extended):
        progress.say(line)
    for one in failed:
        progress.say(f"{one.what}: {one}")
    if grid.source is not None:
        trained = _pretrain(grid, source_store or out / "source", device, progress)
        runs, left = (with_sources(some, trained) for some in (runs, left))
        _check_identity(runs, grid.split, out, choose_device(device))
    with asked_by_signals() as stop, progress.grid([planned.id for planned in runs]):
        for planned in runs:
            if planned not in left:
                clear(Run(out / "runs" / planned.id))
                with progress.run(planned.id, planned.spec.recipe.epochs):
                    pass  # finished before
        train = _one_by_one if jobs == 1 else partial(side_by_side, jobs=jobs)
        specs, names = [planned.spec for planned in left], [planned.id for planned in left]
        failed += train(specs, names, grid.split, out, device, progress, stop, _keep(study)) if left else []
        _baselines(study, [planned.spec for planned in runs], grid.split, out, device, progress, stop)
    if not any(is_being_written(run) for run in CheckpointStore.at(out).folders()):  # by another process
        shutil.rmtree(out / "features", ignore_errors=True)  # what did not fit in memory
    return out, failed


def _keep(study: Study) -> Keep:
    """The epochs that stay while it trains: what it measures against, too."""
    reference = str(study.reference)
    return Keep(study.keep, frozenset({int(reference)} if reference.isdecimal() else ()))


def with_sources(runs: Sequence[Planned], trained: Mapping[str, sources.Source]) -> list[Planned]:
    """The runs, those of the study's own source networks starting from what these have been trained to."""
    return [replace(p, spec=replace(p.spec, source=trained.get(p.spec.source.name, p.spec.source))) for p in runs]


def _readable(runs: Sequence[Planned], out: Path) -> tuple[list[Planned], list[Failure]]:
    """The runs of which it can be told how far they are, and the others."""
    found, failed = list[Planned](), list[Failure]()
    for planned in runs:
        run = Run(out / "runs" / planned.id)
        try:
            if (run.path / "run.json").exists() or run.history():
                run.record.id, run.state  # noqa: B018 - which reads them
            found.append(planned)
        except BadStore as error:
            failed.append(Failure(planned.id, error))
    return found, failed


def _left(runs: Sequence[Planned], out: Path) -> list[Planned]:
    """The runs that are not finished, or are asked for more epochs than they have."""
    there = {planned.id: Run(out / "runs" / planned.id) for planned in runs}
    return [p for p in runs if not there[p.id].finished or is_longer(there[p.id], p.spec)]


def extensions(runs: Sequence[Planned], out: Path) -> list[str]:
    """What is asked for more epochs than it has, and where it goes on from, a line each; not of what is damaged.

    Raises :class:`~wdiv.errors.BadInput` for a run that cannot go on.
    """
    told = []
    for planned in _readable(runs, out)[0]:
        run = Run(out / "runs" / planned.id)
        if not is_longer(run, planned.spec):
            continue
        check_extension(run, planned.spec)
        if run.end is None:
            continue
        if stays_stopped([row for row in run.history() if row["epoch"] <= run.end], planned.spec):
            told.append(f"{planned.id}: stopped early, after epoch {run.end}, and stays so; epoch {run.final} counts")
        else:
            told.append(f"{planned.id}: goes on after epoch {run.end}; until it is over epoch {run.final} counts")
    return told


def _check_identity(runs: Sequence[Planned], split: Split, out: Path, device: torch.device) -> None:
    """What the store has by the names of any run, of their weights and of their images is the same, or it is an error
    before a step is taken."""
    store, networks = CheckpointStore.at(out), NetworkCache()
    known = taken(store.folders())
    for source in source_networks([planned.spec for planned in runs]):
        trials.check_outcomes(out, source, split)
    for planned in runs:
        base = networks.base(planned.spec, len(split.pool.classes), device)
        check_identity(store, planned.spec, split, base, planned.changing, known, extend=True)


def _one_by_one(
    specs: Sequence[RunSpec], names: Sequence[str], split: Split, out: Path, device: str, progress: Progress,
    stop: Stop, keep: Keep,
) -> list[Failure]:  # fmt: skip
    features, networks, failed = FeatureStore(out / "features"), NetworkCache(), []
    store = CheckpointStore.at(out)
    for spec, name in zip(specs, names, strict=True):
        if stop.signum is not None:
            raise Stopped(f"stopped before {name}", stop.signum)
        try:
            with progress.run(name, spec.recipe.epochs) as watcher:
                fine_tune(
                    spec, split, store, device=device, watcher=watcher, features=features, networks=networks, stop=stop,
                    keep=keep, extend=True,
                )  # fmt: skip
        except OF_ONE_RUN as error:
            failed.append(Failure(name, error))
            progress.say(f"{failed[-1].what}: {failed[-1]}")
        except Stopped as error:
            raise Stopped(f"{name}: {error}", error.signum) from None
    return failed


def _baselines(
    study: Study, specs: Sequence[RunSpec], split: Split, out: Path, device: str, progress: Progress, stop: Stop
) -> None:
    """The study's baselines on each source that is kept nowhere yet."""
    store = FeatureStore(out / "features")
    for source in source_networks(specs):
        wanted = trials_of(study, source)
        kept = trials.kept(out, source, split) if wanted else {}
        missing = [trial for trial in wanted if not trial.made(kept.get(trial.id(source, split)))]
        for outcome in trials.run(source, split, missing, device=device, store=store) if missing else ():
            trials.save(outcome, out)
            told = in_words(outcome.accuracy, outcome.n_test)
            progress.say(f"{outcome.id}: test {told}, {outcome.seconds:.1f} s")
            if stop.signum is not None:
                raise Stopped(f"stopped after {outcome.id}", stop.signum)


def _pretrain(grid: StudyGrid, folder: Path, device: str, progress: Progress) -> dict[str, sources.Source]:
    """Train the study's source networks, in a store of their own, and return them as sources by name."""
    assert grid.source is not None
    _, failed = run_grid(grid.source.study, folder, device=device, progress=progress, grid=grid.source)
    if failed:
        if isinstance(failed[0].error, Diverged):
            raise Diverged(f"the source network: {failed[0]}")
        raise failed[0].error
    return trained_sources(grid, folder)


def _resolved(grid: StudyGrid, out: Path) -> dict[str, Any]:
    """What ``study.json`` shall say. Axes grow when a study is run again; all else must stay."""
    before = read_study_json(out)
    planned = list(dict.fromkeys([*before["runs"], *(planned.id for planned in grid.runs)]))
    facts = before["facts"] | {planned.id: facts_of(planned.spec, grid.split.name) for planned in grid.runs}
    host = {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine()}
    return {
        "study": merge_axes(grid.study, out),
        "runs": planned,
        "facts": facts,
        "notes": list(grid.notes),
        "host": host,
    }


def _check_maps(runs: Sequence[Planned], grid: StudyGrid, device: str) -> None:
    """None of the runs trains on maps too small for its precision."""
    where, classes = choose_device(device).type, len(grid.split.pool.classes)
    for spec in {(p.spec.network.label, p.spec.strategy): p.spec for p in runs}.values():
        check_maps(spec, classes, where)


def describe_grid(grid: StudyGrid, out: Path, device: str = "auto") -> dict[str, Any]:
    """What a run of the study into ``out`` would do, as plain data; the seconds from a short trial on the device.

    Runs that are finished there are left out, and one that was stopped counts as a whole. The training of a study's
    own source network is not in it. Raises :class:`~wdiv.errors.BadInput` where ``out`` holds another
    study, or other weights or images by these names.
    """
    precision.check(grid.study.precision, choose_device(device).type)
    _resolved(grid, out)
    there, failed = _readable(grid.runs, out)
    extended = extensions(there, out)
    if grid.source is None and all(planned.spec.source.here or planned.spec.source.random for planned in grid.runs):
        _check_identity(there, grid.split, out, choose_device(device))
    runs = _left(there, out)
    _check_maps(runs, grid, device)
    seconds = estimate_seconds([planned.spec for planned in runs], grid.split, device)
    return {
        "study": grid.study.name,
        "data": grid.split.name,
        "classes": list(grid.split.pool.classes),
        "train_images": len(grid.split.pool),
        "test_images": len(grid.split.test),
        "image_size": grid.runs[0].spec.inputs.size,
        "epochs": grid.study.epochs,
        "runs": [
            {"run": p.id, "n_train": p.n_train, "bytes": p.bytes, "seconds": round(s, 1)}
            for p, s in zip(runs, seconds, strict=True)
        ],
        "finished": len(there) - len(runs),
        "steps": sum(planned.steps for planned in runs) * grid.study.epochs,
        "bytes": sum(p.bytes for p in runs),
        "seconds": round(sum(seconds), 1),
        "notes": [*grid.notes, *extended, *_steps_in_words(grid), *(f"{one.what}: {one}" for one in failed)],
    }


def _steps_in_words(grid: StudyGrid) -> list[str]:
    """How sizes are compared: where they differ, or where the study says how many steps each run takes."""
    study = grid.study
    by_size = sorted({(planned.n_step, planned.steps * study.epochs) for planned in grid.runs})
    (few, least), (many, most) = by_size[0], by_size[-1]
    if least != most:
        return [
            f"sizes are compared at unequal steps, {least} on {few} images and {most} on {many}: more images are more "
            f"training too; --steps {most} gives each run as many"
        ]
    if study.steps is None:
        return []
    passes = dict.fromkeys(
        f"{most * min(study.batch_size, count) / count:.3g} on {count} images" for count in (few, many)
    )
    return [f"each run takes {most} steps, passes over its images: {' and '.join(passes)}"]
