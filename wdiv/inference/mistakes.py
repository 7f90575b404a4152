"""The test images that a store's networks get wrong, from the predictions that it keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadData, BadStore
from wdiv.inference.choice import Choice, choose
from wdiv.numerics.classification import PROBABILITIES
from wdiv.store import predictions
from wdiv.store.predictions import Predictions
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.training.own_images import own_split

__all__ = ["Mistake", "Mistakes", "mistakes", "of_all_seeds", "pixels_of"]


@dataclass(frozen=True)
class Mistake:
    """A test image that at least one network got wrong.

    file, label  its name and its class;  answer: what most of those that got it wrong took it for
    probability  of that answer, the mean over those networks
    wrong, of    how many networks got it wrong, of how many that were asked
    row          in the test set
    """

    file: str
    label: str
    answer: str
    probability: float
    wrong: int
    of: int
    row: int


@dataclass(frozen=True)
class Mistakes:
    """What :func:`mistakes` finds: by true class, in each those first that most networks get wrong.

    images  class -> test images of it;  networks: how many were asked of an image, at most
    """

    found: tuple[Mistake, ...]
    images: Mapping[str, int]
    networks: int

    @property
    def in_words(self) -> str:
        """How many there are.

        >>> Mistakes((), {"a": 9}, 3).in_words
        'each of 9 test images is answered rightly by each of 3 networks'
        """
        total, n = sum(self.images.values()), self.networks
        by = f" by each of {n} networks" if n > 1 else ""
        if not self.found:
            return f"each of {total} test images is answered rightly{by}"
        every = sum(one.wrong == one.of for one in self.found)
        told = f"{len(self.found)} of {total} test images are answered wrongly"
        return told + (f" by at least one of {n} networks, {every} by all of them" if n > 1 else "")

    def shown(self, most: int) -> tuple[Mistake, ...]:
        """So many of them, those that most networks get wrong and are surest of, in their order."""
        ranked = sorted(range(len(self.found)), key=lambda i: (-self.found[i].wrong, -self.found[i].probability))
        return tuple(self.found[i] for i in sorted(ranked[:most]))

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def of_all_seeds(spec: str | Path, dataset: str | None = None) -> Choice:
    """The run that is meant; of a store, all runs of its best strategy that have learned something.

    Raises what :func:`~wdiv.inference.choice.choose` does.
    """
    found = choose(spec, dataset=dataset)
    several = found.best is not None and len(found.best.chosen.sound) > 1
    return choose(spec, "seeds", dataset) if several else found


def mistakes(choice: Choice) -> Mistakes:
    """The test images that networks got wrong after the epochs that are meant; each image is judged by those of them
    that it was a test image of.

    Raises :class:`~wdiv.errors.BadStore` where their predictions are not kept.
    """
    kept = [_kept(choice, number) for number in range(len(choice.members))]
    classes = kept[0].classes
    asked: dict[tuple[str, int, int], list[tuple[int, np.ndarray]]] = {}  # name, row, label -> each one's answer, and p
    for one in kept:
        p = np.exp(PROBABILITIES[str(one.probabilities)](one.logits.astype(np.float64)))
        images = zip(one.images.names, one.images.rows.tolist(), one.images.labels.tolist(), strict=True)
        for image, answer, of_image in zip(images, one.logits.argmax(axis=1).tolist(), p, strict=True):
            asked.setdefault(image, []).append((answer, of_image))
    found = [mistake for image, each in asked.items() if (mistake := _mistake(image, each, classes))]
    order = {name: place for place, name in enumerate(classes)}
    found.sort(key=lambda one: (order[one.label], -one.wrong, -one.probability, one.file))
    counts = np.bincount([label for *_, label in asked], minlength=len(classes)).tolist()
    return Mistakes(tuple(found), dict(zip(classes, counts, strict=True)), max(map(len, asked.values())))


def _mistake(
    image: tuple[str, int, int], each: Sequence[tuple[int, np.ndarray]], classes: Sequence[str]
) -> Mistake | None:
    """What is to be said of an image that networks have given an answer and probabilities; None if all are right."""
    name, row, label = image
    wrong = [answer for answer, _ in each if answer != label]
    if not wrong:
        return None
    answer = int(np.bincount(wrong).argmax())
    mean = float(np.mean([p[answer] for given, p in each if given == answer]))
    return Mistake(name, classes[label], classes[answer], mean, len(wrong), len(each), row)


def _kept(choice: Choice, number: int) -> Predictions:
    member = choice.members[number]
    found = predictions.of_run(member.run, member.epochs[-1])
    if found is None:
        raise BadStore(
            f"{member.name}: the store keeps no predictions of its test images after that epoch; 'wdiv evaluate' makes "
            "them anew of images that are given"
        )
    return found


def pixels_of(choice: Choice, found: Sequence[Mistake], data: str | None = None) -> np.ndarray:
    """Those test images themselves, (n, 3, size, size) uint8, in the size that the network sees.

    data: where they are now. Raises :class:`~wdiv.errors.BadData` where they are gone, or others.
    """
    again = "" if data else "; give the folder where they are now with --data (data=)"
    try:
        split = own_split(choice.first, int(choice.first.record.input["size"]), data)
    except BadData as error:
        raise BadData(f"{error}{again}") from None
    parts = [part for part in (split.test, split.pool) if all(_is_in(part, one) for one in found)]
    if not parts:
        raise BadData(f"{choice.first.path}: its images have other names now{again}")
    return parts[0].pixels[[one.row for one in found]]


def _is_in(part: ImageSet, one: Mistake) -> bool:
    return one.row < len(part) and part.names[one.row] == one.file
