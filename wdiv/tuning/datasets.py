"""Data sets by name, and any folder of images by its path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.registry import Registry, did_you_mean
from wdiv.tuning.folder import read_folder, split_folders
from wdiv.tuning.images import ImageSet, Split, split

__all__ = ["DATASETS", "DEFAULT_TEST_FRACTION", "Dataset", "open_split"]

DEFAULT_TEST_FRACTION = 0.25


@dataclass(frozen=True)
class Dataset:
    """A data set that needs no download. ``read(size)`` gives all its images."""

    name: str
    long_name: str
    classes: int
    images: int
    source: str
    read: Callable[[int], ImageSet]


DATASETS: Registry[Dataset] = Registry("data set")


def _digits(first: int, last: int) -> Callable[[int], ImageSet]:
    def read(size: int) -> ImageSet:
        from PIL import Image
        from sklearn.datasets import load_digits

        data = load_digits()
        chosen = np.flatnonzero((data.target >= first) & (data.target <= last))
        grey = np.round(data.images[chosen] * (255 / 16)).astype(np.uint8)
        resized = [np.asarray(Image.fromarray(g).resize((size, size), Image.Resampling.BILINEAR)) for g in grey]
        return ImageSet(
            np.repeat(np.stack(resized)[:, None], 3, axis=1),
            data.target[chosen].astype(np.int64) - first,
            tuple(str(d) for d in range(first, last + 1)),
            tuple(f"digit {i}" for i in chosen),
        )

    return read


for _name, _first, _last, _count in (("digits", 0, 9, 1797), ("digits-0-4", 0, 4, 901), ("digits-5-9", 5, 9, 896)):
    DATASETS.add(
        Dataset(
            _name,
            f"handwritten digits {_first} to {_last}, 8x8 grey",
            _last - _first + 1,
            _count,
            "Alpaydin and Kaynak (1998), UCI; bundled with scikit-learn",
            _digits(_first, _last),
        )
    )


def open_split(
    name: str,
    size: int,
    *,
    test_count: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    skip_bad: bool = False,
) -> Split:
    """The training pool and the test set of a registered data set or a folder of images.

    A folder with train and test folders keeps its own split. Otherwise ``test_count`` images of each class are
    set aside, or ``test_fraction`` of each (default a quarter), drawn with ``split_seed``.

    Raises :class:`~wdiv.errors.BadData` and :class:`~wdiv.errors.BadInput`.
    """
    if test_count is not None and test_fraction is not None:
        raise BadInput("give a test count or a test fraction, not both")
    if test_count is not None and test_count < 1:
        raise BadInput(f"test count: at least 1 image of each class, not {test_count}")
    if test_fraction is not None and not 0 < test_fraction < 1:
        raise BadInput(f"test fraction: between 0 and 1, not {test_fraction}")
    root = Path(name)
    notes: tuple[str, ...] = ()
    if name in DATASETS:
        label, images = name, DATASETS[name].read(size)
    else:
        if not root.exists() and root.name == name:
            raise BadData(f"no data set and no folder {name!r}; {did_you_mean(name, DATASETS)}")
        own, label = split_folders(root), root.resolve().name
        if own is not None:
            if test_count is not None or test_fraction is not None:
                raise BadInput(f"{root}: has its own test folder {own[1].name!r}; leave the test count or fraction out")
            (pool, bad_pool), (test, bad_test) = (read_folder(part, size, skip_bad=skip_bad) for part in own)
            return Split(label, pool, test, _notes(label, (*bad_pool, *bad_test)))
        images, bad = read_folder(root, size, skip_bad=skip_bad)
        notes = _notes(label, bad)
    fraction = test_fraction if test_fraction is not None else DEFAULT_TEST_FRACTION
    pool, test = split(images, count=test_count, fraction=fraction, seed=split_seed)
    return Split(label, pool, test, notes)


def _notes(label: str, bad: tuple[str, ...]) -> tuple[str, ...]:
    return (f"{label}: {len(bad)} images left out: {'; '.join(bad)}",) if bad else ()
