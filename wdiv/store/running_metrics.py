"""What each epoch leaves behind for those who look on while a run trains: sums of tensors, not the tensors.

``live.jsonl`` of a run's folder has a line an epoch, ``{"epoch": 3, "sums": {"conv1.weight": [10 numbers], …}}``: the
mean and standard deviation of the tensor at the start (A) and now (B), and what A and B have in common, in the order of
:class:`~wdiv.numerics.PairSums`. The line of epoch 0 has every tensor of every layer, the others those that an epoch
may change. The numbers are read back bit for bit; ``null`` stands for one that is not finite.

The file is a by-product: without it nothing is lost but the view while training, for the epochs themselves have it all.
A line that a kill has cut short, or that is damaged, is as good as none.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import Damaged
from wdiv.layers import Layer
from wdiv.numerics import Moments, PairSums, moments, pair_sums
from wdiv.store.foreign import to_numpy
from wdiv.store.reader import Run
from wdiv.store.record import RunRecord
from wdiv.store.seals import check_seal, seal

__all__ = ["NAME", "RunningMetrics", "RunningSums", "read_running_sums"]

NAME = "live.jsonl"
COUNT = 10
"""Numbers of a tensor."""


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

    def append(self, epoch: int, state: Mapping[str, Any]) -> None:
        """Add the line of an epoch that ends with this state, in one write; no file is read.

        Call it before the epoch is committed: an epoch trained again after a kill has two lines, of which the last
        counts, and none is without. Raises :class:`OSError` where the disk is full.
        """
        sums = {}
        for key, layer, role in self._all:
            if key in self._start or epoch == 0:
                now = _row(layer, role, state[key])
                before, fit = self._start.get(key) or (now, None)
                sums[key] = _numbers(pair_sums(before, now, fit))
        line = seal(json.dumps({"epoch": epoch, "sums": sums}, allow_nan=False, separators=(",", ":")))
        _append(self._file, line.encode() + b"\n")


@dataclass(frozen=True)
class RunningSums:
    """epochs: those that are finished and have a line, be their weights kept or not. sums: (layer, role) -> of each of
    these epochs, shape (epochs,); a tensor that no epoch may change is what it was at epoch 0, and absent if that has
    no line.
    """

    epochs: tuple[int, ...]
    sums: Mapping[tuple[str, str], PairSums]


def read_running_sums(run: Run) -> RunningSums | None:
    """What a run's ``live.jsonl`` says; None where there is no such file.

    Safe while the run is being trained. A line that is not whole is passed over, as are epochs that the run's history
    does not have (yet); the last line of an epoch counts.
    """
    try:
        content = (run.path / NAME).read_bytes()
    except FileNotFoundError:
        return None
    record, lines = run.record, _lines(content, run.record.sealed)
    changing = frozenset(record.changing)
    needed = {key for key, *_ in _tensors(record) if key in changing}
    trained = (row["epoch"] for row in run.history())
    epochs = tuple(epoch for epoch in trained if needed <= lines.get(epoch, {}).keys() and epoch in lines)
    sums = {}
    for key, layer, role in _tensors(record):
        at = epochs if key in changing else (0,) * len(epochs)
        if epochs and key in lines.get(at[0], {}):
            a_mean, a_std, b_mean, b_std, *rest = np.array([lines[epoch][key] for epoch in at], dtype=np.float64).T
            n = math.prod(layer.shape_of(role))
            sums[layer.name, role] = PairSums(n, Moments(a_mean, a_std), Moments(b_mean, b_std), *rest)
    return RunningSums(epochs, sums)


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


def _lines(content: bytes, sealed: bool) -> dict[int, dict[str, list[float | None]]]:
    """Epoch -> key -> numbers, of lines that are whole."""
    found = {}
    for line in content.splitlines():
        try:
            row = json.loads(line)
            check_seal(line, Path(NAME), required=sealed)
            whole = all(len(numbers) == COUNT for numbers in row["sums"].values())
        except (ValueError, TypeError, KeyError, AttributeError, Damaged):
            continue
        if whole:
            found[row["epoch"]] = row["sums"]
    return found
