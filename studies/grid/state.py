"""How far a store's runs are, and how long they will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from studies.grid.conditions import stores
from studies.grid.study_file import told_by
from wdiv.errors import BadStore
from wdiv.numerics import share_interval
from wdiv.store import legacy
from wdiv.store.reader import CheckpointStore, Run, is_being_written

__all__ = ["RunState", "named_runs", "seconds_left", "state_of", "states"]

RECENT = 5
"""Epochs whose time tells how long the others will take."""
OVER = ("finished", "diverged", "damaged")
ALIKE = ("label", "dataset", "per_class", "strategy", "bn_mode")
"""Facts in which runs that take as long as one another agree."""
Kinds = tuple[tuple[str, ...], ...]
"""What a run has in common with others: all but the seed; strategy and BN mode."""


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    state    ``finished``, ``running``, ``stopped`` (goes on when the study is run again), ``diverged`` (does not),
             ``waiting`` or ``damaged`` (``wdiv verify --repair`` makes it again, if it can be)
    last     test accuracy of the epoch that counts: the last, or where the run stopped early, the best by its
             validation images;  low, high: its 95 % interval for other test images, None where they are not known
    seconds  that its epochs took;  left: that it will still take, None where nothing tells
    prefix   of each stretch of epochs, whether what is frozen is computed once an image, and why
    """

    run: str
    state: str
    epoch: int | None = None
    of: int | None = None
    last: float | None = None
    best: float | None = None
    seconds: float | None = None
    left: float | None = None
    prefix: tuple[Mapping[str, Any], ...] = ()
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def in_words(self) -> str:
        """The state, and how far it is.

        >>> RunState("r", "stopped", 3, 9).in_words, RunState("r", "waiting").in_words
        ('stopped after epoch 3 of 9', 'waiting')
        """
        return self.state if self.epoch is None else f"{self.state} after epoch {self.epoch} of {self.of}"

    @property
    def over(self) -> bool:
        """True if nothing more will come."""
        return self.state in OVER

    @property
    def kept(self) -> str | None:
        """In a word, whether the frozen prefix is computed once an image: ``yes``, ``no``, ``partly`` (in some
        stretches of epochs), ``test`` (for test images only); None where nothing is known.

        >>> RunState("r", "running", prefix=({"kept": True}, {"kept": False, "judging_kept": False})).kept
        'partly'
        """
        words = {"yes" if one["kept"] else "test" if one.get("judging_kept") else "no" for one in self.prefix}
        return (words.pop() if len(words) == 1 else "partly") if words else None


def states(out: Path, opened: Mapping[str, CheckpointStore] | None = None) -> list[RunState]:
    """The state of every run of a study, in the study's order; then of runs that are there besides.

    A run that waits will take the mean of those like it whose time is known: of other seeds, else of its strategy and
    BN mode, else of all.

    opened: those of the study's :func:`~studies.grid.conditions.stores` that are open already.
    """
    found: list[RunState] = []
    kinds: dict[str, Kinds] = {}
    for folder in _folders(stores(out) | dict(opened or {})):
        runs = _runs_of(folder)
        damaged = {folder.prefix + name for name in folder.store.damaged}
        found += [RunState(name, "damaged") if name in damaged else state_of(name, run) for name, run in runs.items()]
        kinds |= _kinds(folder, runs)
    return _foreseen(found, kinds)


def named_runs(opened: Mapping[str, CheckpointStore]) -> dict[str, Run | None]:
    """The runs of a study's stores, those planned first, in the study's order; None for one that has not begun.

    Those of a study with conditions are called ``CONDITION/RUN``.

    Raises :class:`~wdiv.errors.BadStore`.
    """
    return {name: run for folder in _folders(opened) for name, run in _runs_of(folder).items()}


class _Folder(NamedTuple):
    """A store, what its runs' names begin with in the whole study, and what its study.json says."""

    prefix: str
    store: CheckpointStore
    told: Mapping[str, Any]


def _folders(opened: Mapping[str, CheckpointStore]) -> list[_Folder]:
    return [
        _Folder(f"{condition}/" if condition else "", store, told_by(store.path)) for condition, store in opened.items()
    ]


