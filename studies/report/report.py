"""What a study's report says: a verdict on every claim, the paper's tables beside ours, its figures.

Read from the store alone, so that it can be made again, and while runs are still missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from studies.grid import answered, outlook
from studies.grid.conditions import begun
from studies.grid.results import results
from studies.grid.state import states
from studies.grid.study_file import read_study, read_study_json
from studies.papers import published
from studies.report.answers import answers_of
from studies.report.effects import Answers
from studies.report.figures.drawing import draw
from studies.report.figures.verdicts import draw as verdicts_drawn
from studies.report.findings import Verdict
from studies.report.gains import change_and_gain
from studies.report.observations import layer_distances, observe, observe_distances
from studies.report.recommendation import Recommendation, recommend
from studies.report.stand_in import with_proxy
from studies.report.tables import Filled, at_sizes_of, fill
from studies.report.transfer import negative_transfer
from studies.report.verdicts import judge
from studies.spec.study import Study
from wdiv.errors import BadInput, BadStore, WdivError
from wdiv.inference.choice import best_of
from wdiv.store.reader import CheckpointStore, without_damaged
from wdiv.store.wholes import wholes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report", "gather"]


@dataclass(frozen=True, eq=False)
class Report:
    """What there is to say of a study.

    out         the study's folder
    advice      what to do, of a study of one's own images; None where there is nothing to say
    transfer    runs that did worse than training from scratch;  change: how a stage's change goes with gain
    shown       question -> the figure of its claims, in each of their cells
    figures     name -> its files;  missing: name -> why it could not be drawn
    unfinished  how many of the study's runs are not finished, and how many there are; nothing here is of these
    left_out    run that is not finished -> why, in words
    n_test      dataset -> its test images
    """

    out: Path
    study: Study
    advice: Recommendation | None
    observations: pd.DataFrame
    distances: pd.DataFrame
    verdicts: Sequence[Verdict]
    tables: Sequence[Filled]
    transfer: pd.DataFrame
    change: pd.DataFrame
    shown: dict[str, Path]
    figures: dict[str, list[Path]]
    missing: dict[str, str]
    unfinished: tuple[int, int]
    left_out: dict[str, str]
    notes: Sequence[str]
    n_test: Mapping[str, int]


def gather(out: Path, figures: Path | None = None, opened: Mapping[str, CheckpointStore] | None = None) -> Report:
    """Everything a report says, its figures drawn into a folder, if one is given.

    opened: what :func:`~studies.grid.conditions.begun` gave, where that is at hand.

    Raises :class:`~wdiv.errors.BadStore` for a folder that holds no study, or no finished run.
    """
    study = read_study(out)
    found = begun(out) if opened is None else opened
    if not found:
        raise BadStore(f"{out}: no run has begun; there is nothing to report")
    return without_damaged(found.values(), lambda: _gather(study, out, figures, found))


def _gather(study: Study, out: Path, figures: Path | None, found: Mapping[str, CheckpointStore]) -> Report:
    import pandas as pd

    study, instead = with_proxy(study, found.values(), 0)
    distances = layer_distances(found, study.metrics)
    observations = pd.concat([observe(found, study.metrics, distances=distances), observe_distances(found)])
    observations = observations.reset_index(drop=True)
    paper = None if study.paper is None else published(study.paper)
    read, sizes = (observations, "") if paper is None else at_sizes_of(paper, observations)
    whole = states(out, found)
    left_out = {state.run: state.in_words for state in whole if state.state != "finished"}
    tests, notes = _told(found)
    right = answers_of(found)
    verdicts = judge(study.claims, observations, answers=right, in_modes=study.in_modes)
    drawn, missing = ({}, {}) if figures is None else _draw(study, observations, distances, paper, tests, figures)
    return Report(
        out, study, _advice(study, found, observations, right), observations, distances, verdicts,
        [fill(table, read, paper, n_test=tests) for table in study.tables],
        negative_transfer(observations, tests), change_and_gain(observations, in_modes=study.in_modes),
        {} if figures is None else verdicts_drawn(verdicts, figures), drawn, missing,
        (len(left_out), len(whole)), left_out,
        [*instead, *notes, *answered.notes(answered.answered(out, found)), *filter(None, [sizes])], tests,
    )  # fmt: skip


def _advice(
    study: Study, found: Mapping[str, CheckpointStore], observations: pd.DataFrame, answers: Answers
) -> Recommendation | None:
    """Of a study of one's own images, which is one grid."""
    if not study.recommend or set(found) != {""}:
        return None
    (store,) = found.values()
    try:
        chosen = best_of(store)
    except BadInput:
        return None
    return recommend(results(store), chosen, observations, answers, study.in_modes, outlook.load(store.path))


def _draw(
    study: Study,
    observations: pd.DataFrame,
    distances: pd.DataFrame,
    paper: pd.DataFrame | None,
    n_test: Mapping[str, int],
    to: Path,
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    shares = _shares(study, paper)
    drawn, missing = {}, {}
    for figure in study.figures:
        try:
            drawn[figure.name] = draw(figure, observations, distances, shares, to, study=study, n_test=n_test)
        except WdivError as error:
            missing[figure.name] = str(error)
    return drawn, missing


def _shares(study: Study, paper: pd.DataFrame | None) -> pd.DataFrame | None:
    """The paper's numbers as shares of 1, by strategy: as the paper says, or as the study's tables read it."""
    import pandas as pd

    if paper is not None and "strategy" not in paper:
        readings = [reading for table in study.tables for reading in table.reading.items()]
        read = [paper.assign(strategy=paper[name].map(strategies)) for name, strategies in readings]
        paper = pd.concat(read).dropna(subset="strategy").drop_duplicates() if read else None
    return None if paper is None else paper.assign(value=paper["value"] / 100)


def _told(found: Mapping[str, CheckpointStore]) -> tuple[dict[str, int], list[str]]:
    """Dataset -> its test images (the fewest, where conditions differ), and what the stores say of their data."""
    tests: dict[str, int] = {}
    notes: dict[str, None] = {}
    for store in found.values():
        notes |= dict.fromkeys(read_study_json(store.path)["notes"])
        records = [run.record for run in store]
        judged = wholes((one.id, one.fold, one) for one in records or trials.load(store.path))
        for parts in judged.values():
            images, dataset = sum(one.n_test for one in parts), parts[0].dataset
            if images:
                tests[dataset] = min(images, tests.get(dataset, images))
    return tests, list(notes)
