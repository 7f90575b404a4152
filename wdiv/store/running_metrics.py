"""What each epoch leaves behind for those who look on while a run trains: sums of tensors, not the tensors.

``live.jsonl`` of a run's folder has a line an epoch, ``{"format": 1, "epoch": 3, "row": …, "sums": {"conv1.weight":
[10 numbers], …}, "digest": …}``: the mean and standard deviation of the tensor at the start (A) and now (B), and what A
and B have in common, in the order of :class:`~wdiv.numerics.PairSums`. The line of epoch 0 has every tensor of every
layer, the others those that an epoch may change. The numbers are read back bit for bit; ``null`` stands for one that is
not finite.

``row`` is the digest of the epoch's row in ``history.jsonl`` as it was when the line was written, its seconds and all:
of an epoch that was trained twice, it tells which time a line is of. ``digest`` is that of the line before it. A line
whose digests hold, and which counts from the start that epoch 0 says there was, is as good as the epoch itself: what is
made of sums need not read its weights.

The file is a by-product: without it nothing is lost but the view while training, for the epochs themselves have it all.
A line that a kill has cut short is as good as none.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.layers import Layer
from wdiv.numerics import Moments, PairSums, moments, pair_sums
from wdiv.store.foreign import to_numpy
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord

__all__ = ["NAME", "RunningMetrics", "RunningSums", "read_running_sums"]

NAME = "live.jsonl"
FORMAT = 1
"""Raised when sums that an older wdiv took are no longer those that this one would take."""
COUNT = 10
"""Numbers of a tensor."""
LATER = ("sha256", "frozen_intact")
"""Fields of a history's row that it gets when its epoch is on disk."""
DIGEST = b',"digest":"'


class RunningMetrics:
    """Appends the sums of an epoch to a run's ``live.jsonl``. For the one process that writes the run.

    start  key -> tensor (of NumPy or PyTorch) before the first step. Those that may change are copied: training
           overwrites them.
    """

    def __init__(self, folder: Path, record: RunRecord, start: Mapping[str, Any]) -> None:
        self._file = folder / NAME
        changing = frozenset(record.changing)
        self._start: dict[str, tuple[np.ndarray, Moments]] = {}
        for key, layer, role in _tensors(record):
            if key in changing:
                values = _row(layer, role, start[key]).copy()
                self._start[key] = values, moments(values)
        self._all = tuple(_tensors(record))
        _append(self._file, b"")  # there is a file before there is a line: who looks on knows that there will be

    def append(self, row: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Add the line of an epoch that ends with this state and has this row in the history, in one write; no file is
        read.

        Call it before the epoch is committed: an epoch trained again after a kill has two lines, of which the last
        counts, and none is without. Raises :class:`OSError` where the disk is full.
        """
        epoch, sums = int(row["epoch"]), {}
        for key, layer, role in self._all:
            if key in self._start or epoch == 0:
                now = _row(layer, role, state[key])
                before, fit = self._start.get(key) or (now, None)
                sums[key] = _numbers(pair_sums(before, now, fit))
        told = {"format": FORMAT, "epoch": epoch, "row": _digest_of_row(row), "sums": sums}
        line = json.dumps(told, allow_nan=False, separators=(",", ":")).encode()
        _append(self._file, line[:-1] + DIGEST + _digest(line).encode() + b'"}\n')


@dataclass(frozen=True)
class RunningSums:
    """epochs: those that are finished and have a line. sums: (layer, role) -> of each of these epochs, shape (epochs,);
    a tensor that no epoch may change is what it was at epoch 0, and absent if that has no line.
    """

    epochs: tuple[int, ...]
    sums: Mapping[tuple[str, str], PairSums]


def read_running_sums(run: Run, *, proven: bool = False) -> RunningSums | None:
    """What a run's ``live.jsonl`` says; None where there is no such file.

    Safe while the run is being trained. A line that is not whole is passed over, as are epochs that the run's history
    does not have (yet); the last line of an epoch counts.

    proven: pass over every line of which it is not certain that it is of the epoch that was saved. Lines of older
    versions of wdiv are none.
    """
    try:
        content = (run.path / NAME).read_bytes()
    except FileNotFoundError:
        return None
    record, rows = run.record, run.history()
    lines = _lines(content, {row["epoch"]: _digest_of_row(row) for row in rows} if proven else None)
    changing, every = frozenset(record.changing), {key for key, *_ in _tensors(record)}
    needed = every & changing
    if proven:
        lines = _of_one_start(lines, needed) if every <= lines.get(0, {}).keys() else {}
    epochs = tuple(row["epoch"] for row in rows if row["epoch"] in lines and needed <= lines[row["epoch"]].keys())
    sums = {}
    for key, layer, role in _tensors(record):
        at = epochs if key in changing else (0,) * len(epochs)
        if epochs and key in lines.get(at[0], {}):
            a_mean, a_std, b_mean, b_std, *rest = np.array([lines[epoch][key] for epoch in at], dtype=np.float64).T
            n = math.prod(layer.shape_of(role))
            sums[layer.name, role] = PairSums(n, Moments(a_mean, a_std), Moments(b_mean, b_std), *rest)
    return RunningSums(epochs, sums)


_Line = Mapping[str, Sequence[float | None]]
"""Key -> numbers."""


def _tensors(record: RunRecord) -> list[tuple[str, Layer, str]]:
    return [(layer.key(role), layer, role) for layer in record.table for role in layer.roles]


def _row(layer: Layer, role: str, value: Any) -> np.ndarray:
    """All elements in the order in which a layer is measured."""
    array = to_numpy(value)
    return (layer.filters(array) if role == "weight" else array).reshape(-1)


def _numbers(sums: PairSums) -> list[float | None]:
    found = [float(value) for value in (*sums.a, *sums.b, *sums[3:])]
    return [value if math.isfinite(value) else None for value in found]


def _append(file: Path, line: bytes) -> None:
    """At the end of the file in one write. After a line that was cut short, on a line of its own."""
    with file.open("ab+", buffering=0) as out:
        if out.tell():
            out.seek(-1, os.SEEK_END)
            line = line if out.read(1) == b"\n" else b"\n" + line
        if out.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))


def _lines(content: bytes, rows: Mapping[int, str] | None) -> dict[int, _Line]:
    """Epoch -> key -> numbers, of lines that are whole. rows: epoch -> digest of its row, to take no other line."""
    found = {}
    for line in content.splitlines():
        try:
            told = json.loads(line)
            epoch, sums = told["epoch"], told["sums"]
            whole = all(len(numbers) == COUNT for numbers in sums.values()) and told.get("format", FORMAT) == FORMAT
            if whole and (rows is None or _is_of(told, line, rows.get(epoch))):
                found[epoch] = sums
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def _is_of(told: Mapping[str, Any], line: bytes, row: str | None) -> bool:
    """Whether a line is as it was written, for the epoch of this row."""
    body = line[: line.rfind(DIGEST)] + b"}"
    return told["row"] == row and told["digest"] == _digest(body)


def _of_one_start(lines: Mapping[int, _Line], changing: Collection[str]) -> dict[int, _Line]:
    """The lines that count from the start that epoch 0 was; a run that goes on may have drawn its head otherwise."""
    start = {key: numbers[2:4] for key, numbers in lines[0].items()}
    return {
        epoch: sums for epoch, sums in lines.items()
        if all(key in sums and sums[key][:2] == start.get(key) for key in changing)
    }  # fmt: skip


def _digest_of_row(row: Mapping[str, Any]) -> str:
    return _digest(json.dumps({name: value for name, value in row.items() if name not in LATER}).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
