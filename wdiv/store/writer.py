"""Writing one run. An epoch is committed in three atomic steps, each harmless if the next never comes:

1. ``epochs/NNNN.safetensors``, what this epoch could change;
2. ``resume.pt``, what the next epoch needs beyond the weights, with the epoch's history row in it;
3. ``history.jsonl``, which makes the epoch count for readers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wdiv.errors import BadInput, BadStore, FreezeBroken
from wdiv.store.files import write_atomically, write_json
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.tensors import tensor_digest

if TYPE_CHECKING:
    import torch

__all__ = ["RunWriter", "check_same", "frozen_digests", "is_being_written", "write_base"]

State = Mapping[str, "torch.Tensor"]


def write_base(root: Path, state: State) -> str:
    """Store starting weights under the SHA-256 of their file, once. Returns the SHA-256."""
    content = _serialize(state)
    digest = hashlib.sha256(content).hexdigest()
    target = root / "bases" / f"{digest}.safetensors"
    if not target.exists():
        write_atomically(target, lambda temporary: temporary.write_bytes(content))
    return digest


def is_being_written(run: Run) -> bool:
    """True while a process holds the run's lock."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(run.path / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def check_same(run: Run, facts: Mapping[str, Any]) -> None:
    """Raise :class:`~wdiv.errors.BadInput` if the run on disk was made with other facts than these."""
    for name, ours in facts.items():
        theirs = getattr(run.record, name)
        if theirs != ours:
            words = name.replace("_", " ")
            raise BadInput(
                f"{run.path}: already made with another {words} ({_differ(theirs, ours)}); give another --out"
            )


def frozen_digests(state: State, frozen: frozenset[str]) -> dict[str, str]:
    """Key -> digest of each frozen tensor."""
    return {key: tensor_digest(value.cpu().numpy()) for key, value in state.items() if key in frozen}


def _serialize(state: State, origin: str = "") -> bytes:
    """The bytes of a safetensors file; equal for equal tensors. Each tensor gets memory of its own first.

    One entry of metadata at most: safetensors writes several in an order that differs from process to process.
    """
    from safetensors.torch import save

    plain = {key: value.detach().cpu().contiguous().clone() for key, value in state.items()}
    return save(plain, {"origin": origin} if origin else None)


class RunWriter:
    """The only writer of a run's folder; a context manager that holds the run's lock.

    Entering raises :class:`~wdiv.errors.BadStore` if another process is writing the run, and
    :class:`~wdiv.errors.BadInput` if the folder holds a run made in another way.
    """

    def __init__(self, root: Path, record: RunRecord) -> None:
        from filelock import FileLock

        self.record = record
        self.run = Run(root / "runs" / record.id)
        self.run.path.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.run.path / ".lock", timeout=0)

    def __enter__(self) -> RunWriter:
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout:
            raise BadStore(f"{self.run.path}: another process is writing this run") from None
        try:
            self._adopt()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._lock.release()

    def _adopt(self) -> None:
        for left in self.run.path.rglob(".*.tmp"):  # by a kill in the middle of a write
            left.unlink()
        file = self.run.path / "run.json"
        if not file.exists():
            write_json(file, self.record.to_json())
            return
        check_same(self.run, {"base": self.record.base, "changing": self.record.changing})

    def resume(self) -> dict[str, Any] | None:
        """What :meth:`commit` kept for the next epoch, the history brought up to it; None for a fresh run."""
        import torch

        file = self.run.path / "resume.pt"
        if self.run.finished or not file.exists():
            return None
        try:
            kept = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            raise BadStore(f"{file}: damaged ({error}); delete the run's folder to start it again") from None
        rows = [row for row in self.run.history() if row["epoch"] < kept["row"]["epoch"]]
        self._write_history([*rows, kept["row"]])
        return dict(kept)

    def commit(self, state: State, row: Mapping[str, Any], resume: Mapping[str, Any]) -> None:
        """Save an epoch: the tensors it may have changed, its history row, and what the next one needs.

        Raises :class:`~wdiv.errors.FreezeBroken`, before writing anything, if a frozen tensor is not
        bit-identical to what it was.
        """
        import torch

        self._prove_frozen(state)
        epoch = int(row["epoch"])
        keys = self.record.new if epoch == 0 else self.record.changing
        file = self.run.epoch_file(epoch)
        content = _serialize({key: state[key] for key in keys}, f"{self.record.id}@{epoch}")
        write_atomically(file, lambda temporary: temporary.write_bytes(content))
        row = {**row, "sha256": hashlib.sha256(content).hexdigest(), "frozen_intact": True}
        if epoch == self.record.recipe["epochs"]:
            self._write_history([*self.run.history(), row])
            (self.run.path / "resume.pt").unlink(missing_ok=True)
            return
        kept = {**resume, "row": row}
        write_atomically(self.run.path / "resume.pt", lambda temporary: torch.save(kept, temporary))
        self._write_history([*self.run.history(), row])

    def _prove_frozen(self, state: State) -> None:
        now = frozen_digests(state, frozenset(self.record.frozen))
        moved = [key for key, digest in self.record.frozen.items() if now.get(key) != digest]
        if moved:
            raise FreezeBroken(
                f"{self.record.id}: {len(moved)} tensors declared frozen by {self.record.strategy!r} have changed, "
                f"first {moved[0]}"
            )

    def _write_history(self, rows: list[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
        write_atomically(self.run.path / "history.jsonl", lambda temporary: temporary.write_text(text))


def _differ(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        names = [n for n in theirs.keys() | ours.keys() if theirs.get(n) != ours.get(n)]
        return ", ".join(f"{n} {theirs.get(n)!r}, now {ours.get(n)!r}" for n in sorted(names))
    if isinstance(theirs, (str, int, float)):
        return f"{theirs}, now {ours}"
    return f"{len(theirs)} entries, now {len(ours)}, or others"
