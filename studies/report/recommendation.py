"""What to do with one's own images, by the runs of a study: what to fine-tune, how good it is, and how sure that is.

One cell (network, size, strategy, BN mode) is chosen, by images that were held out; every other cell, and the baseline
that trains nothing, is compared with it by the same tests as a claim's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.advice import Gain
from studies.report.effects import Answers
from studies.report.findings import FAILS, HOLDS, Verdict
from studies.report.observations import HALVES, START
from studies.report.verdicts import judge
from studies.spec.claim import Claim
from studies.spec.columns import HEADLINES
from wdiv.numerics import share_interval
from wdiv.summary.best import Best
from wdiv.tuning.data.remarks import UNEQUAL
from wdiv.tuning.strategy.spelling import parse

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cell", "Rival", "Recommendation", "in_plain_words", "recommend"]

CELL = ("model", "per_class", "strategy", "bn_mode")
"""What tells a cell."""
KINDS = {
    "all": "everything", "conv": "convolutions", "bn": "BatchNorm", "norm": "normalisation", "linear": "linear layers",
    "fc": "classifier", "beside": "a small network beside it",
}  # fmt: skip
"""Of layers, in plain words."""
VERDICTS = {
    "better": "Better on the test images", "within noise": "Within noise of it", "worse": "Worse",
    "not compared": "Not compared, as one of the two has not learned its training images",
}  # fmt: skip
"""On whatever is beside the chosen cell -> how those are told."""
UNSHOWN = "that fine-tuning pays is not shown"
Cell = Mapping[str, str]
"""Column of :data:`CELL` -> value."""


@dataclass(frozen=True)
class Rival:
    """A cell, or a baseline, beside the one that was chosen.

    found  of the claim that the chosen one is better; None of the chosen one itself
    row    of it in :func:`wdiv.summary.accuracies`
    """

    cell: Cell
    baseline: bool
    row: Mapping[str, Any]
    found: Verdict | None

    @property
    def verdict(self) -> str:
        """``chosen``, or whether it is better, worse, or within noise of the one that was; or ``not compared``, as one
        of the two has not learned its training images."""
        if self.found is None:
            return "chosen"
        if self.found.effect != self.found.effect:
            return "not compared"
        return {HOLDS: "worse", FAILS: "better"}.get(self.found.verdict, "within noise")

    @property
    def difference(self) -> str:
        """In points, below or above the chosen one, and its interval; empty where there is none.

        The tests are of the chosen one less this; told is this less the chosen one.
        """
        if self.found is None or self.verdict == "not compared":
            return ""
        ends = "" if self.found.low != self.found.low else _ends(-self.found.high, -self.found.low)
        return f"{0.0 - 100 * self.found.effect:+.1f}{ends}"


@dataclass(frozen=True, eq=False)
class Recommendation:
    """What there is to do.

    best        how the choice was made, and the run to use
    chosen      the cell;  rivals: all others, baselines first, then in the order of their accuracy
    baseline    the best that trains nothing, by cross-validation on the training images; None where there is none
    confusion   of the chosen cell, the sum over its seeds, (classes, classes)
    outlook     what larger images, and more of them, would gain, by the baseline on the training images
    curve       training images of each class -> accuracy of the chosen cell, where there are several sizes
    moved       of its layers, which and in which stage most: kind -> (value over all of the trunk, stage, value there)
    """

    best: Best
    chosen: Rival
    rivals: Sequence[Rival]
    baseline: Rival | None
    classes: Sequence[str]
    confusion: np.ndarray
    names: Sequence[str]
    moved: Mapping[str, tuple[float, str, float]]
    outlook: Sequence[Gain] = ()
    curve: Mapping[str, float] = field(default_factory=dict)

    @property
    def everything(self) -> Sequence[Rival]:
        """The chosen cell and all others, the best first."""
        return sorted([self.chosen, *self.rivals], key=lambda one: -float(one.row["last"]))

    def called(self, cell: Cell) -> str:
        """A cell by what tells it from the others here.

        A strategy alone where all are of one network, size and mode.
        """
        words = [cell[name] for name in ("model",) if name in self.names]
        words.append(cell["strategy"])
        if "bn_mode" in self.names and cell["bn_mode"]:
            words.append(cell["bn_mode"])
        if "per_class" in self.names:
            words.append("all images" if cell["per_class"] == "all" else f"{cell['per_class']} a class")
        return " ".join(words)

    def _name(self, one: Rival) -> str:
        return one.cell["strategy"] if one.baseline else self.called(one.cell)

    def table(self) -> list[dict[str, str]]:
        """The chosen cell and all others, the best first, in words."""
        return [
            {
                "what trains": f"nothing ({self._name(one)})" if one.baseline else self._name(one),
                "right, %": _percent(one.row["last"]),
                "95 %": "" if one.row["low"] != one.row["low"] else _ends_of(one.row["low"], one.row["high"]),
                "against the chosen": one.difference, "verdict": one.verdict,
                "balanced, %": _percent(one.row["balanced_accuracy"]),
            }
            for one in self.everything
        ]  # fmt: skip

    def by_class(self) -> list[dict[str, str]]:
        """Of each class, by the chosen cell: its test images over all seeds, how many are right, and for what the
        others are taken most often."""
        found = []
        for true, name in enumerate(self.classes):
            row, seeds = self.confusion[true], int(self.chosen.row["seeds"])
            wrong = np.where(np.arange(len(row)) == true, 0, row)
            answers = self.confusion[:, true].sum()
            taken = f"{self.classes[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else ""
            found.append({
                "class": name, "test images": f"{row.sum() / seeds:g}",
                "right, %": _percent(row[true] / row.sum()) if row.sum() else "",
                "of its answers right, %": _percent(row[true] / answers) if answers else "",
                "taken most often for": taken,
            })  # fmt: skip
        return found

    def sentences(self) -> Iterator[str]:
        """The answer, a sentence or two each."""
        yield self._what()
        yield from self._against_baseline()
        yield from self._others()
        yield from self._confused()
        yield from self._uneven()
        yield from self._moved()
        if len(self.curve) > 1:
            sizes, shares = ", ".join(self.curve), ", ".join(map(_percent, self.curve.values()))
            yield f"With {sizes} training images a class it has {shares} %."
        yield from self._next()

    def _what(self) -> str:
        cell, row = self.chosen.cell, self.chosen.row
        seeds = int(row["seeds"])
        over = f", the mean of {seeds} seeds" if seeds > 1 else ""
        found = f"{_share(row['last'], row['low'], row['high'])} of {int(row['n_test'])} test images right{over}"
        if not self._learned:
            return (
                f"Nothing was learned: the best, {self.called(cell)}, has {found}, and to answer "
                f"{self._largest!r} always has {_percent(row['majority_share'])} %."
            )
        statistics = f" with {cell['bn_mode']} statistics" if cell["bn_mode"] in ("frozen", "batch", "adapt") else ""
        network = f" of {cell['model']}" if "model" in self.names else ""
        what = f"Fine-tune {in_plain_words(cell['strategy'])}{network}{statistics} ({cell['strategy']})"
        return f"{what}: {found}. {self._how}."

    @property
    def _how(self) -> str:
        """How it was chosen."""
        if self.best.optimistic:
            return "The test images themselves chose it, so that figure flatters"
        return "It was chosen by training images that were held out, not by the test images"

    @property
    def _learned(self) -> bool:
        """The chosen one is above the share of the largest class, by its interval."""
        return bool(self.chosen.row["low"] > self.chosen.row["majority_share"])

    @property
    def _largest(self) -> str:
        return self.classes[int(np.argmax(self.confusion.sum(axis=1)))]

    def _against_baseline(self) -> Iterator[str]:
        if self.baseline is None or self.baseline.found is None:
            return
        one, found = self.baseline, self.baseline.found
        row, name = one.row, one.cell["strategy"]
        if one.verdict == "not compared":
            learned = row["low"] > row["majority_share"]
            yield (
                f"To train nothing ({name} on frozen features) has "
                f"{_share(row['last'], row['low'], row['high'])}{': take that' if learned else ''}."
            )
            return
        has = f"To train nothing ({name} on frozen features) has {_share(row['last'], row['low'], row['high'])}"
        sure = {
            "worse": "so fine-tuning is better", "better": "so fine-tuning is worse; take that instead",
            "within noise": f"which may be chance: {UNSHOWN}",
        }[one.verdict]  # fmt: skip
        told = f"{one.difference} points against it, {sure}" if found.effect else f"as many: {UNSHOWN}"
        yield f"{has}, {told}."
        if one.verdict == "within noise" and found.smallest == found.smallest:
            few = f"Of so few test images and seeds ({int(self.chosen.row['n_test'])} and {found.seeds})"
            only = f"only a difference of about {100 * found.smallest:.0f} points or more"
            told = only if found.smallest < 1.0 else "no difference at all"
            yield f"{few} {told} is told from chance in 4 of 5 cases."

    def _others(self) -> Iterator[str]:
        for verdict, words in VERDICTS.items():
            ours = [one for one in self.rivals if one.verdict == verdict and not one.baseline]
            if ours:
                told = "; ".join(f"{self.called(one.cell)} {one.difference}".strip() for one in ours)
                yield f"{words} (points): {told}."
        alike = [one for one in self.rivals if one.verdict in ("within noise", "better")]
        if alike:
            least = min([*alike, self.chosen], key=lambda one: _trained(one))
            if least is not self.chosen:
                layers = "nothing" if least.baseline else in_plain_words(least.cell["strategy"])
                yield f"The least to train that is no worse, as far as these tell: {layers} ({self._name(least)})."

    def _confused(self) -> Iterator[str]:
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        if not wrong.sum():
            yield "No test image was answered wrongly."
            return
        told = []
        for place in np.argsort(-wrong, axis=None, kind="stable")[:2]:
            true, answer = np.unravel_index(place, wrong.shape)
            if wrong[true, answer]:
                of = self.confusion[true].sum()
                told.append(
                    f"{self.classes[true]!r} is taken for {self.classes[answer]!r} ({wrong[true, answer]} of {of})"
                )
        seeds = int(self.chosen.row["seeds"])
        counted = f", over {seeds} seeds" if seeds > 1 else ""
        yield f"Most often wrong{counted}: {'; '.join(told)}."

    def _uneven(self) -> Iterator[str]:
        images = self.confusion.sum(axis=1)
        if images.max() > UNEQUAL * max(1, images[images > 0].min()):
            yield (
                f"The classes are uneven: {self._largest!r} alone is "
                f"{_percent(self.chosen.row['majority_share'])} % of the test images; the mean of what is right in "
                f"each class (balanced accuracy) is {_percent(self.chosen.row['balanced_accuracy'])} %."
            )

    def _moved(self) -> Iterator[str]:
        told = [
            f"{KINDS[kind]} by {value:.2g} of what they give" + (f", most in {stage} ({there:.2g})" if stage else "")
            for kind, (value, stage, there) in self.moved.items()
        ]
        if told:
            yield f"What moved: {'; '.join(told)}."

    def _next(self) -> Iterator[str]:
        known = sorted((gain for gain in self.outlook if gain.known), key=lambda gain: -gain.value)
        sure = [gain for gain in known if gain.sure]
        by = "by the SVM on frozen features, in cross-validation on the training images"
        if sure:
            yield f"What would help most, {by}: {'; then '.join(gain.in_words() for gain in sure)}."
        elif known:
            told = "; ".join(gain.in_words() for gain in known)
            yield f"Neither larger images nor more of them would surely help, {by}: {told}."
        worst = min(range(len(self.classes)), key=self._right_of)
        if self._right_of(worst) < 1.0:
            row = self.confusion[worst]
            yield (
                f"The class to look at first, for wrong labels and for more images, is {self.classes[worst]!r}: "
                f"{row[worst]} of {row.sum()} right."
            )

    def _right_of(self, label: int) -> float:
        """The share of a class that is answered rightly; of one without test images, all."""
        row = self.confusion[label]
        return float(row[label] / row.sum()) if row.sum() else 1.0


def recommend(
    results: pd.DataFrame, best: Best, observations: pd.DataFrame, answers: Answers,
    in_modes: Collection[str] = (), outlook: Sequence[Gain] = (),
) -> Recommendation | None:  # fmt: skip
    """What to do by the runs and baselines of one store; None where none of its runs is finished, or none has answers.

    results  :func:`studies.grid.results.results`;  best: :func:`wdiv.summary.best.best` of the same
    observations, answers, in_modes   as for :func:`~studies.report.verdicts.judge`
    outlook  :func:`studies.grid.outlook.load` of it
    """
    accuracy = observations[observations["measure"].eq("accuracy") & observations["part"].eq("")]
    sizes = dict(zip(accuracy["run"], accuracy["per_class"], strict=True))
    networks = dict(zip(accuracy["run"], accuracy["model"], strict=True))
    table = results[results["run"].isin(sizes)].assign(
        per_class=lambda one: one["run"].map(sizes), model=lambda one: one["run"].map(networks)
    )
    chosen = table[table["run"] == (best.whole or best.run)]
    if chosen.empty or not isinstance(chosen.iloc[0].get("confusion"), list):
        return None
    at = {name: str(chosen.iloc[0][name]) for name in CELL}
    size = at["per_class"]
    groups: dict[tuple[str, ...], pd.DataFrame] = {
        tuple(map(str, keys)): rows for keys, rows in table.groupby([*CELL], sort=False)
    }
    trained = {key: bool((rows["epochs"] > 0).any()) for key, rows in groups.items()}
    ours = tuple(at.values())
    others = [key for key in groups if key != ours and dict(zip(CELL, key, strict=True))["per_class"] == size]
    claims = [_claim(number, at, dict(zip(CELL, key, strict=True)), trained[key]) for number, key in enumerate(others)]
    verdicts = judge(claims, observations, answers=answers, in_modes=in_modes)
    found = [
        Rival(dict(zip(CELL, key, strict=True)), not trained[key], _row(groups[key]), verdict)
        for key, verdict in zip(others, verdicts, strict=True)
    ]
    rivals = sorted(found, key=lambda one: (not one.baseline, -float(one.row["last"])))
    frozen = [one for one in rivals if one.baseline]
    names = [
        name for name in CELL
        if len({key[CELL.index(name)] for key in (ours, *others) if trained[key]}) > 1
    ]  # fmt: skip
    mine = groups[ours]
    return Recommendation(
        best, Rival(at, False, _row(mine), None), rivals, frozen[0] if frozen else None,
        chosen.iloc[0]["classes"], np.sum(mine["confusion"].dropna().tolist(), axis=0), names,
        _moved(observations[observations[[*CELL]].eq(at).all(axis=1)]), outlook, _curve(groups, at),
    )  # fmt: skip


def _curve(groups: Mapping[tuple[str, ...], pd.DataFrame], at: Cell) -> dict[str, float]:
    """The accuracy of a cell at each size, from few images to many."""
    alike = [
        rows for key, rows in groups.items()
        if all(value == at[name] for name, value in zip(CELL, key, strict=True) if name != "per_class")
    ]  # fmt: skip
    ordered = sorted(alike, key=lambda rows: float(rows["n_train"].mean()))
    return {str(rows["per_class"].iloc[0]): float(rows["last"].mean()) for rows in ordered}


def _moved(ours: pd.DataFrame) -> dict[str, tuple[float, str, float]]:
    """By the change of outputs, or its proxy where that is all there is: medians over layers, means over seeds."""
    metric = next((name for name in HEADLINES[:2] if name in set(ours["measure"])), None)
    rows, found = ours[ours["measure"].eq(metric) & ours["against"].eq(START)], {}
    for kind, layers in (("conv", "conv:weight"), ("bn", "bn:affine"), ("norm", "norm:affine"),
                         ("linear", "linear:weight")):  # fmt: skip
        by_part = rows[rows["layers"] == layers].groupby("part", sort=False)["value"].mean()
        if "all" in by_part and by_part["all"] > 0:
            stages = by_part.drop([part for part in HALVES if part in by_part])
            stage = str(stages.idxmax()) if len(stages) > 1 else ""
            found[kind] = (float(by_part["all"]), stage, float(stages.max()) if stage else 0.0)
    return found


def _claim(number: int, ours: Cell, theirs: Cell, trained: bool) -> Claim:
    """That one cell is better than another."""
    named = [name for name in CELL if name != "per_class" and (trained or name not in ("model", "bn_mode"))]
    same = {name: ours[name] for name in named if ours[name] == theirs[name]} | {"per_class": ours["per_class"]}
    left, right = ({name: one[name] for name in named if name not in same} for one in (ours, theirs))
    if not trained:
        same |= {"model": ours["model"]}
        left |= {"bn_mode": ours["bn_mode"]}
    return Claim(f"better-than-{number}", "It is better.", "", left, right, "more", of=same)


def _row(rows: pd.DataFrame) -> dict[str, Any]:
    """Over the seeds of a cell."""
    n_test = int(rows["n_test"].min())
    share = share_interval(rows["last"], n_test)
    return {
        "last": float(share.value), "low": float(share.low), "high": float(share.high), "n_test": n_test,
        "seeds": len(rows), "balanced_accuracy": float(rows["balanced_accuracy"].mean()),
        "majority_share": float(rows["majority_share"].mean()), "seconds": float(rows["seconds"].mean()),
    }  # fmt: skip


def in_plain_words(strategy: str) -> str:
    """Which layers a strategy trains.

    >>> in_plain_words("conv+bn+fc"), in_plain_words("bn@stage4+fc")
    ('convolutions, BatchNorm and classifier', 'BatchNorm of stage4 and classifier')
    >>> in_plain_words("fc")
    'the classifier'
    """
    terms = dict.fromkeys(
        KINDS.get(term.kind, term.kind) + (f" of {' and '.join(term.stages)}" if term.stages else "")
        for phase in parse(strategy).phases for term in phase.terms
    )  # fmt: skip
    *most, last = terms
    return f"{', '.join(most)} and {last}" if most else f"the {last}" if last == KINDS["fc"] else last


def _trained(one: Rival) -> tuple[int, int, float]:
    """How much of the network a cell trains: kinds of layers; of equals, frozen statistics and the best come first."""
    if one.baseline:
        return 0, 0, -float(one.row["last"])
    kinds = {term.kind for phase in parse(one.cell["strategy"]).phases for term in phase.terms}
    return len(KINDS) if "all" in kinds else len(kinds), int(one.cell["bn_mode"] == "batch"), -float(one.row["last"])


def _share(value: float, low: float, high: float) -> str:
    return f"{_percent(value)} %{'' if low != low else f' [{_percent(low)}, {_percent(high)}]'}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def _ends_of(low: float, high: float) -> str:
    return f"{_percent(low)} to {_percent(high)}"


def _ends(low: float, high: float) -> str:
    """Of a difference of shares, which is no less than −100 points and no more than 100."""
    return f" [{100 * max(low, -1.0):+.1f}, {100 * min(high, 1.0):+.1f}]"
