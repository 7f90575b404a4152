"""Reading a store. Any number of readers may look on while a run is being written."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from wdiv.errors import BadInput, BadStore, Damaged, LeftOut
from wdiv.layers import Layer
from wdiv.registry import did_you_mean
from wdiv.store import imported
from wdiv.store.files import read_bytes
from wdiv.store.foreign import Checkpoint
from wdiv.store.imported import Imported, TensorLocation, read_tensor_at
from wdiv.store.kept import KeptFile, fingerprint
from wdiv.store.record import RunRecord
from wdiv.store.seals import check_tail, read_sealed, unpack, unsealed_lines
from wdiv.store.tensors import Proof

__all__ = [
    "LOCK", "CheckpointStore", "Run", "StoreLike", "epoch_name", "find_run", "is_being_written", "parse_epoch",
    "spell", "without_damaged", "write_lock",
]  # fmt: skip

T = TypeVar("T")
LOCK = ".lock"
"""In a run's folder, held by the process that writes the run."""


def epoch_name(epoch: int) -> str:
    """File name of an epoch.

    >>> epoch_name(7)
    '0007.safetensors'
    """
    return f"{epoch:04d}.safetensors"


@dataclass(frozen=True)
class Run:
    """One run's folder: a run that wdiv trained, or one that :func:`~wdiv.store.imports.import_run` has entered.

    What its small files say is kept, and read again where they have changed; but for the record, which stays.
    """

    path: Path

    @cached_property
    def record(self) -> RunRecord:
        file = self.path / "run.json"
        return RunRecord.from_json(read_sealed(file), file)

    @property
    def root(self) -> Path:
        """The store's folder."""
        return self.path.parent.parent

    @cached_property
    def base(self) -> Path:
        """The file of starting weights of a run that wdiv trained."""
        return self.root / "bases" / f"{self.record.base}.safetensors"

    @property
    def imported(self) -> Imported | None:
        """What is known of the files of an imported run, as of now; None for a run that wdiv trained."""
        return self._imported_file.get()

    def history(self) -> list[dict[str, Any]]:
        """One row per finished epoch, as of now. An epoch counts as saved once its row is here."""
        foreign = self.imported
        return [*map(dict, self._history_file.get() or ())] if foreign is None else foreign.history()

    @cached_property
    def _history_file(self) -> KeptFile[list[dict[str, Any]]]:
        return KeptFile(self.path / "history.jsonl", partial(_read_history, self))

    @cached_property
    def _imported_file(self) -> KeptFile[Imported]:
        return KeptFile(self.path / imported.NAME, imported.read)

    def epochs(self) -> list[int]:
        """The saved epochs; 0 is the state before the first step. Without :attr:`thinned`."""
        thinned = {*self.thinned}
        return [row["epoch"] for row in self.history() if row["epoch"] not in thinned]

    @property
    def thinned(self) -> list[int]:
        """Epochs that were trained and are not kept, as of now: all is as it was but for what they would say.

        Those that wdiv took away (:mod:`wdiv.store.keep`), and the :attr:`missing`.
        """
        missing, final = {*self.missing}, self.final
        return [
            row["epoch"] for row in self.history()
            if row["epoch"] in missing or (row.get("thinned") and row["epoch"] != final)
        ]  # fmt: skip

    @property
    def missing(self) -> list[int]:
        """Epochs whose files somebody else took away.

        Those without which a run is damaged are not among them: the last that was trained, the one that counts, and the
        first, where later ones do not hold all that it held.
        """
        if self.imported is not None:
            return []
        try:
            there = {entry.name for entry in os.scandir(self.path / "epochs")}
        except FileNotFoundError:
            there = set()
        rows = self.history()
        needed = {self.final, None if self._new <= self._changing else 0}
        needed |= set() if self.finished else {row["epoch"] for row in rows[-1:]}
        return [
            row["epoch"] for row in rows
            if row["epoch"] not in needed and not row.get("thinned") and epoch_name(row["epoch"]) not in there
        ]  # fmt: skip

    @property
    def finished(self) -> bool:
        """True if no epoch is left to train: all are there, or the run stopped early."""
        return self._end is not None

    @property
    def end(self) -> int | None:
        """The last epoch of a run that is finished; of one that is being extended, its last before."""
        return None if self._end is None else int(self._end["epoch"])

    @property
    def _end(self) -> dict[str, Any] | None:
        """The row with which the run ended; of one that is being extended, with which it ended before."""
        rows = self.history()
        last = self.record.recipe["epochs"] if rows else None
        return next((row for row in reversed(rows) if row["epoch"] == last or "final" in row), None)

    @property
    def diverged(self) -> str | None:
        """Why the run cannot go on; None if it can."""
        file = self.path / "diverged.txt"
        if not file.is_file():
            return None
        content = read_bytes(file)
        body = check_tail(content) if self.record.sealed else content
        if body is None:
            raise Damaged(file)
        return body.decode().strip()

    @property
    def state(self) -> str:
        """``finished``, ``diverged`` (it cannot go on) or ``unfinished``."""
        return "finished" if self.finished else "diverged" if self.diverged is not None else "unfinished"

    @property
    def final(self) -> int | None:
        """The epoch that counts: the last, or of a run that stopped early, the best by its validation images. Of a run
        that is being extended, the one that counted before.
        """
        rows = self.history()
        row = self._end or (rows[-1] if rows else None)
        return None if row is None else int(row.get("final", row["epoch"]))

    @property
    def final_row(self) -> dict[str, Any]:
        """The history row of the epoch that counts; empty where nothing is saved."""
        return next((row for row in self.history() if row["epoch"] == self.final), {})

    def epoch_file(self, epoch: int) -> Path:
        return self.path / "epochs" / epoch_name(epoch)

    @cached_property
    def _changing(self) -> frozenset[str]:
        return frozenset(self.record.changing)

    @cached_property
    def _new(self) -> frozenset[str]:
        return frozenset(self.record.new)

    @cached_property
    def _foreign(self) -> Imported | None:
        return self.imported

    @cached_property
    def _files(self) -> dict[int, tuple[Path, Mapping[str, Proof]]]:
        """Epoch -> its file, and what each of its tensors is held to."""
        return {}

    def _file(self, epoch: int) -> tuple[Path, Mapping[str, Proof]]:
        row = next((row for row in self._history_file.get() or () if row["epoch"] == epoch), {})
        keys = self.record.new if epoch == 0 else self.record.changing
        if "tensors" in row:
            try:
                proofs = {key: Proof(digest) for key, digest in unpack(row["tensors"], keys).items()}
            except (TypeError, ValueError) as error:
                raise Damaged(self.path / "history.jsonl", f"epoch {epoch} has {error}") from None
        else:  # of before there were digests of tensors
            proofs = dict.fromkeys(keys, Proof(sha256=row.get("sha256", "")))
        return self._files.setdefault(epoch, (self.epoch_file(epoch), proofs))

    @cached_property
    def _base_proofs(self) -> Mapping[str, Proof]:
        return {key: Proof(bytes.fromhex(digest)) for key, digest in self.record.start.items()}

    def _of_base(self, key: str) -> TensorLocation:
        return TensorLocation(self.base, key, proof=self._base_proofs.get(key) or Proof(sha256=self.record.base))

    def needs(self, file: Path) -> bool:
        """True if a file is of the run, wherever it lies."""
        foreign = self.imported
        if foreign is not None and file in foreign.paths:
            return True
        return file == self.base or self.path in file.parents

    def find(self, key: str, epoch: int | None) -> TensorLocation | None:
        """Where a tensor lies as it was after an epoch; ``None`` for the epoch: as the source gave it.

        None where there is none: it started at random, or somebody's epoch lacks it.
        """
        foreign = self._foreign
        if foreign is not None:
            state = foreign.base if epoch is None else foreign.epochs.get(epoch)
            return None if state is None else state.location(key)
        if epoch is None:
            return self._of_base(key) if self.has_pretrained(key) else None
        if key not in self._changing or epoch == 0:
            if key not in self._new:
                return self._of_base(key)
            epoch = 0
        file, proofs = self._files.get(epoch) or self._file(epoch)
        return TensorLocation(file, key, proof=proofs.get(key) or Proof(sha256=""))

    def read(
        self, key: str, epoch: int | None, start: int = 0, stop: int | None = None, out: np.ndarray | None = None
    ) -> np.ndarray | None:
        """A tensor as it was after an epoch, or rows of it; None where :meth:`find` says so.

        The one way to a run's tensors, whoever trained it.
        """
        location = self.find(key, epoch)
        try:
            return None if location is None else read_tensor_at(location, start, stop, out)
        except Damaged:
            if epoch not in self._files:
                raise
            self._files.clear()  # the epoch may have been saved anew, and this is of before
            again = self.find(key, epoch)
            if again is None or again == location:
                raise
            return read_tensor_at(again, start, stop, out)

    def is_double(self, key: str) -> bool:
        """True if a tensor of an imported run, or of its start, is kept in float64. wdiv itself trains in float32."""
        return self._foreign is not None and key in self._foreign.doubles

    def is_complex(self, key: str) -> bool:
        """True if a tensor of an imported run, or of its start, is kept as complex numbers."""
        return self._foreign is not None and key in self._foreign.complexes

    def is_frozen(self, layer: Layer, role: str) -> bool:
        """True if no epoch may change this tensor."""
        return layer.key(role) not in self._changing

    def has_pretrained(self, key: str) -> bool:
        """True if the tensor started from the source's weights, not at random."""
        return self.record.source != "random" and key not in self._new

    def state_dict(self, epoch: int) -> dict[str, np.ndarray]:
        """Every tensor of the model after an epoch, in the model's own order; without those that the epoch lacks."""
        self.check_epoch(epoch)
        read = {key: self.read(key, epoch) for key in self.record.keys}
        return {key: array for key, array in read.items() if array is not None}

    def checkpoint(self, epoch: int) -> Checkpoint:
        """An epoch as a :class:`~wdiv.store.foreign.Checkpoint`; its layers in execution order, if wdiv trained it."""
        state, table = self.state_dict(epoch), self.record.table
        for layer in table:
            for role in layer.roles:
                state.setdefault(layer.key(role), np.full(layer.shape_of(role), np.nan, np.float32))
        return Checkpoint(f"{self.path}@{epoch}", table, state)

    def check_epoch(self, epoch: int) -> None:
        saved = self.epochs()
        if epoch not in saved:
            have = spell(saved) if saved else "none"
            if epoch in self.thinned:
                near = sorted(sorted(saved, key=lambda other: abs(other - epoch))[:2])
                have += f"; it was thinned, and nearest to it are {' and '.join(map(str, near))}"
            raise BadInput(f"{self.path}: epoch {epoch} is not saved; saved: {have}")


