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

    images  class -> test images of it;  networks: how many were asked
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
        every = sum(one.wrong == n for one in self.found)
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
    """The test images that networks of one split got wrong after the epochs that are meant.

    Raises :class:`~wdiv.errors.BadStore` where their predictions are not kept, or not of the same images.
    """
    kept = [_kept(choice, number) for number in range(len(choice.members))]
    first = kept[0]
    if any(one.images.digest != first.images.digest for one in kept):
        raise BadStore(f"{choice.first.root}: its runs were not tested on the same images")
    labels, n = first.images.labels, len(kept)
    p = np.stack([np.exp(PROBABILITIES[str(one.probabilities)](one.logits.astype(np.float64))) for one in kept])
    answers = np.stack([one.logits.argmax(axis=1) for one in kept])
    wrong = answers != labels
    found = []
    for image in np.flatnonzero(wrong.any(axis=0)):
        whose = wrong[:, image]
        answer = int(np.bincount(answers[whose, image]).argmax())
        by = whose & (answers[:, image] == answer)
        names = (first.images.names[image], first.classes[labels[image]], first.classes[answer])
        mean = float(p[by, image, answer].mean())
        found.append(Mistake(*names, mean, int(whose.sum()), n, int(first.images.rows[image])))
    order = {name: place for place, name in enumerate(first.classes)}
    found.sort(key=lambda one: (order[one.label], -one.wrong, -one.probability, one.file))
    counts = np.bincount(labels, minlength=len(first.classes)).tolist()
    return Mistakes(tuple(found), dict(zip(first.classes, counts, strict=True)), n)


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
    try:
        test = own_split(choice.first, int(choice.first.record.input["size"]), data).test
    except BadData as error:
        again = "" if data else "; give the folder where they are now with --data (data=)"
        raise BadData(f"{error}{again}") from None
    return test.pixels[[one.row for one in found]]
