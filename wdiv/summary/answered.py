"""How well images were answered: the scores of a run's or a baseline's predictions, as columns of a table of runs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from wdiv.errors import BadStore
from wdiv.numerics.classification import FIGURES, ClassificationScores, classification_scores, scores_of_confusion

__all__ = ["answers", "by_class", "confusions_in_words", "one_class_notes", "scores_at"]

Row = Mapping[str, Any]


def scores_at(
    tree: xr.DataTree, places: Sequence[tuple[int, int | None]]
) -> tuple[ClassificationScores | None, tuple[str, ...]]:
    """The scores of the test images of runs after an epoch each, both by their place in the tree, and the names of the
    classes: of one run, or of the folds of one cross-validation, whose test images are taken together.

    None where those predictions are not kept, or damaged: a table has all else nevertheless. Reads no other epoch.
    """
    if any(epoch is None for _, epoch in places) or "predictions" not in tree.children:
        return None, ()
    node = tree.children["predictions"].to_dataset(inherit=False)
    run = places[0][0]
    classes = tuple(map(str, node["class_name"].values[run] if "class_name" in node else node["class"].values))
    found, labels = [], []
    for one, epoch in places:
        test = np.flatnonzero(node["part"].values[one] == "test")
        try:
            logits = node["logits"][one, epoch].values[test]
        except BadStore:
            return None, ()
        if not len(test) or np.isnan(logits).all():
            return None, classes
        found.append(logits)
        labels.append(node["label"].values[test])
    how = str(node["probabilities"].values[run])
    return classification_scores(np.concatenate(found), np.concatenate(labels), how), classes


def answers(scores: ClassificationScores | None, classes: Sequence[str]) -> dict[str, Any]:
    """Columns of one row: each of :data:`~wdiv.numerics.classification.FIGURES`, NaN where not known, and

    only_answer         the class that was answered for every test image; None where answers differ
    classes, confusion  names, and as lists the confusion matrix; None where not known

    >>> found = answers(scores_of_confusion(np.array([[3, 0], [1, 0]])), ["a", "b"])
    >>> found["only_answer"], found["balanced_accuracy"], found["confusion"]
    ('a', 0.5, [[3, 0], [1, 0]])
    """
    if scores is None:
        return dict.fromkeys(FIGURES, math.nan) | dict.fromkeys(("only_answer", "classes", "confusion"))
    only = scores.only_answer
    return {
        **{name: float(getattr(scores, name)) for name in FIGURES},
        "only_answer": None if only is None else classes[only],
        "classes": list(classes),
        "confusion": scores.confusion.tolist(),
    }


def by_class(row: Row) -> dict[str, dict[str, float]]:
    """``recall`` and ``precision`` -> class -> share of 1, of a row with the columns of :func:`answers`.

    >>> by_class({"classes": ["a", "b"], "confusion": [[3, 1], [0, 2]]})["recall"]
    {'a': 0.75, 'b': 1.0}
    """
    if not isinstance(row.get("confusion"), list):
        return {"recall": {}, "precision": {}}
    scores = scores_of_confusion(np.array(row["confusion"]))
    return {
        name: dict(zip(row["classes"], getattr(scores, name).tolist(), strict=True)) for name in ("recall", "precision")
    }


def confusions_in_words(row: Row, most: int = 3) -> list[str]:
    """The pairs of classes that are confused most, of a row with the columns of :func:`answers`: by the share of the
    true class that is taken for the other.

    >>> confusions_in_words({"classes": ["a", "b"], "confusion": [[3, 1], [0, 2]]})
    ["'a' is taken for 'b': 1 of 4"]
    """
    if not isinstance(row.get("confusion"), list):
        return []
    confusion, names = np.array(row["confusion"]), row["classes"]
    images = confusion.sum(axis=1)
    wrong = [(i, j) for i, j in np.argwhere(confusion > 0).tolist() if i != j]
    wrong.sort(key=lambda pair: (-confusion[pair] / images[pair[0]], -confusion[pair], pair))
    return [f"{names[i]!r} is taken for {names[j]!r}: {confusion[i, j]} of {images[i]}" for i, j in wrong[:most]]


def one_class_notes(rows: Iterable[Row]) -> list[str]:
    """A line for each class that is all that a ``run`` answers, whatever it is shown: the first such run, and how many.

    >>> one = {"only_answer": "a", "classes": ["a", "b"], "confusion": [[3, 0], [1, 0]]}
    >>> one_class_notes([{"run": "r"} | one])
    ["'a' is all that r answers: to each of its 4 test images, of which 75.0 % are of that class"]
    >>> one_class_notes([{"run": "r"} | one, {"run": "s"} | one])[0].partition(", ")[2]
    'of which 75.0 % are of that class; so it is of 1 more'
    """
    found: dict[str, str] = {}
    more: Counter[str] = Counter()
    for row in rows:
        name = row.get("only_answer")
        if isinstance(name, str) and name in found:
            more[name] += 1
        elif isinstance(name, str):
            images = np.array(row["confusion"]).sum(axis=1)
            share = 100 * images[row["classes"].index(name)] / images.sum()
            found[name] = (
                f"{name!r} is all that {row['run']} answers: to each of its {images.sum()} test images, of which "
                f"{share:.1f} % are of that class"
            )
    return [line + (f"; so it is of {more[name]} more" if more[name] else "") for name, line in found.items()]
