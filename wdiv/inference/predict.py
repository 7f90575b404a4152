"""What a network makes of image files, as a table."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.inference.files import Block, decoded
from wdiv.inference.network import Network
from wdiv.store.files import write_atomically

__all__ = ["COLUMNS", "Predictions", "check_csv", "predict"]

COLUMNS = ("file", "class", "probability")
"""Of a table of predictions, before one for each class."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network made of images.

    files          those that could be read;  bad: (file, why) of the others
    classes        names, in the order of the outputs
    logits         (images, classes) float32, :meth:`~wdiv.inference.network.Network.logits`
    probabilities  (images, classes) float64
    columns        what each row of its table says besides, name -> a value an image
    """

    files: tuple[str, ...]
    classes: tuple[str, ...]
    logits: np.ndarray
    probabilities: np.ndarray
    bad: tuple[tuple[str, str], ...] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @cached_property
    def answers(self) -> np.ndarray:
        """(images,) index of the class that each was taken for: that of the largest output."""
        return np.asarray(self.logits.argmax(axis=1))

    @property
    def counts(self) -> dict[str, int]:
        """Class -> images that were taken for it."""
        counted = Counter(self.answers.tolist())
        return {name: counted[label] for label, name in enumerate(self.classes)}

    def rows(self) -> list[dict[str, Any]]:
        """One an image, as plain values: :data:`COLUMNS`, those of :attr:`columns`, and the ``probabilities``."""
        found = []
        for i, (file, answer, p) in enumerate(zip(self.files, self.answers, self.probabilities, strict=True)):
            told = (file, self.classes[answer], float(p[answer]))
            more = {name: values[i] for name, values in self.columns.items()}
            each = dict(zip(self.classes, p.tolist(), strict=True))
            found.append(dict(zip(COLUMNS, told, strict=True)) | more | {"probabilities": each})
        return found

    def write_csv(self, out: Path) -> Path:
        """Write the table, atomically: :data:`COLUMNS`, those of :attr:`columns`, and the probability of each class
        under its name (``class (class)`` for one that is called as a column is)."""
        taken = (*COLUMNS, *self.columns)
        heads = [f"{name} (class)" if name in taken else name for name in self.classes]

        def write(temporary: Path) -> None:
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow([*taken, *heads])
                for row in self.rows():
                    *told, each = row.values()
                    table.writerow([*map(_plain, told), *map(_plain, each.values())])

        return write_atomically(out, write)


def _plain(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def predict(
    network: Network, files: Sequence[Path], watch: Callable[[Block], None] = lambda block: None
) -> Predictions:
    """What the network makes of image files, prepared as those that it was trained on.

    watch: called with each :class:`~wdiv.inference.files.Block` after the network has seen it

    A file that cannot be read is left out and told; where none can, :class:`~wdiv.errors.BadData`.
    """
    read: list[Path] = []
    bad: list[tuple[str, str]] = []
    logits: list[np.ndarray] = []
    for block in decoded(files, network.inputs.size, network.block):
        logits.append(network.logits(block.pixels))
        read += [files[row] for row in block.rows]
        bad += [(str(files[row]), why) for row, why in block.bad]
        watch(block)
    if not read:
        file, why = bad[0]
        more = f"; so are {len(bad) - 1} more" if len(bad) > 1 else ""
        raise BadData(f"none of {len(bad)} images can be read: {file}: {why}{more}")
    found = np.concatenate(logits)
    return Predictions(tuple(map(str, read)), network.classes, found, network.probabilities_of(found), tuple(bad))


def check_csv(out: Path | None) -> None:
    """Raise :class:`~wdiv.errors.BadInput` for the name of a table that is no CSV file's, before any work is done."""
    if out is not None and out.suffix.lower() != ".csv":
        raise BadInput(f"{out}: the file's name must end in .csv")
