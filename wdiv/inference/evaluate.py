"""How good a network is on labelled images that it is given now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import BadData, BadInput, BadStore
from wdiv.inference.files import Block
from wdiv.inference.network import Network
from wdiv.inference.predict import Predictions, predict
from wdiv.numerics.classification import FIGURES, ClassificationScores, classification_scores
from wdiv.numerics.proportion import Share, wilson
from wdiv.registry import did_you_mean
from wdiv.store import predictions as kept
from wdiv.tuning.data.datasets import DATASETS
from wdiv.tuning.data.folder import class_folders, image_files, split_folders
from wdiv.tuning.data.folds import Fold
from wdiv.tuning.data.images import nested_subset
from wdiv.tuning.training.own_images import own_split

__all__ = ["PARTS", "Evaluation", "Labelled", "evaluate", "labelled"]

PARTS = ("all", "train", "test")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images that are to be answered: files, or a data set's pixels.

    names, labels   of each image; labels are indices into the network's classes
    files           where they are; empty where there are ``pixels``, (n, 3, size, size) uint8
    notes           in a sentence each, which images these are, and which are left out
    """

    names: tuple[str, ...]
    labels: np.ndarray
    files: tuple[Path, ...] = ()
    pixels: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate` finds.

    predictions  of each image, with its ``label`` among the columns
    labels       (images,) index of each image's class;  scores: of them all
    accuracy     with its 95 % interval, Wilson's
    notes        which images these are, what is left out, and whether the network was trained on any of them
    """

    predictions: Predictions
    labels: np.ndarray
    scores: ClassificationScores
    accuracy: Share
    notes: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """The scores as plain values, by their names in tables."""
        scores = self.scores
        only = scores.only_answer
        return {
            "images": len(self.labels), "accuracy": scores.accuracy, "low": float(self.accuracy.low),
            "high": float(self.accuracy.high), **{name: float(getattr(scores, name)) for name in FIGURES},
            "only_answer": None if only is None else self.predictions.classes[only],
            "classes": list(self.predictions.classes), "confusion": scores.confusion.tolist(),
        }  # fmt: skip


def labelled(data: str | Path, classes: Sequence[str], size: int, part: str | None = None) -> Labelled:
    """The images of a data set by name, or of a folder with a folder a class, which are matched by name.

    part: ``test``, ``train`` or ``all`` of data that has a split of its own; by default its test images

    Classes that the network does not know are left out, and named, as are those that there are no images of. Raises
    :class:`~wdiv.errors.BadData` where there is none that it knows, and :class:`~wdiv.errors.BadInput`.
    """
    if part is not None and part not in PARTS:
        raise BadInput(f"part: one of {', '.join(PARTS)}, not {part!r}")
    if str(data) in DATASETS:
        return _of_data_set(str(data), classes, size, part)
    root = Path(data)
    if not root.exists() and root.name == str(data):
        raise BadData(f"no data set and no folder {str(data)!r}; {did_you_mean(str(data), DATASETS)}")
    own = split_folders(root)
    if own is None and part in ("train", "test"):
        raise BadInput(f"{root}: has no train and test folders of its own; leave --part (part=) out")
    chosen = {"train": own[:1], "all": own}.get(part or "test", own[1:]) if own else (root,)
    found = [
        (folder.name, file) for one in chosen for folder in class_folders(one) for file in image_files(folder)
    ]  # fmt: skip
    notes = [f"the images of {' and '.join(one.name for one in chosen)} of {root}"] if own else []
    rows, labels, more = _matched([name for name, _ in found], classes, root)
    files = tuple(found[row][1] for row in rows)
    return Labelled(tuple(map(str, files)), labels, files, notes=(*notes, *more))


def _of_data_set(name: str, classes: Sequence[str], size: int, part: str | None) -> Labelled:
    record = DATASETS[name]
    images, first = record.read(size), record.n_train
    if first is None and part in ("train", "test"):
        raise BadInput(f"{name}: has no split of its own; leave --part (part=) out")
    whole = np.arange(len(images))
    chosen = whole if first is None or part == "all" else whole[:first] if part == "train" else whole[first:]
    rows, labels, notes = _matched([images.classes[images.labels[row]] for row in chosen], classes, name)
    told = [f"the {part or 'test'} images of {name}"] if first is not None else []
    here = images.take(chosen[rows])
    return Labelled(here.names, labels, pixels=here.pixels, notes=(*told, *notes))


def _matched(names: Sequence[str], classes: Sequence[str], where: object) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Which images are of a class that the network knows, the index of it, and what is left out in words."""
    known = {name: label for label, name in enumerate(classes)}
    counts = Counter(names)
    unknown = [name for name in counts if name not in known]
    rows = np.array([i for i, name in enumerate(names) if name in known], dtype=np.int64)
    if not len(rows):
        found = ", ".join(map(repr, counts)) or "none"
        raise BadData(f"{where}: no images of the network's classes ({', '.join(map(repr, classes))}); found {found}")
    notes = [f"left out, as the network has no such class: {counts[name]} images of {name!r}" for name in unknown]
    missing = [name for name in classes if name not in counts]
    if missing:
        notes.append(f"no images of {', '.join(map(repr, missing))}: what is said of all classes is of the others")
    return rows, np.array([known[names[row]] for row in rows], dtype=np.int64), notes


def evaluate(network: Network, images: Labelled, watch: Callable[[Block], None] = lambda block: None) -> Evaluation:
    """How good a network is on images, :func:`labelled`.

    watch: called with each :class:`~wdiv.inference.files.Block` of files after the network has seen it

    Says whether any of the images are, pixel for pixel, among those that it was trained on; where those are gone, what
    their names tell. Raises :class:`~wdiv.errors.BadData` where no image can be read.
    """
    shown: list[int] = []

    def seen(block: Block) -> None:
        shown.extend(map(_hash, block.pixels))
        watch(block)

    if images.pixels is None:
        found = predict(network, images.files, seen)
        bad = {file for file, _ in found.bad}
        labels = np.array([x for x, name in zip(images.labels, images.names, strict=True) if name not in bad])
    else:
        logits = network.logits(images.pixels)
        found = Predictions(images.names, network.classes, logits, network.probabilities_of(logits))
        shown, labels = [_hash(image) for image in images.pixels], images.labels
    scores = classification_scores(found.logits, labels, network.probabilities)
    names = [network.classes[label] for label in labels]
    right = (found.answers == labels).tolist()
    table = replace(found, columns={"label": names, "right": right})
    notes = (*images.notes, *_trained_on(network, found.files, shown))
    return Evaluation(table, labels, scores, wilson(scores.accuracy, len(labels)), notes)


def _hash(image: np.ndarray) -> int:
    """Of an image's pixels; within this process."""
    return hash(image.tobytes())


def _trained_on(network: Network, files: Sequence[str], shown: Sequence[int]) -> Iterator[str]:
    """What there is to say of images that the network has been trained on."""
    own: set[int] = set()
    for member in network.choice.members:
        record = member.run.record
        try:
            split = own_split(member.run, network.inputs.size)
        except (BadData, BadStore) as error:
            yield _by_name(network, files, str(error))
            return
        there, _ = split.rows_of(None if record.fold is None else Fold(**record.fold))
        drawn = nested_subset(split.pool, record.per_class, record.seed, there)
        own |= {_hash(split.pool.pixels[row]) for row in drawn}
    count = sum(image in own for image in shown)
    if count:
        yield (
            f"{count} of these {len(shown)} images are, pixel for pixel, among those that it was trained on or stopped "
            "by: the accuracy is too good"
        )


def _by_name(network: Network, files: Sequence[str], why: str) -> str:
    """By the names of its test images, the only ones that a store keeps."""
    run = network.choice.first
    tested = kept.asked(run).get("test")
    count = 0 if tested is None else sum(map(_ends_in(tested.names), files))
    told = f"whether it was trained on any of these images is not known ({why})"
    return told if not count else f"{told}; {count} of {len(files)} are called as its test images are, which it was not"


def _ends_in(names: Iterable[str]) -> Callable[[str], bool]:
    """True of a path whose end is one of the names."""
    known = {Path(name).parts for name in names}
    lengths = {len(parts) for parts in known}
    return lambda file: any(Path(file).parts[-length:] in known for length in lengths)
