"""A figure of a study, as data, and the kinds of figures that there are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from studies.spec.columns import ACCURACIES, COLUMNS, DISTANCES, labelled, selector
from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.registry import Registry, did_you_mean
from wdiv.store.files import plain_name

__all__ = ["FIGURE_KINDS", "Figure", "FigureKind", "Where", "listed"]

COLUMN_NAMES = tuple(name for name in dict.fromkeys((*COLUMNS, *DISTANCES)) if name != "value")
Where = Mapping[str, "str | tuple[str, ...]"]


def listed(values: str | Sequence[str]) -> tuple[str, ...]:
    """One value, or several, as several."""
    return (values,) if isinstance(values, str) else tuple(values)


@dataclass(frozen=True)
class FigureKind:
    """A kind of figure; :mod:`studies.report.figures.drawing` draws it.

    about   one line on what it shows
    one     columns that ``where`` must give one value;  two: … two values;  order: … a list, in the order to be shown
    per_model  one file a model;  by_layer: drawn from the table by layer
    accuracy   it shows accuracies, so ``measure`` is known
    of_study   drawn from the study and its images, and from no run
    """

    name: str
    about: str
    one: tuple[str, ...] = ()
    two: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    per_model: bool = False
    by_layer: bool = False
    accuracy: bool = True
    of_study: bool = False


FIGURE_KINDS: Registry[FigureKind] = Registry(
    "kind of figure",
    [
        FigureKind(
            "panels",
            "Divergence by layer for one network: above, each size against the start; below, each pair of sizes.",
            one=("measure", "layers", "strategy"),
            per_model=True,
            by_layer=True,
            accuracy=False,
        ),
        FigureKind(
            "profile",
            "Mean divergence of each stage from the start, a line a condition, a panel a kind and role of layer.",
            one=("measure",),
            per_model=True,
            accuracy=False,
        ),
        FigureKind(
            "accuracy",
            "Test accuracy over the number of training images: a line a strategy, a panel a model and condition.",
        ),
        FigureKind(
            "bars",
            "Training and test accuracy by strategy, a bar each; a dot a seed, a white square the paper's. A"
            " row a model.",
        ),
        FigureKind(
            "lines",
            "Accuracy over the strategies in the order asked for, joined by straight lines: training and test.",
            order=("strategy",),
        ),
        FigureKind(
            "corners",
            "Test accuracy by strategy where data are few or many (rows) and near to the source or far from it"
            " (columns).",
            two=("condition", "per_class"),
            per_model=True,
        ),
        FigureKind(
            "layers",
            "Test accuracy of a baseline on the features of one layer after the other: a line a condition and"
            " baseline.",
            per_model=True,
        ),
        FigureKind(
            "augmented", "An image of each class, and what augmentation makes of it.", accuracy=False, of_study=True
        ),
    ],
)


@dataclass(frozen=True)
class Figure:
    """One figure of a study, as data.

    name   of its file;  title: above it;  kind: a name of :data:`FIGURE_KINDS`
    where  column -> the value, or the values in the order to be shown, of the rows that it is drawn from
    labels  strategy -> what it is called, where strategies are told apart by name

    >>> Figure("figure1", "conv kernels", "panels", {"measure": "l2", "layers": "conv:weight", "strategy": "fc"}).kind
    'panels'
    >>> Figure("figure2", "", "bars", {"stratgy": "fc"})
    Traceback (most recent call last):
    wdiv.errors.BadInput: figure 'figure2': no column 'stratgy' to choose by; did you mean 'strategy' or 'stage'?
    """

    name: str
    title: str
    kind: str
    where: Where = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind, where, here = FIGURE_KINDS[self.kind], dict[str, Any](self.where), f"figure {self.name!r}"
        if not self.name or self.name != plain_name(self.name):
            raise BadInput(f"{here}: its name is a file's; letters, digits, '.', '-', '_' and '=' only")
        for column, values in where.items():
            if column not in COLUMN_NAMES:
                raise BadInput(f"{here}: no column {column!r} to choose by; {did_you_mean(column, COLUMN_NAMES)}")
            found = selector(column, values, f"{here}: {column}")
            where[column] = found if isinstance(values, (list, tuple)) else found[0]
        object.__setattr__(self, "where", where)
        object.__setattr__(self, "labels", labelled(self.labels, f"{here}: labels"))
        wants: list[tuple[str, int, float, str]] = [
            *((column, 1, 1, "one value") for column in kind.one),
            *((column, 2, 2, "two values") for column in kind.two),
            *((column, 2, math.inf, "values in their order") for column in kind.order),
        ]
        for column, least, most, words in wants:
            came = listed(where.get(column, ()))
            if not least <= len(came) <= most:
                what = f"wants {words} of {column}, not {', '.join(came) or 'none'}"
                raise BadInput(f"{here}: a figure of kind {kind.name!r} {what}")
        for value in self.measures:
            if (value in ACCURACIES) != kind.accuracy:
                known = ACCURACIES if kind.accuracy else METRICS
                raise BadInput(f"{here}: measure {value!r}; {did_you_mean(value, known)}")

    @property
    def measures(self) -> tuple[str, ...]:
        """What it shows, where it says so."""
        return listed(self.where.get("measure", ()))
