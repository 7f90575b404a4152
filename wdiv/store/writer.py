"""Writing one run. Epochs are committed in four atomic steps, each harmless if the next never comes:

1. ``epochs/NNNN.safetensors``, what this epoch could change;
2. ``predictions/NNNN.safetensors``, what its network gives test and validation images;
3. ``resume.pt``, what the next epoch needs beyond the weights, with the epochs' history rows in it;
4. ``history.jsonl``, which makes the epochs count for readers.

A run that is over may keep what more epochs would go on from, as ``extend.pt``. While it is extended its ``run.json``
says what it was, and what counted counts; once the last of the new epochs is committed, it says how many there are now.

Of the epochs those stay that :class:`~wdiv.store.keep.Keep` says; the file of one that goes is removed once the history
has told so, or not written at all. Predictions of every epoch are kept where those of all the run's epochs are small
(:data:`ALL_PREDICTIONS`), else of the newest and of the one that counts as things stand; those of others go once the
history no longer tells of them.

Epochs that end within moments of one another are committed together, and in the background: a strategy that trains a
classifier alone takes milliseconds an epoch, and a disk as many to be sure of a file. Before each commit the frozen
tensors are proven to be what they were; a run that is continued reads them from the base again, so that what was not
proven by then never would be.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import time
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wdiv.errors import BadInput, Damaged, FreezeBroken
from wdiv.store import predictions
from wdiv.store.files import sha256, write_atomically
from wdiv.store.keep import ALL, EXTEND, Keep, mark, take_away
from wdiv.store.names import WORDS, difference
from wdiv.store.reader import Run, write_lock
from wdiv.store.record import RunRecord
from wdiv.store.seals import check_tail, fast_digest, pack, sealed_lines, write_sealed, write_with_tail
from wdiv.store.tensors import tensor_digest
from wdiv.store.verify import problems_of

if TYPE_CHECKING:
    import torch

__all__ = [
    "Logits", "RunWriter", "base_digest", "check_same", "clear", "fast_digests", "frozen_digests",
    "write_base",
]  # fmt: skip

State = Mapping[str, "torch.Tensor"]
LOCK_SECONDS = 1.0
"""To wait for a run's lock: whoever asks how far a run is holds it for an instant."""
PENDING = 256 * 2**20
"""Bytes of epochs that wait for their commit, about."""
ALL_PREDICTIONS = 16 * 2**20
"""Bytes of a run's predictions, up to which those of every epoch are kept: 16 MiB, as of 1,000 epochs of 700 images of
6 classes, or 40 of 10,000 images of 10."""
FITTED = ("fitted_accuracy", "n_fitted", "fitted_majority")
"""What the row of the epoch that counts says besides."""
PROOF_SHARE = 20
"""Time from one commit to the next, at least, in lengths of the proof that the frozen tensors are intact."""


def base_digest(state: State) -> str:
    """The SHA-256 of the file of starting weights that :func:`write_base` would write."""
    return hashlib.sha256(_serialize(_own(state))).hexdigest()


def write_base(root: Path, state: State) -> str:
    """Store starting weights under the SHA-256 of their file, once. Returns the SHA-256."""
    content = _serialize(_own(state))
    digest = hashlib.sha256(content).hexdigest()
    target = root / "bases" / f"{digest}.safetensors"
    if not target.exists() or sha256(target) != digest:  # one that is damaged is healed
        write_atomically(target, lambda temporary: temporary.write_bytes(content))
    return digest


def clear(run: Run) -> None:
    """Remove what a run that is over needs no more: its writer does, unless it is killed on its very last step."""
    (run.path / "resume.pt").unlink(missing_ok=True)
    predictions.forget(run)
    take_away(run)
    _forget_ends(run)
    _clear_unfinished(run)


def _forget_ends(run: Run) -> None:
    """Take from the rows of a run that was extended what its former last row alone had to say."""
    rows = run.history()
    if not rows or not _is_end(run.record.recipe, rows[-1]):
        return
    ends = ("final",) if run.record.recipe.get("patience") else ("final", *FITTED)
    before = [name for row in rows[:-1] for name in ends if row.pop(name, None) is not None]
    if before:
        _write_rows(run, rows)


