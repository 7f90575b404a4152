"""Figures of accuracy: over sizes, by strategy, by layer, and in the corners of size and similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from studies.report.figures.asked import StudyFigure
from studies.report.figures.common import (
    GREY,
    VARIANTS,
    chosen,
    colours,
    in_percent,
    new,
    of_paper,
    plain,
    seeds,
    strategies,
    titled,
)
from wdiv.errors import BadInput

__all__ = ["accuracy", "bars", "corners", "layers", "lines"]

WORDS = {"accuracy": "test accuracy", "train_accuracy": "training accuracy"}
LABEL = "accuracy, %"
PAIR = {"train_accuracy": "#9fbfdc", "accuracy": "#0b5394"}


def accuracy(asked: StudyFigure) -> Any:
    """Test accuracy over the number of training images: a line a strategy, a panel a model and condition.

    Line and band: mean over the seeds and its 95 % interval, for other test images and other seeds. Dashed: the
    paper's.
    """
    table = in_percent(_ordered(asked, ("accuracy",), ("dataset", "bn_mode"), ("model", "condition")))
    places = list(table.groupby(["model", "condition"], sort=False))
    wide = min(len(places), 3)
    tall = -(-len(places) // wide)
    figure, axes = new(tall, wide, 3.6 * wide + 1.4, 2.9 * tall + 0.4, sharey=True)
    palette = colours(table["label"])
    for ax in axes.flat[len(places) :]:
        ax.set_visible(False)
    for ax, ((model, condition), mine) in zip(plain(axes.flat), places, strict=False):
        for name, group in mine.groupby("label", sort=False):
            means = seeds(group, ["n_train"], asked.n_test).sort_values("n_train")
            ax.plot(means["n_train"], means["mean"], "o-", color=palette[name], markersize=4, label=name)
            ax.fill_between(means["n_train"], means["low"], means["high"], color=palette[name], alpha=0.15, linewidth=0)
            theirs = of_paper(asked.paper, model=model, condition=condition, strategy=group["strategy"].iloc[0],
                              measure="accuracy")  # fmt: skip
            if theirs is not None and "n_train" in theirs:
                theirs = in_percent(theirs).sort_values("n_train")
                ax.plot(
                    theirs["n_train"], theirs["value"], "s--", color=palette[name], markersize=3.5, mfc="white", lw=1
                )
        sizes = sorted({*mine["n_train"]})
        ax.set_xscale("log")
        ax.minorticks_off()
        ax.set_xticks(sizes, [str(size) for size in sizes])
        ax.set_title(", ".join(filter(None, (model, condition))), loc="left", fontweight="bold")
        ax.set_xlabel("training images")
    for row in axes:
        row[0].set_ylabel("test " + LABEL)
    handles, names = [[line for ax in axes.flat for line in ax.get_legend_handles_labels()[i]] for i in (0, 1)]
    unique = dict(zip(names, handles, strict=True))
    figure.legend(unique.values(), unique.keys(), loc="outside right center", frameon=False)
    return _titled(figure, asked, "dashed, white squares: the paper's" if asked.paper is not None else "")


def bars(asked: StudyFigure) -> Any:
    """Training and test accuracy by strategy, a bar each; a dot a seed, a white square the paper's. A row a model.

    Whiskers are the 95 % interval of the mean, for other test images and other seeds.
    """
    table = in_percent(_ordered(asked, ("train_accuracy", "accuracy"), VARIANTS, ("model",)))
    models = list(dict.fromkeys(table["model"]))
    names = list(dict.fromkeys(table["label"]))
    figure, axes = new(len(models), 1, max(4.5, 0.85 * len(names) + 1.2), 2.7 * len(models) + 0.5)
    for ax, model in zip(plain(axes[:, 0]), models, strict=True):
        mine = table[table["model"].eq(model)]
        measures = [name for name in PAIR if name in set(mine["measure"])]
        width = 0.8 / len(measures)
        for i, (measure, colour) in enumerate((name, PAIR[name]) for name in measures):
            group = mine[mine["measure"].eq(measure)]
            shift = (i - (len(measures) - 1) / 2) * width
            x = group["label"].map(names.index) + shift
            means = seeds(group.assign(x=x), ["x"], asked.n_test)
            ax.bar(means["x"], means["mean"], 0.92 * width, color=colour, label=WORDS[measure])
            if measure == "accuracy" and asked.n_test:
                ax.errorbar(means["x"], means["mean"], _reach(means), fmt="none", ecolor=GREY, elinewidth=0.8)
            ax.plot(x, group["value"], "o", color=GREY, markersize=2.5, alpha=0.7)
            theirs = _theirs(asked, model, measure, mine)
            at = [names.index(name) + shift for name in theirs]
            ax.plot(at, list(theirs.values()), "s", color="black", mfc="white", markersize=4.5)
        _ticks(ax, names)
        ax.set(ylim=(0, 104), ylabel=LABEL, xlim=(-0.6, len(names) - 0.4))
        ax.set_title(model, loc="left", fontweight="bold")
    _below(figure, axes[0, 0])
    return _titled(figure, asked, "white squares: the paper's" if asked.paper is not None else "")


def lines(asked: StudyFigure) -> Any:
    """Accuracy over the strategies in the order asked for, joined by straight lines: training and test.

    A panel a model and whatever else runs of one strategy differ in. Line and band: mean over the seeds and, of test
    accuracy, its 95 % interval; of training accuracy, least and most.
    """
    table = in_percent(_ordered(asked, ("train_accuracy", "accuracy"), VARIANTS, ("model",)))
    said = {name: asked.figure.labels.get(name, name) for name in table["strategy"]}
    variant = [label.removeprefix(said[name]) for label, name in zip(table["label"], table["strategy"], strict=True)]
    table = table.assign(panel=table["model"].astype(object) + variant)
    places = list(table.groupby(["panel", "model"], sort=False))
    names = [name for name in asked.figure.where["strategy"] if name in set(table["strategy"])]
    figure, axes = new(1, len(places), 4.2 * len(places) + 0.4, 3.4, sharey=True)
    for ax, ((panel, model), mine) in zip(plain(axes[0]), places, strict=True):
        for measure, colour in PAIR.items():
            group = mine[mine["measure"].eq(measure)]
            if group.empty:
                continue
            means = seeds(group, ["strategy"], asked.n_test).set_index("strategy").reindex(names)
            ax.plot(range(len(names)), means["mean"], "o-", color=colour, markersize=4, label=WORDS[measure])
            ax.fill_between(range(len(names)), means["low"], means["high"], color=colour, alpha=0.15, linewidth=0)
            theirs = _theirs(asked, model, measure, mine.assign(label=mine["strategy"]))
            at = [names.index(name) for name in theirs]
            values = [value for _, value in sorted(zip(at, theirs.values(), strict=True))]
            ax.plot(sorted(at), values, "s--", color=colour, markersize=4, mfc="white", lw=1)
        _ticks(ax, [said[name] for name in names])
        ax.set_title(panel, loc="left", fontweight="bold")
    axes[0, 0].set_ylabel(LABEL)
    _below(figure, axes[0, 0])
    return _titled(figure, asked, "dashed, white squares: the paper's" if asked.paper is not None else "")


def corners(asked: StudyFigure) -> Any:
    """Test accuracy by strategy where data are few or many (rows) and near to the source or far from it (columns).

    The best by mean over seeds is dark and starred; whiskers are the mean's 95 % interval.
    """
    where = asked.figure.where
    table = in_percent(_ordered(asked, ("accuracy",), ("bn_mode",), ("condition", "per_class")))
    names = list(dict.fromkeys(table["label"]))[::-1]
    figure, axes = new(2, 2, 9.0, 2 * (0.24 * len(names) + 0.9) + 0.5, sharex=True, sharey=True)
    for i, size in enumerate(where["per_class"]):
        for j, condition in enumerate(where["condition"]):
            ax = axes[i, j]
            mine = chosen(table, {"condition": condition, "per_class": size}, asked.figure.name)
            means = seeds(mine, ["label"], asked.n_test)
            best = means["mean"].idxmax()
            at = means["label"].map(names.index)
            ax.barh(at, means["mean"], 0.75, xerr=_reach(means), error_kw={"lw": 0.8, "ecolor": GREY},
                    color=["#0b5394" if row == best else "#b6cde3" for row in means.index])  # fmt: skip
            for row, place, high in zip(means.itertuples(), at, means["high"], strict=True):
                star = "  ★" if row.Index == best else ""
                ax.text(high + 1, place, f"{row.mean:.1f}{star}", va="center", fontsize=7.5)
            ax.set_yticks(range(len(names)), names)
            ax.set_xlim(0, 116)
            ax.set_xticks(range(0, 101, 20))
            ax.spines[["top", "right"]].set_visible(False)
            amount = "all images" if size == "all" else f"{size} images a class"
            ax.set_title(f"{condition}, {amount}", loc="left", fontweight="bold")
    figure.supxlabel("test " + LABEL, fontsize=9)
    return _titled(figure, asked, asked.model)


def layers(asked: StudyFigure) -> Any:
    """Test accuracy of a baseline on the features of one layer after the other: a line a condition and baseline.

    Line and band: mean over the seeds and its 95 % interval.
    """
    table = in_percent(asked.observations[asked.observations["measure"].eq("accuracy")])
    parts = table["strategy"].str.partition("@")
    table = table.assign(baseline=parts[0], layer=parts[2])
    table = strategies(table[table["layer"].ne("")], asked.figure.where, ())
    if table.empty:
        raise BadInput(f"figure {asked.figure.name!r}: no baseline on the features of one layer, such as svm@stage1")
    order = sorted(table["layer"].unique(), key=lambda name: (name == "bottleneck", name != "stem", len(name), name))
    if isinstance(asked.figure.where.get("strategy"), tuple):
        order = list(dict.fromkeys(table["layer"]))
    sizes = sorted({*zip(table["n_train"], table["per_class"], strict=True)})
    figure, axes = new(1, len(sizes), 3.4 * len(sizes) + 1.2, 3.2, sharey=True)
    by = [name for name in ("condition", "dataset", "baseline") if table[name].nunique() > 1] or ["baseline"]
    table = table.assign(label=table[by].agg(lambda row: ", ".join(filter(None, row)), axis=1))
    palette = colours(table["label"])
    for ax, (count, size) in zip(plain(axes[0]), sizes, strict=True):
        for name, group in table[table["n_train"].eq(count) & table["per_class"].eq(size)].groupby("label", sort=False):
            means = seeds(group, ["layer"], asked.n_test).set_index("layer").reindex(order)
            ax.plot(range(len(order)), means["mean"], "o-", color=palette[name], markersize=4, label=name)
            ax.fill_between(
                range(len(order)), means["low"], means["high"], color=palette[name], alpha=0.15, linewidth=0
            )
        ax.set_xticks(range(len(order)), order, rotation=25, ha="right")
        ax.set_title(f"{count} images", loc="left", fontweight="bold")
    axes[0, 0].set_ylabel("test " + LABEL)
    axes[0, -1].legend(frameon=False, loc="best")
    return _titled(figure, asked, asked.model)


def _ordered(asked: StudyFigure, measures: Sequence[str], by: Sequence[str], within: Sequence[str]) -> pd.DataFrame:
    table = chosen(asked.observations, {"measure": tuple(measures)}, asked.figure.name)
    return strategies(table, asked.figure.where, by, within, asked.figure.labels)


def _theirs(asked: StudyFigure, model: str, measure: str, table: pd.DataFrame) -> dict[str, float]:
    """Strategy -> the paper's accuracy in percent, of those that were run here."""
    theirs = of_paper(asked.paper, model=model, measure=measure)
    if theirs is None:
        return {}
    found = dict(zip(theirs["strategy"], 100 * theirs["value"], strict=True))
    return {
        name: found[strategy]
        for name, strategy in zip(table["label"], table["strategy"], strict=True)
        if strategy in found
    }


def _reach(means: pd.DataFrame) -> list[pd.Series]:
    """From the mean down to the low end and up to the high one."""
    return [means["mean"] - means["low"], means["high"] - means["mean"]]


def _ticks(ax: Any, names: Sequence[str]) -> None:
    many = sum(map(len, names)) > 40
    ax.set_xticks(range(len(names)), names, rotation=25 if many else 0, ha="right" if many else "center")


def _below(figure: Any, ax: Any) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)


def _titled(figure: Any, asked: StudyFigure, more: str) -> Any:
    return titled(figure, asked.title + (f"\n{more}" if more else ""))
