"""Does a store hold what it says? Everything is read and hashed again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from wdiv.errors import BadStore, Damaged, WdivError
from wdiv.store import predictions, running_metrics, tensors
from wdiv.store.files import sha256
from wdiv.store.imported import File, Imported, ImportedEpoch, read_tensor_at
from wdiv.store.keep import EXTEND, goes_on
from wdiv.store.names import conflicts, taken, trained
from wdiv.store.reader import CheckpointStore, Run, StoreLike, is_being_written
from wdiv.store.seals import check_seal, file_digest, has_tail

__all__ = ["Verification", "live_at_fault", "problems_of", "verify"]

NOTE = "imported: files held to their size and time, every tensor read; no digest was taken"


@dataclass(frozen=True)
class Verification:
    """What was found in one run. ``problems`` is empty if all is well; ``note`` says what could not be proven;
    ``thinned``: how many of the epochs wdiv has taken away, of which their rows alone are there."""

    run: str
    epochs: int
    planned: int
    frozen: int
    problems: tuple[str, ...]
    note: str = ""
    thinned: int = 0


def verify(path: StoreLike) -> list[Verification]:
    """Read and hash every file of a store again.

    Held to: every base is named by its own SHA-256; every epoch from 0 to the last is there and is the file that was
    written, but for those that were thinned, as their rows say; every tensor an epoch should hold is in it; what is
    called the same in two runs, images or weights, is the same; every frozen tensor is bit-identical to what it was
    when the run began, and each epoch was saved only after the network in memory had been checked for that; the
    predictions that are kept are those that were written.

    The files of an imported run are held to the digests they were imported with. Before wdiv took those, to size and
    time alone; ``note`` says so.
    """
    runs = [*CheckpointStore.at(path).folders()]
    found = [_verify_run(run) for run in runs or CheckpointStore.open(path)]
    sound = {one.run for one in found if not one.problems}
    mixed = _mixed(run for run in runs if run.path.name in sound)
    return [replace(one, problems=(*one.problems, *mixed.get(one.run, ()))) for one in found]


def _mixed(runs: Iterable[Run]) -> dict[str, list[str]]:
    """What is called the same in several runs, and is not: run -> in words."""
    whole = trained(runs)
    known, strict = taken(whole), not all(goes_on(run) for run in whole)
    return {
        run.path.name: [
            f"{run.path}: its {what} {name!r} is other than that of {other} by this name ({how})"
            for what, name, other, how in conflicts(vars(run.record), known, epochs=strict)
        ]
        for run in whole
    }


def problems_of(run: Run) -> list[str]:
    """What is wrong with a run that wdiv trained."""
    base = [*_base(run)]
    return [*base, *_epochs(run), *(() if base else _frozen(run)), *_others(run), *predictions.damaged(run)]


def _verify_run(run: Run) -> Verification:
    try:
        record, history = run.record, run.history()
        foreign = run.imported
        if foreign is not None:
            note = "" if all(file.digest for file in _files(foreign)) else NOTE
            return Verification(run.path.name, len(history), len(history), 0, tuple(_foreign(foreign)), note)
        problems = problems_of(run)
        planned, frozen = int(record.recipe["epochs"]), len(record.frozen)
    except WdivError as error:
        return Verification(run.path.name, 0, 0, 0, (str(error),))
    except Exception as error:  # a run.json with other things in it than a run's: nobody can list what that leads to
        return Verification(run.path.name, 0, 0, 0, (f"{run.path / 'run.json'}: damaged ({error!r})",))
    thinned = sum(bool(row.get("thinned")) for row in history)
    return Verification(run.path.name, max(len(history) - 1, 0), planned, frozen, tuple(problems), thinned=thinned)


def _states(imported: Imported) -> list[ImportedEpoch]:
    return [*imported.epochs.values(), *([imported.base] if imported.base is not None else [])]


def _files(imported: Imported) -> set[File]:
    return {file for state in _states(imported) for file in state.files}


def _foreign(imported: Imported) -> Iterator[str]:
    other = {
        file.path
        for file in _files(imported)
        if file.digest and file.path.is_file() and file_digest(file.path) != file.digest
    }  # fmt: skip
    for path in sorted(other):
        yield f"{path}: not the file that was imported"
    for state in _states(imported):
        for key in state.layout:
            location = state.location(key)
            assert location is not None
            if location.path not in other:
                try:
                    read_tensor_at(location)
                except WdivError as error:
                    yield str(error)
                    break


def _base(run: Run) -> Iterator[str]:
    if not run.base.is_file():
        yield f"{run.base}: missing"
    elif sha256(run.base) != run.record.base:
        yield f"{run.base}: its SHA-256 is not its name"


def _epochs(run: Run) -> Iterator[str]:
    told = {run.epoch_file(row["epoch"]) for row in run.history()}
    untold = sorted(set(run.path.glob("epochs/[0-9]*.safetensors")) - told)
    was_over = untold and (not told or untold[-1] == run.epoch_file(int(run.record.recipe["epochs"])))
    if was_over and not (run.path / "resume.pt").exists() and not is_being_written(run):
        yield f"{run.path / 'history.jsonl'}: does not tell of {untold[0].name}, which is there: its end is lost"
    for expected, row in enumerate(run.history()):
        if row["epoch"] != expected:
            yield f"{run.path}: epoch {expected} is missing from history.jsonl"
            return
        file = run.epoch_file(expected)
        if not row.get("frozen_intact"):
            yield f"{file}: saved without the frozen tensors having been checked"
        if row.get("thinned"):  # its file may be there yet, after a kill
            continue
        if not file.is_file():
            yield f"{file}: missing"
            continue
        if sha256(file) != row.get("sha256"):
            yield f"{file}: not the file that was written"
            continue
        wanted = set(run.record.new if expected == 0 else run.record.changing)
        if set(tensors.keys(file)) != wanted:
            yield f"{file}: does not hold the tensors it should"


def _others(run: Run) -> Iterator[str]:
    """What is needed to go on, and to look on; as it has been since it was sealed."""
    if not run.record.sealed:
        return
    for file in (run.path / name for name in ("resume.pt", EXTEND, "diverged.txt")):
        if file.exists() and not has_tail(file):
            yield str(Damaged(file))
    yield from live_at_fault(run)


def live_at_fault(run: Run) -> Iterator[str]:
    """What is wrong with a run's ``live.jsonl``: its first line that is not what was written, but for a last one that
    was cut short."""
    live = run.path / running_metrics.NAME
    if run.record.sealed and live.exists():
        for line in live.read_bytes().splitlines(keepends=True):
            try:
                if line.strip() and line.endswith(b"\n"):
                    check_seal(line, live, required=True)
            except Damaged as error:
                yield str(error)
                break


def _frozen(run: Run) -> Iterator[str]:
    for key, digest in run.record.frozen.items():
        try:
            held = run.read(key, 0)
            same = held is not None and tensors.tensor_digest(held) == digest
        except (BadStore, KeyError) as error:
            yield f"frozen {key}: cannot be read ({error})"
            return
        if not same:
            yield f"frozen {key}: is not what it was"