def _is_end(recipe: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    return bool(row["epoch"] == recipe["epochs"] or "final" in row)


def _write_rows(run: Run, rows: list[dict[str, Any]]) -> None:
    text = sealed_lines(rows)
    write_atomically(run.path / "history.jsonl", lambda temporary: temporary.write_text(text))


def _clear_unfinished(run: Run) -> None:
    for left in run.path.rglob(".*.tmp"):  # by a kill in the middle of a write
        left.unlink(missing_ok=True)


def check_same(run: Run, facts: Mapping[str, Any]) -> None:
    """Raise :class:`~wdiv.errors.BadInput` if the run on disk was made with other facts than these."""
    for name, ours in facts.items():
        theirs = getattr(run.record, name)
        if theirs != ours:
            words = WORDS.get(name, name.replace("_", " "))
            raise BadInput(
                f"{run.path}: already made with another {words} ({difference(theirs, ours)}); give another --out"
            )


def fast_digests(state: State) -> dict[str, bytes]:
    """Key -> :func:`~wdiv.store.seals.fast_digest` of each tensor."""
    return {key: fast_digest(value.cpu().numpy()) for key, value in state.items()}


def frozen_digests(state: State, frozen: frozenset[str]) -> dict[str, str]:
    """Key -> digest of each frozen tensor."""
    return {key: tensor_digest(value.cpu().numpy()) for key, value in state.items() if key in frozen}


def _serialize(state: State, origin: str = "") -> bytes:
    """The bytes of a safetensors file of contiguous tensors; equal for equal tensors.

    No tensor is copied or computed with: in the writer's thread that would start a second pool of OpenMP threads, and
    with more threads than cores every step of training waits longer for its own (by 70 % on two cores).

    One entry of metadata at most: safetensors writes several in an order that differs from process to process.
    """
    from safetensors.torch import save

    return save(dict(state), {"origin": origin} if origin else None)


def _own(state: State) -> dict[str, torch.Tensor]:
    """The tensors with memory of their own, off the device, so that training may go on."""
    return {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}


class Logits(NamedTuple):
    """What a network gives some images: the digest of their list in the store, and (images, classes) float32."""

    images: str
    values: np.ndarray


@dataclass(frozen=True)
class _Epoch:
    """An epoch that is not committed yet.

    logits  part -> what the network gives its images;  best: the epoch that counts if the run ends with this one
    """

    row: dict[str, Any]
    tensors: Mapping[str, torch.Tensor]
    logits: Mapping[str, Logits]
    best: int

    @property
    def bytes(self) -> int:
        return sum(value.nbytes for value in self.tensors.values()) + self.predicted

    @property
    def predicted(self) -> int:
        """Bytes of its predictions."""
        return sum(part.values.nbytes for part in self.logits.values())


class RunWriter:
    """The only writer of a run's folder; a context manager that holds the run's lock.

    Entering raises :class:`~wdiv.errors.BadStore` if another process is writing the run, and
    :class:`~wdiv.errors.BadInput` if the folder holds a run made in another way.
    """

    def __init__(
        self, root: Path, record: RunRecord, every: float = 0.0, keep: Keep = ALL, extendable: bool = False
    ) -> None:
        """every: seconds from one commit to the next, at least; 0 commits each epoch before :meth:`commit` returns.

        keep: the epochs that stay, from the next commit on;  extendable: keep what more epochs would go on from
        """
        self.record, self.every, self._keep, self._extendable = record, every, keep, extendable
        self.run = Run(root / "runs" / record.id)
        self.run.path.mkdir(parents=True, exist_ok=True)
        self._lock = ExitStack()
        self.rows: list[dict[str, Any]] = []
        self._pending: list[_Epoch] = []
        self._thread = ThreadPoolExecutor(1, "wdiv-writer")
        self._job: Future[None] | None = None
        self._before: int | None = None
        self._end: int | None = None
        self._written, self._proof_seconds = time.monotonic(), 0.0

    def __enter__(self) -> RunWriter:
        with ExitStack() as held:
            held.enter_context(write_lock(self.run, LOCK_SECONDS))
            self._adopt()
            self._lock = held.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._wait()
        finally:
            self._thread.shutdown()
            self._lock.close()

    def _adopt(self) -> None:
        _clear_unfinished(self.run)
        file = self.run.path / "run.json"
        if not file.exists():
            write_sealed(file, self.record.to_json())
            return
        check_same(self.run, {"base": self.record.base, "changing": self.record.changing})
        if not self.run.record.sealed:
            self._seal()
        take_away(self.run)
        if self.run.record.recipe["epochs"] < self.record.recipe["epochs"]:
            if self.run.finished:
                self._before, self._end = self.run.final, self.run.end
            else:
                self._say_so()

    @property
    def extends(self) -> bool:
        """True if the run was over, and has been asked for more epochs."""
        return self._before is not None

    def _say_so(self) -> None:
        """Let ``run.json`` be of the run as it is asked for now."""
        write_sealed(self.run.path / "run.json", self.record.to_json())
        self.run = Run(self.run.path)

    @property
    def is_over(self) -> bool:
        """True if all epochs are there that a run which :attr:`extends` is asked for."""
        rows = self.run.history()
        return bool(rows and rows[-1]["epoch"] > self.run.record.recipe["epochs"] and self._is_last(rows[-1]))

    def _write_extend(self, resume: Mapping[str, Any]) -> None:
        if self._extendable:
            import torch

            state = {**resume, "epoch": self.rows[-1]["epoch"]}
            write_with_tail(self.run.path / EXTEND, lambda temporary: torch.save(state, temporary))
        else:
            (self.run.path / EXTEND).unlink(missing_ok=True)

    def conclude(self) -> None:
        """The run is over: as it was asked for, where that was for more epochs than before."""
        if self.extends:
            self._say_so()
            self._before = self._end = None
        clear(self.run)

    def _seal(self) -> None:
        """Seal a run of format 1 that was found to be whole; its ``run.json`` last, which asks for the other seals."""
        problems = problems_of(self.run)
        if problems:
            raise Damaged(self.run.path, problems[0].removeprefix(f"{self.run.path}: "))
        file = self.run.path / "resume.pt"
        if file.exists():
            write_with_tail(file, partial(Path.write_bytes, data=_read_resume(file)))
        self._write_history(self.run.history())
        write_sealed(self.run.path / "run.json", self.run.record.upgraded(self.record.start).to_json())
        self.run = Run(self.run.path)

    def resume(self) -> dict[str, Any] | None:
        """What :meth:`commit` kept for the next epoch, the history brought up to it; None for a fresh run."""
        import torch

        file, past = self.run.path / "resume.pt", self.run.history()
        if (self.run.finished and not self.extends) or not (file.exists() or self.extends):
            return None

        def load(file: Path) -> dict[str, Any]:
            content = _read_resume(file, sealed=True)
            found: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return found

        kept = load(file) if file.exists() else {"rows": past[:1]}
        if self._end is not None and kept["rows"][-1]["epoch"] <= self._end:  # not one of the new epochs is saved
            end = next(row for row in past if row["epoch"] == self._end)
            other = file.with_name(EXTEND)
            state: dict[str, Any] = load(other) if other.exists() else {"optimizer": None, "epoch": self._end}
            if state.pop("epoch") != self._end:
                raise Damaged(other, f"not of epoch {self._end}, with which the run ended; it cannot be extended")
            kept = {**state, "rows": [end]}
        first = kept["rows"][0]["epoch"]
        self.rows = [*(row for row in self.run.history() if row["epoch"] < first), *kept["rows"]]
        self._write_history()
        return {**kept, "row": kept["rows"][-1]}

    def commit(
        self, state: State, row: Mapping[str, Any], resume: Mapping[str, Any],
        logits: Mapping[str, Logits] | None = None, best: int | None = None,
    ) -> None:  # fmt: skip
        """Save an epoch: the tensors it may have changed, its history row, and what the next one needs.

        logits  part (``test``, ``validation``) -> what its network gives those images
        best    the epoch that counts if the run ends with this one; None: this one

        It is saved at once, or with the next ones, ``every`` so many seconds: the last epoch, :meth:`keep` and
        :meth:`give_up` save what waits. Raises :class:`~wdiv.errors.FreezeBroken` if a frozen tensor is not
        bit-identical to what it was; no epoch since the last commit is then saved.
        """
        json.dumps(row, allow_nan=False)  # a row that cannot be written is an error before anything is
        last = self._is_last(row)
        keys = self.record.new if row["epoch"] == 0 else self.record.changing
        new = dict(row)
        counts = int(row["epoch"]) if best is None else best
        self._pending.append(_Epoch(new, _own({key: state[key] for key in keys}), logits or {}, counts))
        self.rows.append(new)
        if last or not self.every or self._due():
            self._flush(state, None if last else resume)
        if last:
            self._write_extend(resume)
            self.conclude()

    def keep(self, state: State, resume: Mapping[str, Any]) -> None:
        """Save everything so far, and where a run stands in the middle of an epoch. Returns when it is on disk."""
        self._flush(state, resume)
        self._wait()

    def give_up(self, state: State, why: str) -> None:
        """Save what there is, and note that the run cannot go on, for good."""
        self._flush(state, None)
        write_with_tail(self.run.path / "diverged.txt", lambda temporary: temporary.write_text(why, "utf-8"))
        clear(self.run)

    def _is_last(self, row: Mapping[str, Any]) -> bool:
        return _is_end(self.record.recipe, row)

    def _due(self) -> bool:
        """Whether to commit now: it is time, and the last commit is through; or memory fills."""
        free = self._job is None or self._job.done()
        full = sum(epoch.bytes for epoch in self._pending) > PENDING
        wait = max(self.every, PROOF_SHARE * self._proof_seconds)
        return full or (free and time.monotonic() - self._written >= wait)

    def _flush(self, state: State, resume: Mapping[str, Any] | None) -> None:
        """Prove, and commit what waits. ``resume`` None: the run ends here."""
        self._wait()
        epochs, self._pending = self._pending, []
        try:
            self._prove_frozen(state)
        except FreezeBroken:
            del self.rows[len(self.rows) - len(epochs) :]
            raise
        self._written = time.monotonic()
        if self.every and resume is not None:
            self._job = self._thread.submit(self._write, epochs, copy.deepcopy(dict(resume)), list(self.rows))
        else:
            self._write(epochs, resume, self.rows)

    def _wait(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            job.result()

    def _write(self, epochs: list[_Epoch], resume: Mapping[str, Any] | None, rows: list[dict[str, Any]]) -> None:
        """Commit epochs, whose rows are the last of ``rows``. ``resume`` None: the run ends with them."""
        kept = self._kept(epochs)
        stay = self._keep.epochs(rows, epochs[-1].best) if epochs else frozenset(row["epoch"] for row in rows)
        if self._before is not None and not self._is_last(rows[-1]):
            stay |= {self._before}  # it counts until the run is over again
        for epoch in epochs:
            number = int(epoch.row["epoch"])
            content = _serialize(epoch.tensors, f"{self.record.id}@{number}")
            if number in stay:
                write_atomically(self.run.epoch_file(number), partial(Path.write_bytes, data=content))
            told = {"sha256": hashlib.sha256(content).hexdigest(), "tensors": pack(fast_digests(epoch.tensors))}
            epoch.row.update(told, frozen_intact=True)  # as proven before
            if epoch.logits and (kept is None or number in kept):
                epoch.row["predictions"] = self._write_predictions(number, epoch.logits)
        for row in rows:
            if kept is not None and row["epoch"] not in kept:
                row.pop("predictions", None)
        gone = mark(rows, stay)
        if resume is not None:
            import torch

            after = {**resume, "rows": rows[-max(1, len(epochs)) :]}
            write_with_tail(self.run.path / "resume.pt", lambda temporary: torch.save(after, temporary))
        self._write_history(rows)
        for number in {*gone} - {self._before}:
            self.run.epoch_file(number).unlink(missing_ok=True)
        if kept is not None:
            predictions.forget(self.run)

    def _kept(self, epochs: list[_Epoch]) -> frozenset[int] | None:
        """The epochs whose predictions are kept once these are committed; None: all."""
        if not epochs or epochs[-1].predicted * (self.record.recipe["epochs"] + 1) <= ALL_PREDICTIONS:
            return None
        return frozenset({int(epochs[-1].row["epoch"]), epochs[-1].best})

    def _write_predictions(self, epoch: int, logits: Mapping[str, Logits]) -> dict[str, dict[str, str]]:
        """Write an epoch's predictions. Returns what its history row says of them."""
        values = {part: one.values for part, one in logits.items()}
        file = predictions.file_of(self.run, epoch)
        found = predictions.write_logits(file, values, predictions.origin_of(self.run, epoch))
        return {part: {"images": logits[part].images, "logits": digest} for part, digest in found.items()}

    def _prove_frozen(self, state: State) -> None:
        start = time.monotonic()
        now = frozen_digests(state, frozenset(self.record.frozen))
        moved = [key for key, digest in self.record.frozen.items() if now.get(key) != digest]
        if moved:
            raise FreezeBroken(
                f"{self.record.id}: {len(moved)} tensors declared frozen by {self.record.strategy!r} have changed, "
                f"first {moved[0]}"
            )
        self._proof_seconds = time.monotonic() - start

    def _write_history(self, rows: list[dict[str, Any]] | None = None) -> None:
        _write_rows(self.run, self.rows if rows is None else rows)


def _read_resume(file: Path, *, sealed: bool = False) -> bytes:
    """The archive in a ``resume.pt``, held to its tail; where there need not be one, to the sums of its records."""
    content = file.read_bytes()
    body = check_tail(content)
    if body is None and not sealed:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                body = content if archive.testzip() is None else None
        except Exception:  # damaged bytes can make a reader raise anything
            body = None
    if body is None:
        raise Damaged(file)
    return body
