"""Epochs taken from a store that is there: what would go, what has to stay, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from studies.grid.study_file import STUDY, told_by
from studies.grid.verifying import verified
from wdiv.errors import BadStore, WdivError
from wdiv.store.keep import EXTEND, Keep, thin, thinning
from wdiv.store.reader import CheckpointStore, Run, find_run, is_being_written, write_lock

__all__ = ["PRUNE", "Pruned", "prune", "would_prune"]

PRUNE = Keep("first,last")
"""What is kept where nothing else is said: the least that a store goes on working with."""
WAIT = 1.0
"""Seconds to wait for a run's lock: whoever asks how far a run is holds it for an instant."""


@dataclass(frozen=True)
class Pruned:
    """What goes of a run.

    bytes   of the epochs, and of what more epochs would go on from, where ``resume`` says that this goes too
    needed  epochs that stay because something starts from them, or is measured against them
    why     it is left as it is; empty where it is not
    """

    run: str
    thinned: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    bytes: int = 0
    resume: bool = False
    needed: tuple[int, ...] = ()
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def would_prune(out: Path, keep: Keep = PRUNE) -> list[Pruned]:
    """What :func:`prune` would take away, run by run; nothing is touched."""
    return [_planned(name, run, kept) for name, run, kept in _runs(out, keep)]


def prune(out: Path, keep: Keep = PRUNE) -> list[Pruned]:
    """Take away the epochs of a study's folder, or of any store, that ``keep`` does not name, and what more epochs
    would go on from, unless it says ``resume``.

    Those stay as well that a run could not be read without, that the study measures against, and that a study beside
    this one starts from. A run that is being written, or was imported, is left as it is. Killed in the middle, it is
    finished by the next.
    """
    done = []
    for name, run, kept in _runs(out, keep):
        if run.imported is None:
            with suppress(BadStore), write_lock(run, WAIT):
                planned = _planned(name, run, kept, ours=True)
                thin(run, planned.thinned)
                if planned.resume:
                    (run.path / EXTEND).unlink()
                done.append(planned)
                continue
        done.append(_planned(name, run, kept))
    return done


def _planned(name: str, run: Run, keep: Keep, *, ours: bool = False) -> Pruned:
    """ours: it is this process that holds the run's lock."""
    if run.imported is not None:
        return Pruned(name, why="imported: its files are not wdiv's")
    if not ours and is_being_written(run):
        return Pruned(name, why="being written")
    gone = thinning(run, keep)
    kept = [epoch for epoch in run.epochs() if epoch not in gone]
    needed = [epoch for epoch in sorted(keep.besides) if epoch in kept]
    extend, extending = run.path / EXTEND, (run.path / "resume.pt").exists()
    resume = extend.exists() and not extending and not keep.resume
    room = sum(gone.values()) + (extend.stat().st_size if resume else 0)
    return Pruned(name, tuple(gone), tuple(kept), room, resume, tuple(needed))


def _runs(out: Path, keep: Keep) -> Iterator[tuple[str, Run, Keep]]:
    """Every run, by the name it has in the study's folder, and what of it is kept."""
    stores = verified(out)
    runs = [run for store in stores.values() for run in store] or [*CheckpointStore.open(out)]
    starts = _starts(out, runs)
    for condition, store in stores.items():
        reference = str(told_by(store.path)["study"].get("reference", ""))
        measured = {int(reference)} if reference.isdecimal() else set()
        for run in store:
            besides = keep.besides | measured | starts.get(run.path.resolve(), set())
            yield "/".join(filter(None, (condition, run.path.name))), run, replace(keep, besides=besides)


def _starts(out: Path, runs: Sequence[Run]) -> Mapping[Path, set[int]]:
    """Epochs that runs of this folder or of one beside it start from, as their studies and records say.

    A run that is there has its starting weights in ``bases``; its study reads them from the epoch again.
    """
    ours, found = {run.path.name: run.path.resolve() for run in runs}, dict[Path, set[int]]()
    for source in _sources(out):
        name, _, epoch = source.rpartition("@")
        if name in ours and epoch.isdecimal():
            found.setdefault(ours[name], set()).add(int(epoch))
            continue
        with suppress(WdivError):  # a name, a file, or a run that is gone
            named = find_run(source)
            if named is not None:
                found.setdefault(named[0].path.resolve(), set()).add(named[1])
    return found


def _sources(out: Path) -> set[str]:
    """What runs of this folder, and of those beside it, start from, in the words that say so."""
    found: set[str] = set()
    around = out.resolve().parent
    for file in (*around.glob(f"*/{STUDY}"), *around.glob(f"*/*/{STUDY}")):
        study = told_by(file.parent)["study"]
        values = [study, *(one.get("values", {}) for one in study.get("conditions", ()))]
        found |= {str(one["weights"]) for one in values if one.get("weights")}
    for file in (*around.glob("*/runs/*/run.json"), *around.glob("*/*/runs/*/run.json")):
        with suppress(WdivError):
            found.add(Run(file.parent).record.source)
    return found