def _read_history(run: Run, file: Path) -> list[dict[str, Any]]:
    content = read_bytes(file)
    rows = unsealed_lines(content, file, run.record.sealed)
    if not all(isinstance(row, dict) and isinstance(row.get("epoch"), int) for row in rows):
        raise Damaged(file, "a line that is not the row of an epoch")
    return rows


@contextmanager
def write_lock(run: Run, seconds: float = 0.0) -> Iterator[None]:
    """Hold what the one process that writes a run holds.

    Raises :class:`~wdiv.errors.BadStore` where another process has it, and keeps it for so many seconds.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(run.path / LOCK, timeout=seconds)
    try:
        lock.acquire()
    except Timeout:
        raise BadStore(f"{run.path}: another process is writing this run") from None
    try:
        yield
    finally:
        lock.release()


def is_being_written(run: Run) -> bool:
    """True while a process holds the run's lock."""
    try:
        with write_lock(run):
            return False
    except BadStore:
        return True


@dataclass(frozen=True)
class CheckpointStore:
    """A store's folder: ``study.json``, ``bases/``, ``runs/``. The conditions of a study are stores beneath its own.

    Opened once and handed on, it reads each file of its runs once, and again where one has changed.
    """

    path: Path
    _runs: dict[Path, tuple[tuple[int, ...], Run]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _left_out: dict[Path, tuple[tuple[int, ...], BadStore]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def at(cls, path: StoreLike) -> CheckpointStore:
        """The store in a folder, whatever that holds; a store that is open already as it is."""
        return path if isinstance(path, CheckpointStore) else cls(Path(path))

    @classmethod
    def open(cls, path: StoreLike) -> CheckpointStore:
        """Open a folder that holds at least one run; :class:`~wdiv.errors.BadStore` otherwise."""
        store = cls.at(path)
        path = store.path
        if not path.is_dir():
            raise BadStore(f"{path}: no such folder")
        if not any(True for _ in store):
            if store.damaged:
                raise BadStore("; ".join(map(str, store.damaged.values())))
            beneath = sorted({str(file.parents[2]) for file in path.glob("*/runs/*/run.json")})
            if beneath:
                raise BadStore(f"{path}: no runs in it, but stores beneath it; give one of {', '.join(beneath)}")
            raise BadStore(f"{path}: no runs in it; a wdiv store has a folder 'runs' with a 'run.json' in each run")
        return store

    def __iter__(self) -> Iterator[Run]:
        """The runs, but for those of which it is known that they cannot be read, see :attr:`damaged`."""
        for run in self.folders():
            file = run.path / "run.json"
            left = self._left_out.pop(file, None)
            try:
                if file.is_file():
                    run.record  # noqa: B018 - which reads it
                run.history()
                if left is not None and left[0] == _state(file) and _is_of_tensors(left[1], run):
                    raise left[1]
            except BadStore as error:
                self._note(run, error, known=left is not None)
            else:
                yield run

    def _note(self, run: Run, error: BadStore, *, known: bool = False) -> None:
        file = run.path / "run.json"
        self._left_out[file] = _state(file), error
        if not known:
            warnings.warn(f"{run.path.name} is left out: {error}", LeftOut, stacklevel=4)

    def folders(self) -> Iterator[Run]:
        """All runs, whatever state their files are in, and though their record is lost."""
        for folder in sorted(self.path.glob("runs/*")):
            file = folder / "run.json"
            if not file.is_file() and not (folder / "history.jsonl").is_file():
                continue
            now, known = _state(file), self._runs.get(file)
            if known is None or known[0] != now:
                known = self._runs[file] = now, Run(file.parent)
            yield known[1]

    @property
    def damaged(self) -> dict[str, BadStore]:
        """Name of a run that is left out -> what was found when it was read."""
        return {file.parent.name: error for file, (_, error) in self._left_out.items()}

    def leave_out(self, error: Damaged) -> bool:
        """Do without the runs that need a damaged file; False if there are none that did not do without it."""
        runs = [run for run in self if run.needs(error.path)]
        for run in runs:
            self._note(run, error)
        return bool(runs)

    def __getitem__(self, run_id: str) -> Run:
        runs = {run.path.name: run for run in self}
        if run_id in self.damaged:
            raise self.damaged[run_id]
        if run_id not in runs:
            raise BadInput(f"{self.path}: no run {run_id!r}; {did_you_mean(run_id, runs)}")
        return runs[run_id]

    def by_label(self) -> Mapping[str, list[Run]]:
        """Architecture -> its runs, those with at least one saved epoch."""
        groups: dict[str, list[Run]] = {}
        for run in self:
            if run.history():
                groups.setdefault(run.record.label, []).append(run)
        return groups


def without_damaged(stores: Iterable[CheckpointStore], do: Callable[[], T]) -> T:
    """What ``do`` gives; where it comes upon a damaged file of one of the stores, of the runs that do without it.

    Raises :class:`~wdiv.errors.Damaged` for a file that no run is in want of, and what ``do`` raises.
    """
    while True:
        try:
            return do()
        except Damaged as error:
            known = [store.leave_out(error) for store in stores]
            if not any(known):
                raise


def _state(file: Path) -> tuple[int, ...]:
    """:func:`~wdiv.store.kept.fingerprint`; of a file that is not there, none."""
    return fingerprint(file) if file.is_file() else ()


def _is_of_tensors(error: BadStore, run: Run) -> bool:
    """True for a file that is not looked at before a tensor is read from it."""
    return isinstance(error, Damaged) and error.path.parent != run.path


StoreLike = str | os.PathLike[str] | CheckpointStore
"""A store's folder, or the store that was opened there."""


def spell(epochs: list[int]) -> str:
    """``0 to 30``; one by one, the first ten, where some are left out."""
    if len(epochs) > 1 and epochs == list(range(epochs[0], epochs[-1] + 1)):
        return f"{epochs[0]} to {epochs[-1]}"
    return ", ".join(map(str, epochs[:10])) + (f" … {epochs[-1]}" if epochs[10:] else "")


def parse_epoch(text: str, run: Run) -> int:
    """``12``, ``last`` or ``best`` (by test accuracy, the earliest of equals) as an epoch of the run."""
    rows = run.history()
    if not rows:
        raise BadStore(f"{run.path}: no epoch is saved yet")
    if text == "last":
        return int(run.final or 0)
    if text == "best":
        if all(row.get("test_accuracy") is None for row in rows):
            raise BadInput(f"{run.path}: no accuracies are known, so no epoch is the best; give a number or 'last'")
        text = str(max(rows, key=lambda row: (row["test_accuracy"], -row["epoch"]))["epoch"])
    if not text.isdecimal():
        raise BadInput(f"epoch {text!r}: give a number, 'last' or 'best'")
    run.check_epoch(int(text))
    return int(text)


def find_run(spec: str) -> tuple[Run, int] | None:
    """A run and epoch from ``RUN_DIRECTORY[@EPOCH]`` (default: last), or from one of its epoch files.

    None if ``spec`` does not name a run of a wdiv store.
    """
    path = Path(spec)
    numbered = path.suffix == ".safetensors" and path.stem.isdecimal()
    if numbered and path.parent.name == "epochs" and (path.parent.parent / "run.json").is_file():
        run = Run(path.parent.parent)
        run.check_epoch(int(path.stem))
        return run, int(path.stem)
    folder, at, epoch = spec.rpartition("@")
    for where, when in ((spec, "last"), (folder, epoch)) if at else ((spec, "last"),):
        if where and (Path(where) / "run.json").is_file():
            run = Run(Path(where))
            return run, parse_epoch(when, run)
    return None
