"""Which network of a store to use: strategies ranked by what their runs make of images they were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from wdiv.errors import BadInput
from wdiv.measure.reference import final_positions
from wdiv.registry import did_you_mean
from wdiv.summary.answered import one_class_notes
from wdiv.summary.folds import runs_of
from wdiv.summary.runs import finished, results
from wdiv.summary.trained import untrained_notes

__all__ = ["CRITERIA", "Best", "Candidate", "best"]

CRITERIA = {"validation loss": "val_loss", "test log loss": "log_loss", "test error": "test_error"}
"""What runs are ranked by, the first of them that is known of any -> the column that has it; the less, the better."""
CELL = ("model", "strategy", "bn_mode")


@dataclass(frozen=True)
class Candidate:
    """The runs of one strategy that differ in their seed alone; figures are means over them, NaN where not known.

    folds     of each seed, where that is a cross-validation, whose accuracy is of all images; else 1
    loss      what it is ranked by, :attr:`Best.by`
    sound     those of its runs that neither answer one class alone nor have failed to learn their own images; where
              none is such, all of them, and ``problem`` says why; else that is empty
    """

    model: str
    strategy: str
    bn_mode: str
    n_train: int
    runs: tuple[str, ...]
    loss: float
    val_loss: float
    val_accuracy: float
    test_accuracy: float
    n_test: int
    sound: tuple[str, ...]
    problem: str = ""
    folds: int = 1

    @property
    def seeds(self) -> int:
        """How many runs, or cross-validations, its figures are means over."""
        return len(self.runs) // self.folds

    @property
    def name(self) -> str:
        """In a few words.

        >>> Candidate("resnet18", "fc", "auto", 60, ("r",), .1, .1, 1., 1., 9, ("r",)).name
        'resnet18, fc, BN auto, 60 training images'
        """
        return f"{self.model}, {self.strategy}, BN {self.bn_mode}, {self.n_train} training images"


@dataclass(frozen=True)
class Best:
    """What :func:`best` finds.

    by          a name of :data:`CRITERIA`
    candidates  from the best to the worst;  the first is :attr:`chosen`
    run, epoch  of the chosen one, the run of the least loss, and its epoch that counts
    notes       in a sentence each, what is to be known before it is used
    whole       what tables call the run together with those of the other folds; where there are none, the run
    """

    by: str
    candidates: tuple[Candidate, ...]
    run: str
    epoch: int
    notes: tuple[str, ...] = ()
    whole: str = ""

    @property
    def chosen(self) -> Candidate:
        """The strategy to use."""
        return self.candidates[0]

    @property
    def optimistic(self) -> bool:
        """True where the test images chose: the test accuracy of what is chosen is then too good."""
        return self.by != "validation loss"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"chosen": asdict(self.chosen), "optimistic": self.optimistic}


def best(*trees: xr.DataTree, dataset: str | None = None) -> Best:
    """Which network to use, of the finished runs of a store: the strategy of the least mean loss over its seeds, and of
    it the run of the least.

    trees    an architecture of the store each, as :func:`wdiv.store.engine.open_store` opens them
    dataset  which data set's runs to compare, where there are several

    The loss is that of the validation images, after the epoch that counts; where no run held any out, the log loss on
    the test images, and of stores that keep no predictions their error: then the test images chose, and a note says
    that their accuracy is optimistic. Only runs of the largest number of training images are compared. One that answers
    one class alone, or has not learned its own images (:func:`~wdiv.summary.trained.has_trained`), is never chosen
    unless all are such, and then a note says so. Of equal ones the first by name is taken.

    Raises :class:`~wdiv.errors.BadInput` where there is nothing to choose from, or not one data set.

    >>> import wdiv
    >>> best(wdiv.open("runs/quickstart")).chosen.strategy      # doctest: +SKIP
    'conv+bn+fc'
    """
    rows = pd.concat([_of_tree(tree) for tree in trees], ignore_index=True) if trees else pd.DataFrame()
    if rows.empty:
        raise BadInput("no run is finished, so there is no best one; 'wdiv status' says how far they are")
    rows = _of_dataset(rows, dataset)
    by = next((name for name, column in CRITERIA.items() if rows[column].notna().any()), None)
    if by is None:
        raise BadInput("no accuracy is known of any run, so none is the best; name the one to use")
    known = rows[rows[CRITERIA[by]].notna()].assign(loss=lambda table: table[CRITERIA[by]])
    largest = known[known["n_train"] == known["n_train"].max()]
    found = sorted(map(_candidate, (group for _, group in largest.groupby(list(CELL), sort=True))), key=_rank)
    used = largest[largest["run"].isin(found[0].sound)].sort_values(["loss", "seed", "run"]).iloc[0]
    notes = _notes(by, rows, known, largest, found)
    return Best(by, tuple(found), str(used["run"]), int(used["final"]), tuple(notes), str(used["whole"]))


def _of_tree(tree: xr.DataTree) -> pd.DataFrame:
    """:func:`~wdiv.summary.runs.results` of what is finished, what runs are ranked by, and their flaws in words.

    A row a fold of a cross-validation, each with what all of them came to together.
    """
    tree = finished(tree)
    history, root = tree.children["history"].to_dataset(), tree.to_dataset()
    if not root.sizes["run"]:
        return pd.DataFrame()
    rows, at = results(tree, by_fold=True), final_positions(root)
    for name in ("val_loss", "val_accuracy"):
        rows[name] = [history[name].values[place] for place in enumerate(at)] if name in history else np.nan
    rows = rows.assign(test_error=1 - rows["last"], final=rows["epochs"], flaw=[_flaw(row) for row in _dicts(rows)])
    names = {run: whole for whole, runs in runs_of(root).items() for run in runs}
    rows = rows[rows["run"].isin(names)].assign(
        whole=lambda table: table["run"].map(names), folds=lambda table: table.groupby("whole")["run"].transform("size")
    )
    together = results(tree).set_index("run")
    return rows.assign(**{name: rows["whole"].map(together[name]) for name in ("n_train", "n_test", "last")})


def _dicts(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [dict(row) for row in rows.to_dict("records")]


def _flaw(row: dict[str, Any]) -> str:
    if row["trained"] == "no":
        return "has not learned its training images"
    return f"answers {row['only_answer']!r} alone" if isinstance(row["only_answer"], str) else ""


def _of_dataset(rows: pd.DataFrame, dataset: str | None) -> pd.DataFrame:
    names = sorted(rows["dataset"].unique())
    if dataset is None and len(names) > 1:
        raise BadInput(f"runs of several data sets, which cannot be compared; give --dataset (dataset=) one of "
                       f"{', '.join(names)}")  # fmt: skip
    if dataset is not None and dataset not in names:
        raise BadInput(f"no run of data set {dataset!r}; {did_you_mean(dataset, names)}")
    return rows if dataset is None else rows[rows["dataset"] == dataset]


def _candidate(runs: pd.DataFrame) -> Candidate:
    runs = runs.sort_values(["seed", "run"])
    first, mean, flaws = runs.iloc[0], runs.mean(numeric_only=True), list(dict.fromkeys(runs["flaw"]))
    sound = runs[runs["flaw"] == ""] if "" in flaws else runs
    return Candidate(
        str(first["model"]), str(first["strategy"]), str(first["bn_mode"]), int(first["n_train"]),
        tuple(map(str, runs["run"])), float(mean["loss"]), float(mean["val_loss"]), float(mean["val_accuracy"]),
        float(mean["last"]), int(first["n_test"]), tuple(map(str, sound["run"])),
        "" if "" in flaws else "; ".join(flaws), int(first["folds"]),
    )  # fmt: skip


def _rank(candidate: Candidate) -> tuple[Any, ...]:
    return bool(candidate.problem), candidate.loss, candidate.model, candidate.strategy, candidate.bn_mode


def _notes(
    by: str, rows: pd.DataFrame, known: pd.DataFrame, largest: pd.DataFrame, found: Sequence[Candidate]
) -> Iterable[str]:
    if by != "validation loss":
        yield (
            f"no images were held out to validate, so that the test images chose, by their "
            f"{by.removeprefix('test ')}: the test accuracy of what is chosen is optimistic; "
            "'wdiv run --validation 0.2' holds some out"
        )
    if len(rows) > len(known):
        without = rows[~rows["run"].isin(known["run"])]["run"].tolist()
        more = f" and {len(without) - 1} more" if len(without) > 1 else ""
        yield f"not compared, as their {by} is not known: {without[0]}{more}"
    if len(known) > len(largest):
        sizes = ", ".join(map(str, sorted(known["n_train"].unique())[:-1]))
        yield f"only runs of {found[0].n_train} training images are compared, the most there are; not of {sizes}"
    if found[0].folds > 1:
        yield (
            f"the network to use is of one fold of {found[0].folds}, the others being held out from it; "
            "'--average seeds' takes those of all folds, the mean of their probabilities"
        )
    if found[0].problem:
        yield "every run answers one class alone or has not learned its own images: use none of them"
    flawed = _dicts(largest[largest["flaw"] != ""])
    yield from untrained_notes(flawed)
    yield from one_class_notes(flawed)
