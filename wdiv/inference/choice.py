"""Which of a store's networks is meant: a run and an epoch, those of several seeds, or the mean of an epoch's last."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wdiv.errors import BadInput, BadStore
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore, Run, StoreLike, find_run, parse_epoch, spell, without_damaged
from wdiv.summary.best import Best, best

__all__ = ["AVERAGES", "Choice", "Weights", "best_of", "choose"]

AVERAGES = "lastN, such as last5: the mean of the weights of a run's last epochs; seeds: the mean of the probabilities"
"""What is averaged, in words."""
ALIKE = ("label", "dataset", "data_digest", "n_train", "per_class", "strategy", "bn_mode", "recipe")
"""What the records of runs that differ in their seed alone agree in."""


@dataclass(frozen=True)
class Weights:
    """Those of a run after an epoch; of several epochs, their mean."""

    run: Run
    epochs: tuple[int, ...]

    @property
    def name(self) -> str:
        """As one writes it on a command line."""
        first, last = self.epochs[0], self.epochs[-1]
        return f"{self.run.path}@{last}" if first == last else f"{self.run.path}, mean of epochs {first} to {last}"

    def state_dict(self) -> dict[str, np.ndarray]:
        """Every tensor, in the model's own order. A mean is taken in float64, of weights and running statistics alike;
        counters are the last epoch's. Raises :class:`~wdiv.errors.BadInput` where the run lacks any."""
        run, last = self.run, self.epochs[-1]
        state = run.state_dict(last)
        missing = [key for key in run.record.keys if key not in state]
        if missing:  # somebody's epoch
            raise BadInput(f"{run.path}: epoch {last} lacks {len(missing)} of the run's tensors, first {missing[0]}")
        if len(self.epochs) > 1:
            for key in run.record.changing:
                if state[key].dtype.kind == "f":
                    each = np.stack([np.asarray(run.read(key, epoch)) for epoch in self.epochs])
                    state[key] = each.mean(axis=0, dtype=np.float64).astype(state[key].dtype)
        return state


@dataclass(frozen=True)
class Choice:
    """One network, or several whose probabilities are averaged, all of one architecture and of the same classes.

    best: how it was chosen, where a store was given
    """

    members: tuple[Weights, ...]
    best: Best | None = None

    @property
    def first(self) -> Run:
        """Whose classes and images are those of all."""
        return self.members[0].run

    @property
    def name(self) -> str:
        """In a line, of what the answers are."""
        others = len(self.members) - 1
        what = "seeds" if self.first.record.fold is None else "seeds and folds"
        return self.members[0].name + (f" and {others} other {what}, probabilities averaged" if others else "")


def best_of(store: StoreLike, dataset: str | None = None) -> Best:
    """:func:`wdiv.summary.best` of a store: which of its finished runs to use. Damaged runs are left out.

    Raises what that raises, and :class:`~wdiv.errors.BadStore` for a folder that is none.
    """
    opened = CheckpointStore.open(store)

    def found() -> Best:
        return best(*(open_store(opened, label) for label in opened.by_label()), dataset=dataset)

    return without_damaged([opened], found)


def choose(
    spec: str | Path, average: str | None = None, dataset: str | None = None, epoch: int | str | None = None
) -> Choice:
    """The network that is meant.

    spec     a run's folder, with ``@EPOCH`` (a number, ``last`` or ``best``) or without (the epoch that counts); or a
             store's folder: of its best run (:func:`best_of`) the epoch that counts
    average  ``last5``: the mean of the weights of the last five epochs, the one named or the one that counts and those
             before it; ``seeds``: the runs that differ from it in their seed or fold alone, each after its epoch that
             counts
    dataset  of a store of several data sets, which
    epoch    the same as ``@EPOCH``

    Weights of several seeds are not averaged: their heads were drawn apart, and the mean of two heads is none. A mean
    of epochs takes BatchNorm's running statistics as it takes weights, as :class:`torch.optim.swa_utils.AveragedModel`
    does with ``use_buffers=True``; they are not estimated anew.

    Raises :class:`~wdiv.errors.BadInput` and :class:`~wdiv.errors.BadStore`.
    """
    found = find_run(str(spec) if epoch is None else f"{spec}@{epoch}")
    if found is None and not Path(spec).is_dir():
        raise BadInput(f"{spec}: neither a run of a wdiv store (the folder that holds its run.json, with @EPOCH or "
                       "without) nor a store")  # fmt: skip
    chosen = best_of(str(spec), dataset) if found is None else None
    run, number = found or _used(chosen, Path(spec), epoch)
    if not run.record.input:
        raise BadInput(f"{run.path}: an imported run does not say what its network reads; only those that wdiv trained "
                       "can be used")  # fmt: skip
    if average == "seeds":
        return Choice(_seeds(run, chosen), chosen)
    return Choice((Weights(run, (number,) if average is None else _last(run, number, average)),), chosen)


def _used(chosen: Best | None, store: Path, epoch: int | str | None) -> tuple[Run, int]:
    assert chosen is not None
    run = _named(CheckpointStore.open(store))[chosen.run]
    return run, chosen.epoch if epoch is None else parse_epoch(str(epoch), run)


def _named(store: CheckpointStore) -> dict[str, Run]:
    """The runs by the names that tables have of them, which their folders may no longer have."""
    return {run.record.id: run for run in store}


def _last(run: Run, epoch: int, average: str) -> tuple[int, ...]:
    number = re.fullmatch(r"last([1-9]\d*)", average)
    if number is None:
        raise BadInput(f"average {average!r}: {AVERAGES}")
    wanted, saved = range(epoch - int(number[1]) + 1, epoch + 1), run.epochs()
    if wanted[0] < 1:
        raise BadInput(f"{run.path}: average {average}: up to epoch {epoch} there are no more than {epoch} to average")
    if not {*wanted} <= {*saved}:
        raise BadInput(
            f"{run.path}: average {average}: takes epochs {wanted[0]} to {epoch}, and {spell(saved)} are saved"
        )
    return tuple(wanted)


def _seeds(run: Run, chosen: Best | None) -> tuple[Weights, ...]:
    """Of a store those of the candidate that have learned something, the best first; of a run, the run first."""
    store = CheckpointStore.open(run.root)
    if chosen is None:
        facts = _facts(run)
        others = [one for one in store if one.path.name != run.path.name and one.finished and _facts(one) == facts]
    else:
        runs = _named(store)
        others = [runs[name] for name in chosen.chosen.sound if name != chosen.run]
    if not others:
        raise BadStore(f"{run.path}: average seeds: there is no finished run that differs from it in its seed alone")
    if any(one.record.class_names != run.record.class_names for one in others):
        raise BadStore(f"{run.root}: average seeds: its runs have not the same classes")
    return tuple(Weights(one, (_final(one),)) for one in (run, *others))


def _facts(run: Run) -> Mapping[str, object]:
    """Folds of one cross-validation may differ by an image."""
    alike = [name for name in ALIKE if name != "n_train" or run.record.fold is None]
    return {name: getattr(run.record, name) for name in alike}


def _final(run: Run) -> int:
    final = run.final
    assert final is not None
    return final
