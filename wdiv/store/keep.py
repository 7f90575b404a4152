"""Which epochs of a run stay on disk, and taking the others away.

An epoch is thinned in two steps: its history row says so, then its file goes. A kill between the two leaves a file that
nobody reads, and that the next to thin or to write the run takes away. Rows, predictions and running metrics stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wdiv.errors import BadInput
from wdiv.store.files import write_atomically
from wdiv.store.reader import Run
from wdiv.store.seals import sealed_lines

__all__ = ["ALL", "EXTEND", "Keep", "goes_on", "mark", "take_away", "thin", "thinning"]

WORDS = ("all", "first", "best", "last", "every N", "last N", "resume")
_WORD = re.compile(r"(all|first|best|resume)|(last|every)(?: +([1-9]\d*))?")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Keep:
    """Words, with commas between them: ``first``, the state before the first step; ``best``, of the highest test
    accuracy, the earliest of equals; ``last``; ``last 5``; ``every 5``, those that 5 divides; or ``all``. ``resume``
    keeps what more epochs would go on from, as ``all`` does: the optimizer's state, twice an epoch of Adam's.

    The first, the last and the epoch that counts stay whatever is said: without them a run could not be read. So do
    those of ``besides``.

    >>> Keep("every 2,best").epochs([{"epoch": n, "test_accuracy": n == 3} for n in range(6)])
    frozenset({0, 2, 3, 4, 5})

    Raises :class:`~wdiv.errors.BadInput` for other words.
    """

    text: str = "all"
    besides: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        words = [" ".join(word.split()) for word in str(self.text).split(",")]
        for word in words:
            found = _WORD.fullmatch(word)
            if found is None or (found[2] == "every" and not found[3]):
                raise BadInput(f"keep {self.text!r}: one or several, with commas, of {', '.join(WORDS)}; not {word!r}")
        object.__setattr__(self, "text", ",".join(dict.fromkeys(words)))

    @property
    def words(self) -> tuple[str, ...]:
        """In their order."""
        return tuple(self.text.split(","))

    @property
    def everything(self) -> bool:
        """True if no epoch goes."""
        return "all" in self.words

    @property
    def resume(self) -> bool:
        """True if a run that is over can be given more epochs."""
        return self.everything or "resume" in self.words

    def epochs(self, rows: Sequence[Row], counts: int | None = None) -> frozenset[int]:
        """Those of a history that stay; ``counts``: the epoch that counts, by default the last."""
        there = [int(row["epoch"]) for row in rows]
        if self.everything or not there:
            return frozenset(there)
        kept = {there[0], there[-1], there[-1] if counts is None else counts, *self.besides.intersection(there)}
        for word in self.words:
            name, _, number = word.partition(" ")
            if name == "every":
                kept |= {epoch for epoch in there if epoch % int(number) == 0}
            elif name == "last" and number:
                kept |= {*there[-int(number) :]}
            elif name == "best":
                judged = [row for row in rows if row.get("test_accuracy") is not None]
                kept |= {int(row["epoch"]) for row in sorted(judged, key=_worse)[:1]}
        return frozenset(kept)


ALL = Keep()
EXTEND = "extend.pt"
"""In the folder of a run that is over, what more epochs would go on from."""


def goes_on(run: Run) -> bool:
    """True if it is kept what more epochs of a run would go on from."""
    return any((run.path / name).exists() for name in (EXTEND, "resume.pt"))


def _worse(row: Row) -> tuple[float, int]:
    return -row["test_accuracy"], row["epoch"]


def mark(rows: Iterable[dict[str, Any]], kept: frozenset[int]) -> list[int]:
    """Let the rows of all other epochs say that these are thinned. Returns those that did not say so before."""
    new = [row for row in rows if row["epoch"] not in kept and not row.get("thinned")]
    for row in new:
        row["thinned"] = True
    return [int(row["epoch"]) for row in new]


def take_away(run: Run) -> None:
    """Remove the files of epochs whose rows say that they are thinned, but for one that counts until its run has been
    extended. For who holds the run's lock."""
    final = run.final
    for row in run.history():
        if row.get("thinned") and row["epoch"] != final:
            run.epoch_file(row["epoch"]).unlink(missing_ok=True)


def thinning(run: Run, keep: Keep) -> dict[int, int]:
    """Epoch -> bytes of its file, of those that would go.

    Of a run that is not over and is held to validation images, all stay that may come to count.
    """
    rows = run.history()
    kept = keep.epochs(rows, run.final)
    if not run.finished and run.record.recipe.get("patience"):
        kept |= _may_count(rows)
    left = {row["epoch"] for row in rows if row["epoch"] not in kept}
    return {epoch: file.stat().st_size for epoch in sorted(left) if (file := run.epoch_file(epoch)).is_file()}


def _may_count(rows: Sequence[Row]) -> frozenset[int]:
    """The epochs of the lowest validation loss, whichever is the first that can count."""
    found, least = list[int](), float("inf")
    for row in reversed(rows):
        if row.get("val_loss") is not None and row["val_loss"] <= least:
            found, least = [*found, int(row["epoch"])], row["val_loss"]
    return frozenset(found)


def thin(run: Run, epochs: Iterable[int]) -> None:
    """Take epochs away, and what a kill has left of those taken before. For who holds the run's lock."""
    rows, gone = run.history(), {*epochs}
    if gone:
        mark(rows, frozenset(row["epoch"] for row in rows) - gone)
        text = sealed_lines(rows)
        write_atomically(run.path / "history.jsonl", lambda temporary: temporary.write_text(text))
    take_away(run)
