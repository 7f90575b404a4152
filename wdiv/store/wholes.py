"""The runs of one cross-validation are told as one, whose test images are all images: which belong together, and how
their answers are joined."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from wdiv.errors import BadStore
from wdiv.store.predictions import ImageList, Predictions

__all__ = ["division", "join", "whole_name", "wholes"]

T = TypeVar("T")
Fold = Mapping[str, int]
"""As a run's record has it: ``number`` ``of`` how many, in which ``repeat``, drawn by which ``seed``."""


def whole_name(name: str, fold: Fold | None) -> str:
    """How a run, or a baseline, of a fold is called together with those of the others; of no fold, as it is.

    >>> whole_name("lenet-digits-all-fc-auto-s0-f2of5", {"number": 2, "of": 5})
    'lenet-digits-all-fc-auto-s0-5folds'
    """
    return name if fold is None else re.sub(r"-f\d+of\d+$", "", name) + f"-{fold['of']}folds"


def wholes(told: Iterable[tuple[str, Fold | None, T]]) -> dict[str, list[T]]:
    """:func:`whole_name` -> what is of it, by the number of the fold; without those that lack a fold.

    told  name, fold and what it is, of each

    >>> both, one = {"of": 2}, {"of": 3}
    >>> wholes([("a-f2of2", both | {"number": 2}, 7), ("a-f1of2", both | {"number": 1}, 6), ("b", None, 5),
    ...         ("c-f1of3", one | {"number": 1}, 4)])
    {'a-2folds': [6, 7], 'b': [5]}
    """
    found: dict[str, dict[int, T]] = {}
    needed: dict[str, int] = {}
    for name, fold, what in told:
        whole = whole_name(name, fold)
        found.setdefault(whole, {})[1 if fold is None else fold["number"]] = what
        needed[whole] = 1 if fold is None else fold["of"]
    return {
        name: [parts[number] for number in sorted(parts)] for name, parts in found.items()
        if len(parts) == needed[name]
    }  # fmt: skip


def division(fold: Fold | None) -> dict[str, int]:
    """How images are divided, whichever fold a run is of; empty where they are not."""
    return {} if fold is None else {"folds": fold["of"], "split seed": fold["seed"] - fold["repeat"] + 1}


def join(parts: Sequence[Predictions]) -> Predictions:
    """The answers about all images, in the order of the images, of the answers about those of each fold.

    Raises :class:`~wdiv.errors.BadStore` where an image was asked about twice, or classes differ.
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    rows = np.concatenate([one.images.rows for one in parts])
    if len(np.unique(rows)) != len(rows) or any(one.classes != first.classes for one in parts):
        raise BadStore("the folds of a cross-validation are not of the same images and classes")
    order = np.argsort(rows, kind="stable")
    names = [name for one in parts for name in one.images.names]
    names = [names[place] for place in order]
    labels = np.concatenate([one.images.labels for one in parts])[order]
    told = json.dumps([names, labels.tolist(), rows[order].tolist()]).encode()
    images = ImageList(hashlib.sha256(told).hexdigest(), tuple(names), labels, rows[order])
    return Predictions(np.concatenate([one.logits for one in parts])[order], images, first.classes, first.probabilities)
