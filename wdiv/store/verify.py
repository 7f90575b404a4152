"""Does a store hold what it says? Everything is read and hashed again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from wdiv.errors import BadStore, WdivError
from wdiv.store import predictions, tensors
from wdiv.store.files import sha256
from wdiv.store.imported import Imported, read_tensor_at
from wdiv.store.reader import CheckpointStore, Run, StoreLike

__all__ = ["Verification", "verify"]

NOTE = "imported: files held to their size and time, every tensor read; no hash was taken"


@dataclass(frozen=True)
class Verification:
    """What was found in one run. ``problems`` is empty if all is well; ``note`` says what could not be proven."""

    run: str
    epochs: int
    planned: int
    frozen: int
    problems: tuple[str, ...]
    note: str = ""


def verify(path: StoreLike) -> list[Verification]:
    """Read and hash every file of a store again.

    Held to: every base is named by its own SHA-256; every epoch from 0 to the last is there and is the file that
    was written; every tensor an epoch should hold is in it; every frozen tensor is bit-identical to what it was
    when the run began, and each epoch was saved only after the network in memory had been checked for that; the
    predictions that are kept are those that were written.

    Of an imported run no hash was ever taken: its files are held to the size and time they were imported with, and
    every tensor is read; ``note`` says so.
    """
    return [_verify_run(run) for run in CheckpointStore.open(path)]


def _verify_run(run: Run) -> Verification:
    try:
        record, history = run.record, run.history()
        foreign = run.imported
        if foreign is not None:
            return Verification(run.path.name, len(history), len(history), 0, tuple(_foreign(foreign)), NOTE)
        problems = [*_base(run), *_epochs(run), *_frozen(run), *predictions.damaged(run)]
        planned, frozen = int(record.recipe["epochs"]), len(record.frozen)
    except WdivError as error:
        return Verification(run.path.name, 0, 0, 0, (str(error),))
    except Exception as error:  # a run.json with other things in it than a run's: nobody can list what that leads to
        return Verification(run.path.name, 0, 0, 0, (f"{run.path / 'run.json'}: damaged ({error!r})",))
    return Verification(run.path.name, max(len(history) - 1, 0), planned, frozen, tuple(problems))


def _foreign(imported: Imported) -> Iterator[str]:
    states = [*imported.epochs.values(), *([imported.base] if imported.base is not None else [])]
    for state in states:
        for key in state.layout:
            location = state.location(key)
            assert location is not None
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
    for expected, row in enumerate(run.history()):
        if row["epoch"] != expected:
            yield f"{run.path}: epoch {expected} is missing from history.jsonl"
            return
        file = run.epoch_file(expected)
        if not file.is_file():
            yield f"{file}: missing"
            continue
        if sha256(file) != row.get("sha256"):
            yield f"{file}: not the file that was written"
            continue
        wanted = set(run.record.new if expected == 0 else run.record.changing)
        if set(tensors.keys(file)) != wanted:
            yield f"{file}: does not hold the tensors it should"
        if not row.get("frozen_intact"):
            yield f"{file}: saved without the frozen tensors having been checked"


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
