"""Data sets by name, and any folder of images by its path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.registry import Registry, did_you_mean
from wdiv.tuning.data import ferrographs
from wdiv.tuning.data.folder import picture_side, read_folder, split_folders
from wdiv.tuning.data.folds import CrossValidation
from wdiv.tuning.data.groups import groups_of
from wdiv.tuning.data.images import ImageSet, Split, resized, split
from wdiv.tuning.data.small_classes import LEAST, without_small

__all__ = ["DATASETS", "DEFAULT_TEST_FRACTION", "Dataset", "open_split", "side_of"]

DEFAULT_TEST_FRACTION = 0.25


@dataclass(frozen=True)
class Dataset:
    """A data set that needs no download. ``read(size)`` gives all its images; ``side``: of the pictures, in pixels.

    n_train: if it has a split of its own, the first so many are for training and the others the test set; None if
    :func:`open_split` draws one.
    """

    name: str
    long_name: str
    classes: int
    images: int
    source: str
    read: Callable[[int], ImageSet]
    side: int
    n_train: int | None = None

    @property
    def split(self) -> str:
        """How it is split, in words."""
        if self.n_train is None:
            return "drawn from all images"
        return f"its own: {self.n_train} training and {self.images - self.n_train} test images"


def _digits(first: int, last: int) -> Callable[[int], ImageSet]:
    def read(size: int) -> ImageSet:
        from sklearn.datasets import load_digits

        data = load_digits()
        chosen = np.flatnonzero((data.target >= first) & (data.target <= last))
        grey = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)
        return ImageSet(
            np.stack([resized(picture, size) for picture in grey]),
            data.target[chosen].astype(np.int64) - first,
            tuple(str(d) for d in range(first, last + 1)),
            tuple(f"digit {i}" for i in chosen),
        )

    return read


DATASETS: Registry[Dataset] = Registry(
    "data set",
    [
        *(
            Dataset(
                _name,
                f"handwritten digits {_first} to {_last}, 8x8 grey",
                _last - _first + 1,
                _count,
                "Alpaydin and Kaynak (1998), UCI; bundled with scikit-learn",
                _digits(_first, _last),
                side=8,
            )
            for _name, _first, _last, _count in (
                ("digits", 0, 9, 1797),
                ("digits-0-4", 0, 4, 901),
                ("digits-5-9", 5, 9, 896),
            )
        ),
        Dataset(
            "ferrographs",
            "simulated ferrographs: fatigue, oxide and spherical wear particles on a glass slide, 96x96",
            len(ferrographs.CLASSES),
            sum(map(sum, ferrographs.COUNTS.values())),
            "wdiv, simulated after Peng and Wang (2020)",
            ferrographs.read,
            side=96,
            n_train=sum(ferrographs.COUNTS["train"]),
        ),
    ],
)


def open_split(
    name: str,
    size: int,
    *,
    test_count: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    skip_bad: bool = False,
    group: str | None = None,
    small_classes: str = "refuse",
    least: int = LEAST,
    folds: int | None = None,
    repeats: int = 1,
) -> Split:
    """The training pool and the test set of a registered data set or a folder of images.

    A data set with a split of its own keeps it, as does a folder with train and test folders. Otherwise
    ``test_count`` images of each class are set aside, or ``test_fraction`` of each (default a quarter), drawn with
    ``split_seed``.

    ``group`` is a regular expression that finds in each image's name what it is of
    (:func:`~wdiv.tuning.data.groups.groups_of`): all images of one group are to train on, or all to test. Where the
    parts of a data set that is split already share groups, that is an error.

    ``small_classes`` says what is done with classes of few images, ``least`` which ones are dropped or merged
    (:data:`~wdiv.tuning.data.small_classes.SMALL_CLASSES`).

    ``folds`` in place of a test set: cross-validation, ``repeats`` times, drawn with ``split_seed``
    (:class:`~wdiv.tuning.data.folds.CrossValidation`). Images that have a test set of their own are in no folds.

    Raises :class:`~wdiv.errors.BadData` and :class:`~wdiv.errors.BadInput`.
    """
    if test_count is not None and test_fraction is not None:
        raise BadInput("give a test count or a test fraction, not both")
    if test_count is not None and test_count < 1:
        raise BadInput(f"test count: at least 1 image of each class, not {test_count}")
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise BadInput(f"test fraction: between 0 and 1, not {test_fraction}")
    asked = test_count is not None or test_fraction is not None
    if folds is not None and asked:
        raise BadInput("folds test every image once; leave the test count or fraction out")
    if folds is None and repeats != 1:
        raise BadInput(f"repeats: of folds, and there are none; give --folds, or one repeat, not {repeats!r}")
    scheme = None if folds is None else CrossValidation(folds, repeats, split_seed)
    own = DATASETS.get(name)
    found = _folder(Path(name), size, asked, skip_bad) if own is None else _registered(own, size, asked)
    if isinstance(found, Split):
        if scheme is not None:
            raise BadInput(_own_test(name, found.name))
        (pool, test), note = without_small((found.pool, found.test), small_classes, least)
        found = _told(replace(found, pool=pool, test=test), note, len(found.pool.classes))
        return found if group is None else _with_groups(found, group)
    label, whole, notes = found
    (images,), note = without_small((whole,), small_classes, least)
    if group is not None:
        images = replace(images, groups=groups_of(images.names, group))
    if scheme is not None:
        return _told(Split.in_folds(label, images, scheme, notes), note, len(whole.classes))
    fraction = test_fraction if test_fraction is not None else DEFAULT_TEST_FRACTION
    pool, test = split(images, count=test_count, fraction=fraction, seed=split_seed)
    return _told(Split(label, pool, test, notes), note, len(whole.classes))


def _told(found: Split, note: str | None, classes: int) -> Split:
    """The split under a name that says how many classes it has, where that is not how many there were."""
    name = found.name if len(found.pool.classes) == classes else f"{found.name} ({len(found.pool.classes)} classes)"
    return replace(found, name=name, notes=found.notes if note is None else (*found.notes, f"{found.name}: {note}"))


def _own_test(name: str, label: str) -> str:
    parts = None if name in DATASETS else split_folders(Path(name))
    instead = "" if parts is None else f", or give its training images alone: --data {parts[0]}"
    return f"{label}: has its own test images, and folds test every image; leave the folds out{instead}"


Whole = tuple[str, ImageSet, tuple[str, ...]]
"""A data set that is not split yet: its name, its images, notes."""


def _registered(record: Dataset, size: int, asked: bool) -> Split | Whole:
    if record.n_train is None:
        return record.name, record.read(size), ()
    if asked:
        raise BadInput(f"{record.name}: has its own test images; leave the test count or fraction out")
    images = record.read(size)
    rows = np.arange(len(images))
    return Split(record.name, images.take(rows[: record.n_train]), images.take(rows[record.n_train :]))


def _folder(root: Path, size: int, asked: bool, skip_bad: bool) -> Split | Whole:
    if not root.exists() and root.name == str(root):
        raise BadData(f"no data set and no folder {str(root)!r}; {did_you_mean(str(root), DATASETS)}")
    own, label = split_folders(root), root.resolve().name
    if own is None:
        images, bad = read_folder(root, size, skip_bad=skip_bad)
        return label, images, _notes(label, bad)
    if asked:
        raise BadInput(f"{root}: has its own test folder {own[1].name!r}; leave the test count or fraction out")
    (pool, bad_pool), (test, bad_test) = (read_folder(part, size, skip_bad=skip_bad) for part in own)
    return Split(label, pool, test, _notes(label, (*bad_pool, *bad_test)))


def _with_groups(found: Split, pattern: str) -> Split:
    pool, test = (replace(part, groups=groups_of(part.names, pattern)) for part in (found.pool, found.test))
    shared = sorted({*pool.groups} & {*test.groups})
    if shared:
        count = sum(group in shared for group in test.groups)
        shown = ", ".join(map(repr, shared[:3])) + (", …" if len(shared) > 3 else "")
        raise BadData(
            f"{found.name}: {len(shared)} groups ({shown}) are both in its training images and in its test images, "
            f"where {count} of {len(test)} are of them: a test on them says nothing of new groups; put each group on "
            "one side, or all images into one folder a class, without train and test, and --group splits them"
        )
    return replace(found, pool=pool, test=test)


def side_of(name: str) -> int:
    """How many pixels wide and high the pictures of a data set or a folder are, typically: the median of the square
    root of their area.

    >>> side_of("digits")
    8
    """
    return DATASETS[name].side if name in DATASETS else picture_side(Path(name))


def _notes(label: str, bad: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{label}: {len(bad)} images left out: {'; '.join(bad)}",) if bad else ()
