"""Is a study's folder what was written? And what is not is made again, where it can be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from studies.grid import domain_distance
from studies.grid.conditions import Part, begun, parts, stores
from studies.grid.planning import StudyGrid, plan_grid, trained_sources
from studies.grid.progress import Progress
from studies.grid.results import results_at_fault, write_all, write_results
from studies.grid.runner import with_sources
from studies.grid.study_file import STUDY, lost, read_study, read_study_json
from wdiv.cache.measures import STEMS, is_of_before
from wdiv.errors import BadInput, BadStore, Damaged, WdivError
from wdiv.store import running_metrics
from wdiv.store.files import sha256
from wdiv.store.imported import NAME as IMPORTED
from wdiv.store.keep import EXTEND, thin
from wdiv.store.names import readable
from wdiv.store.reader import LOCK, CheckpointStore, Run, write_lock
from wdiv.store.seals import has_tail
from wdiv.store.verify import live_at_fault, verify
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.identity import check_identity
from wdiv.tuning.training.loop import Diverged
from wdiv.tuning.training.network_cache import NetworkCache
from wdiv.tuning.training.run import fine_tune

if TYPE_CHECKING:
    from wdiv.tuning.training.run_spec import RunSpec

__all__ = ["files_at_fault", "repair", "verified"]

REPAIR = ".repair"
"""Beneath a store, where its damaged runs are trained again."""


def verified(out: Path) -> dict[str, CheckpointStore]:
    """The stores that are verified with a study's folder, under what the names of their runs begin with: of every
    condition that has begun, and of its source networks; the folder itself where it is no study's."""
    found = begun(out) or {"": CheckpointStore.at(out)}
    if (gone := lost(out)) and not any(found[""].folders()) and not any(out.glob(f"{trials.FOLDER}/*")):
        raise BadStore(gone)  # conditions, and nothing says which
    return found | {
        name: store for name, store in _sources(out).items() if store.path not in {one.path for one in found.values()}
    }


def _sources(out: Path) -> dict[str, CheckpointStore]:
    """Where a study with ``pretrain`` trains its source networks, each a study's folder of its own."""
    folders = sorted({*out.glob("source"), *out.glob("sources/*")})
    return {path.relative_to(out).as_posix(): CheckpointStore.at(path) for path in folders if (path / STUDY).is_file()}


def files_at_fault(out: Path) -> dict[Path, str]:
    """Files beside a store's runs that are not what was written -> what is wrong, in words.

    Those that wdiv wrote before it sealed its files are not looked at, but for whether they can be read.
    """
    found: dict[Path, str] = {}
    try:
        read_study_json(out)
    except WdivError as error:
        found[out / STUDY] = str(error)
    for file in sorted((out / trials.FOLDER).glob("[!.]*.json")):
        try:
            trials.check_predictions(trials.read(file), out)
        except WdivError as error:
            found[file] = str(error)
    try:
        domain_distance.load(out)
    except WdivError as error:
        found[out / domain_distance.FILE] = str(error)
    for file in (file for stem in (*STEMS.values(), "pairs") for file in out.glob(f"{stem}*.nc")):
        if not (has_tail(file) or is_of_before(file)):
            found[file] = str(Damaged(file))
    return found | {file: str(Damaged(file)) for file in results_at_fault(out)}


def repair(out: Path, device: str = "auto", progress: Progress | None = None) -> list[str]:
    """Make again what is damaged in a study's folder, or in any store, and can be made again. Returns a line for each
    that was, or that could not be.

    Starting weights come from their source. A run is trained again from the start, beside itself, and takes its own
    place if every epoch that is not damaged is the same, bit for bit: that wants the same machine, or one that
    computes alike. Results are written again. Other files are taken away, and made again when they are asked for.
    """
    progress = progress or Progress()
    told = [line for store in _sources(out).values() for line in repair(store.path, device, progress)]
    try:
        planned: Mapping[Path, Part] = {part.out: part for part in parts(read_study(out), out)}
        why = ""
    except BadStore as error:
        planned, why = {}, str(error)
    found = [*begun(out).values()] or [CheckpointStore.at(out)]
    for store in found:
        told += _repair_runs(store, planned.get(store.path), why, device, progress)
    for folder in dict.fromkeys([*(store.path for store in found), out]):
        told += _repair_files(folder)
    return told


def _repair_runs(store: CheckpointStore, part: Part | None, why: str, device: str, progress: Progress) -> Iterator[str]:
    """part: of the study that trains the store's runs; None where that is not known, and ``why``."""
    for run in store.folders():
        yield from _take_away_live(run)
    at_fault = _at_fault(store)
    if not at_fault:
        return
    grid: StudyGrid | None = None
    specs: Mapping[str, RunSpec] = {}
    if part is not None:
        try:
            grid = plan_grid(part.study)
            trained = {} if grid.source is None else trained_sources(grid, part.sources)
            specs = {planned.id: planned.spec for planned in with_sources(grid.runs, trained)}
        except WdivError as error:
            why = str(error)
    if grid is not None:
        healed = [*_heal_bases([Run(store.path / "runs" / name) for name in at_fault], grid, specs, device)]
        yield from healed
        at_fault = _at_fault(store) if healed else at_fault
    for name, problems in at_fault.items():
        run = Run(store.path / "runs" / name)
        if grid is not None and name in specs:
            progress.say(f"{name}: trained again from the start")
            yield _again(run, specs[name], grid, store, device, progress)
        else:
            reason = f"{problems[0]}; {why or 'the study does not train it'}"
            if (run.path / IMPORTED).exists():
                reason = f"{problems[0]}; it was imported: put its files back, or import it again"
            yield f"{run.path}: cannot be made again: {reason}"