def _runs_of(folder: _Folder) -> dict[str, Run | None]:
    prefix, store, told = folder
    there = {prefix + run.path.name: run for run in store}
    planned = [prefix + name for name in told["runs"]]
    if not there and not planned and not store.damaged and not prefix:  # that of a condition may wait for its turn
        raise BadStore(f"{store.path}: not a wdiv store; it has neither study.json nor runs")
    return {name: there.get(name) for name in (*planned, *there, *(prefix + name for name in store.damaged))}


def _kinds(folder: _Folder, runs: Mapping[str, Run | None]) -> dict[str, Kinds]:
    planned = {folder.prefix + name: facts for name, facts in folder.told["facts"].items()}
    if any(run is None and name not in planned for name, run in runs.items()):
        return {name: legacy.kinds(name) for name in runs}
    found: dict[str, Kinds] = {}
    for name, run in runs.items():
        facts = planned[name] if run is None else vars(run.record)
        alike = tuple(str(facts.get(fact)) for fact in ALIKE)
        found[name] = ((folder.prefix, *alike), alike[-2:])
    return found


def state_of(called: str, run: Run | None) -> RunState:
    """One run's state, from its own files; what is left by the median of its last epochs' time. None: it waits."""
    if run is None:
        return RunState(called, "waiting")
    rows, prefix = run.history(), run.record.prefix
    of = int(run.record.recipe["epochs"])
    name = (
        "finished" if run.finished
        else "diverged" if run.diverged is not None
        else "running" if is_being_written(run) else "stopped"
    )  # fmt: skip
    if not rows:
        return RunState(called, name, None, of, left=0.0 if name in OVER else None, prefix=prefix)
    accuracies = [row["test_accuracy"] for row in rows if row.get("test_accuracy") is not None]  # of an import: none
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    of = max(of, rows[-1]["epoch"])  # more, where it is being extended
    final = rows[-1].get("final", rows[-1]["epoch"])  # not run.final, which may have seen an epoch more by now
    if run.end is not None and run.end < rows[-1]["epoch"]:
        final, name = run.final, "running" if is_being_written(run) else "stopped"
    last = next(row for row in rows if row["epoch"] == final)
    return RunState(
        called, name, rows[-1]["epoch"], of, last.get("test_accuracy"), max(accuracies, default=None),
        round(sum(seconds), 1) if seconds else None, 0.0 if name in OVER else _left(rows, of), prefix,
        *_interval(last.get("test_accuracy"), run.record.n_test),
    )  # fmt: skip


def _interval(accuracy: float | None, images: int) -> tuple[float | None, float | None]:
    if accuracy is None or not images:
        return None, None
    _, low, high = share_interval([accuracy], images)
    return float(low), float(high)


def _left(rows: Sequence[Mapping[str, Any]], of: int) -> float | None:
    times = [row["seconds"] for row in rows if row["epoch"] and row.get("seconds") is not None][-RECENT:]
    return round(median(times) * (of - rows[-1]["epoch"]), 1) if times else None


def _foreseen(found: Sequence[RunState], kinds: Mapping[str, Kinds]) -> list[RunState]:
    """What is left of runs that tell nothing themselves, by those of the closest kind whose time is known."""
    totals: dict[tuple[str, ...], list[float]] = {}
    for state in found:
        if state.state != "diverged" and state.seconds is not None and state.left is not None:
            for kind in (*kinds[state.run], ()):
                totals.setdefault(kind, []).append(state.seconds + state.left)

    def left(state: RunState) -> float | None:
        known = next((totals[kind] for kind in (*kinds[state.run], ()) if kind in totals), None)
        return None if known is None else max(0.0, round(mean(known) - (state.seconds or 0.0), 1))

    return [replace(state, left=left(state)) if state.left is None else state for state in found]


def seconds_left(found: Sequence[RunState]) -> float | None:
    """What a grid will still take, where as many runs go on side by side as do now; None where nothing tells.

    >>> seconds_left([RunState("a", "running", left=30.0), RunState("b", "waiting", left=10.0)])
    40.0
    """
    left = [state.left for state in found if not state.over]
    if any(one is None for one in left):
        return None
    side_by_side = sum(state.state == "running" for state in found)
    return sum(one for one in left if one is not None) / max(1, side_by_side)
