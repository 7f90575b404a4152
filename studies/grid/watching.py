"""What is known of runs while they train. Reads ``run.json``, ``history.jsonl`` and ``live.jsonl``; no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import xarray as xr

from studies.grid.conditions import stores
from studies.grid.state import RunState, named_runs, state_of
from wdiv import summary
from wdiv.errors import BadInput, BadStore
from wdiv.measure import why
from wdiv.measure.sums import check, divergence_of_sums
from wdiv.metrics import METRICS
from wdiv.registry import did_you_mean
from wdiv.store.engine import open_groups
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.running_metrics import NAME, RunningSums, read_running_sums

__all__ = ["REFERENCE", "RunView", "Strip", "StoreView", "Watch"]

REFERENCE = 0
"""Epoch 0: the start, fresh heads and networks from scratch included, which pretrained weights say nothing of."""
FACTS = ("epoch", "train_loss", "test_accuracy", "seconds")


@dataclass(frozen=True)
class Strip:
    """The mean over the layers of a stage after each epoch; ``why`` there is none, where those after 0 are NaN."""

    kind: str
    role: str
    stage: str
    values: tuple[float, ...]
    moved: bool
    why: str = ""


@dataclass(frozen=True)
class RunView:
    """One run.

    n_test        images that its test accuracies are of; 0: not known
    history       a row for each finished epoch, of :data:`FACTS`
    seconds_left  None where nothing tells
    epochs        those that ``stages`` have values of: the finished ones, if all of them were trained by this wdiv
    """

    run: str
    state: str
    of: int | None
    n_test: int
    best: float | None
    seconds_left: float | None
    history: tuple[Mapping[str, Any], ...]
    epochs: tuple[int, ...] = ()
    stages: tuple[Strip, ...] = ()

    @property
    def moved(self) -> list[Strip]:
        """The stages of each kind and role that have moved anywhere."""
        where = {(strip.kind, strip.role) for strip in self.stages if strip.moved}
        return [strip for strip in self.stages if (strip.kind, strip.role) in where]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class StoreView:
    """What is to be shown now. finished, of: runs of the whole store; over: nothing more will come.

    trees: the divergence of the runs that are shown, one tree an architecture of a store
    """

    metric: str
    runs: tuple[RunView, ...]
    finished: int
    of: int
    over: bool
    trees: tuple[xr.DataTree, ...]


class Watch:
    """Looks at a store's runs again and again: those chosen; else those that are running, or the latest if none is.

    Raises :class:`~wdiv.errors.BadInput` for a metric that sums do not give, :class:`~wdiv.errors.BadStore` where
    there is no store.
    """

    def __init__(self, path: Path, metric: str, chosen: Sequence[str] = ()) -> None:
        if len(check(metric)) > 1:
            raise BadInput(f"metric {metric!r} is a family; give one metric")
        self.path, self.metric, self.chosen = path, metric, tuple(chosen)
        self._stores: dict[str, CheckpointStore] = {}
        self._runs: dict[str, Run] = {}
        self._done: dict[str, RunState] = {}
        self._running: set[str] = set()  # at the last look: they are shown once more, and how they ended is seen
        self._seen: tuple[list[RunState], StoreView] | None = None
        unknown = [run for run in chosen if run not in (names := [state.run for state in self._states()])]
        if unknown:
            raise BadInput(f"{path}: no run {unknown[0]!r}; {did_you_mean(unknown[0], names)}")

    def look(self) -> StoreView:
        """The present view; the very same object where nothing has changed.

        Raises :class:`~wdiv.errors.BadStore` where the runs to be shown keep no ``live.jsonl``.
        """
        states = self._states()
        if self._seen is None or self._seen[0] != states:
            self._seen = states, self._look(states)
        return self._seen[1]

    def _states(self) -> list[RunState]:
        """Of every run, planned or there. What a run that is over came to is remembered, as is what stores read."""
        self._stores = stores(self.path) | self._stores
        runs = named_runs(self._stores)
        self._runs = {name: run for name, run in runs.items() if run is not None}
        over = self._done.keys() & self._runs.keys()
        found = [self._done[name] if name in over else state_of(name, run) for name, run in runs.items()]
        self._done = {state.run: state for state in found if state.over}
        return found

    def _look(self, states: Sequence[RunState]) -> StoreView:
        shown = self._choose(states)
        runs = {state.run: self._runs[state.run] for state in shown if state.epoch is not None}
        self._check_live(list(runs.values()))
        sums = {name: found for name, run in runs.items() if (found := read_running_sums(run)) is not None}
        trees = tuple(self._trees({name: run for name, run in runs.items() if name in sums}, sums))
        seen = []
        for state in shown:
            one = self._progress(state)
            for tree in trees:
                root = tree.to_dataset()
                if state.run in root["run"].values.tolist() and state.epoch is not None:
                    there = root["epoch"].values.tolist()
                    epochs = tuple(n for n in sums[state.run].epochs if n in there and n <= state.epoch)
                    one = replace(one, epochs=epochs, stages=tuple(_strips(tree, self.metric, state.run, epochs)))
            seen.append(one)
        finished = sum(state.state == "finished" for state in states)
        asked = [state for state in states if not self.chosen or state.run in self.chosen]
        over = all(state.over for state in asked)
        return StoreView(self.metric, tuple(seen), finished, len(states), over, trees)

    def _choose(self, states: Sequence[RunState]) -> list[RunState]:
        if self.chosen:
            return [state for state in states if state.run in self.chosen]
        running = [state for state in states if state.state == "running" or state.run in self._running]
        self._running = {state.run for state in states if state.state == "running"}
        started = [state for state in states if state.epoch is not None]
        return running or sorted(started, key=lambda state: _changed(self._runs[state.run]))[-1:]

    def _check_live(self, runs: Sequence[Run]) -> None:
        if not runs or any((run.path / NAME).exists() for run in runs):
            return
        elsewhere = f"'wdiv measure {self.path}' and 'wdiv plot {self.path} epochs' read the epochs themselves"
        if runs[0].imported is not None:
            raise BadStore(f"{runs[0].path}: imported, so there is no training to watch; {elsewhere}")
        raise BadStore(f"{runs[0].path}: no {NAME}, which a run keeps from its start on as it trains; {elsewhere}")

    def _trees(self, runs: Mapping[str, Run], sums: dict[str, RunningSums]) -> Iterator[xr.DataTree]:
        """Runs are called there as they are here, which is not by their folder alone where there are conditions."""
        by_store: dict[Path, dict[str, Run]] = {}
        for name, run in runs.items():
            by_store.setdefault(run.root, {})[name] = run
        for path, mine in by_store.items():
            store, names = _Some(path, tuple(mine.values())), {run.path.name: name for name, run in mine.items()}
            for label in store.by_label():
                groups = {place: _called(node, names) for place, node in open_groups(store, label).items()}
                yield divergence_of_sums(xr.DataTree.from_dict(groups), sums, self.metric, REFERENCE)

    def _progress(self, state: RunState) -> RunView:
        """As far as the state has it: an epoch that has ended since is shown the next time, with all its values."""
        last = -1 if state.epoch is None else state.epoch
        rows = [row for row in self._runs[state.run].history() if row["epoch"] <= last] if last >= 0 else []
        history = tuple({name: row.get(name) for name in FACTS} for row in rows)
        n_test = self._runs[state.run].record.n_test if rows else 0
        return RunView(state.run, state.state, state.of, n_test, state.best, state.left, history)


@dataclass(frozen=True)
class _Some(CheckpointStore):
    """Some runs of a store, whose records are read already."""

    runs: tuple[Run, ...] = ()

    def __iter__(self) -> Iterator[Run]:
        return iter(self.runs)


def _called(node: xr.Dataset, names: Mapping[str, str]) -> xr.Dataset:
    if "run" not in node.coords:
        return node
    return node.assign_coords(run=node["run"].copy(data=[names[name] for name in node["run"].values.tolist()]))


def _changed(run: Run) -> float:
    """When a run last saved an epoch. An imported run has no history of its own."""
    file = run.path / "history.jsonl"
    return (file if file.exists() else run.path / "run.json").stat().st_mtime


def _strips(div: xr.DataTree, metric: str, run: str, epochs: Sequence[int]) -> Iterator[Strip]:
    identity = METRICS[metric].identity
    for kind, node in div.children.items():
        data = node.to_dataset().sel(run=run)
        for role in data["role"].values.tolist():
            grid = summary.epoch_grid(div, metric, kind, role, run).reindex(list(epochs))
            flags = data["flag"].sel(role=role).max("epoch")
            for stage, part in grid.T.groupby(level="stage", sort=False):
                values = part.mean()
                later = values[values.index > REFERENCE]
                of_stage = flags.sel(layer=part.index.get_level_values("layer")).values
                reason = why(int(of_stage.max())) if len(later) and later.isna().all() else ""
                moved = bool(((later != identity) & later.notna()).any())
                yield Strip(kind, role, str(stage), tuple(values.tolist()), moved, reason)