def _at_fault(store: CheckpointStore) -> dict[str, tuple[str, ...]]:
    return {found.run: found.problems for found in verify(store.path) if found.problems}


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


def _heal_bases(at_fault: Iterable[Run], grid: StudyGrid, specs: Mapping[str, RunSpec], device: str) -> Iterator[str]:
    """Starting weights that are damaged, from their source where that still is what it was."""
    networks, done = NetworkCache(), set[Path]()
    for run in readable(at_fault):
        base, spec = run.base, specs.get(run.path.name)
        if spec is not None and base not in done and not (base.is_file() and sha256(base) == base.stem):
            done.add(base)
            start = networks.prepare(spec, len(grid.split.pool.classes), choose_device(device)).start
            if start.write_base(run.root) == base.stem:
                yield f"{base}: written again, from {spec.start}"


def _again(run: Run, spec: RunSpec, grid: StudyGrid, store: CheckpointStore, device: str, progress: Progress) -> str:
    place = store.path / REPAIR
    shutil.rmtree(place, ignore_errors=True)
    try:
        with write_lock(run, seconds=0.0):
            new = _trained_beside(run, spec, grid, store, place, device, progress)
            compared = _compared(run, new)
            other = [epoch for epoch, same in compared.items() if not same]
            if other:
                return (
                    f"{run.path}: cannot be made again: trained anew, epoch {other[0]} is not what it was; "
                    "another machine, or other versions, may compute alike"
                )
            with suppress(WdivError):  # nobody knows what was kept
                thin(new, [row["epoch"] for row in run.history() if row.get("thinned")])
                if not (run.path / EXTEND).exists():
                    (new.path / EXTEND).unlink(missing_ok=True)
            _take_over(run, new)
        return f"{run.path}: made again; {len(compared)} epochs are the same as before"
    except (BadInput, BadStore) as error:
        return f"{run.path}: cannot be made again: {error}"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _trained_beside(
    run: Run, spec: RunSpec, grid: StudyGrid, store: CheckpointStore, place: Path, device: str, progress: Progress
) -> Run:
    start = NetworkCache().base(spec, len(grid.split.pool.classes), choose_device(device))
    with suppress(Damaged):  # its own record
        check_identity(store, spec, grid.split, start)
    with (
        suppress(Diverged),  # as it may have done before
        progress.grid([run.path.name]),
        progress.run(run.path.name, spec.recipe.epochs) as watcher,
        _threads_of(run),
    ):
        fine_tune(spec, grid.split, place, device=device, watcher=watcher)
    return Run(place / "runs" / run.path.name)


def _take_over(run: Run, new: Run) -> None:
    """Put a run's files in the place of those of before, one by one, and its record last: each is there at any instant,
    as it was or as it shall be. What is cut off in between is damaged still, and no more than before."""
    for folder in ("bases", "images"):
        for shared in (new.root / folder).glob("*"):
            (run.root / folder).mkdir(exist_ok=True)
            os.replace(shared, run.root / folder / shared.name)
    made, there = ({file.relative_to(one.path) for file in one.path.rglob("*") if file.is_file()} for one in (new, run))
    for name in sorted(made - {Path(LOCK)}, key=lambda name: (name.name == "run.json", name)):
        (run.path / name).parent.mkdir(exist_ok=True)
        os.replace(new.path / name, run.path / name)
    for name in there - made:
        (run.path / name).unlink()


@contextmanager
def _threads_of(run: Run) -> Iterator[None]:
    """As many threads as the run was trained with: on a CPU its bits depend on them."""
    import torch

    now, told = torch.get_num_threads(), ""
    with suppress(WdivError):  # its record is damaged, and nobody knows
        told = run.record.versions.get("threads", "")
    torch.set_num_threads(int(told) if told.isdecimal() else now)
    try:
        yield
    finally:
        torch.set_num_threads(now)


def _compared(old: Run, new: Run) -> dict[int, bool]:
    """Epoch -> whether it is the same, of those that are whole in the old run or were when they were written."""
    try:
        digests = {row["epoch"]: row.get("sha256") for row in old.history()}
    except WdivError:
        digests = {}
    now = {row["epoch"]: row["sha256"] for row in new.history()}
    found = {}
    for epoch in sorted(digests.keys() | now.keys()):
        file = old.epoch_file(epoch)
        then = digests.get(epoch) or (sha256(file) if file.is_file() else None)
        if then is not None:
            found[epoch] = then == now.get(epoch)
    return found


def _repair_files(out: Path) -> Iterator[str]:
    for file, what in files_at_fault(out).items():
        if file.name == STUDY:
            yield f"{what}; cannot be made again: delete it, and give the command that made the study once more"
        elif file.name.startswith("results."):
            write_results(out) if "" in stores(out) else write_all(out)
            yield f"{file}: written again"
        else:
            file.unlink()
            yield f"{file}: taken away; it is made again by the command that made it"
