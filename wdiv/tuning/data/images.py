"""Images in memory: decoded once, as uint8, split once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.tuning.data.folds import CrossValidation, Fold, fold_numbers
from wdiv.tuning.data.groups import choose_groups

__all__ = ["ImageSet", "Split", "nested_subset", "resized", "set_aside", "split"]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """pixels (n, 3, size, size) uint8 RGB; labels (n,) int64, indices into ``classes``; names: one per image.

    groups: the patient, part or plate that each image is of, by name; empty where none are known. Images of one group
    never stand on both sides of a split.

    small_classes: ``refuse`` (a class with fewer images than asked for is an error) or ``keep`` (all of it is taken).
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    groups: tuple[str, ...] = ()
    small_classes: str = "refuse"

    @property
    def keeps_small(self) -> bool:
        return self.small_classes == "keep"

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> ImageSet:
        """Some of the images, in the order of ``indices``."""
        names, groups = (tuple(one[i] for i in indices) if one else () for one in (self.names, self.groups))
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices], names=names, groups=groups)

    def first_classes(self, count: int) -> ImageSet:
        """The images of the first ``count`` classes."""
        some = self.take(np.flatnonzero(self.labels < count))
        return replace(some, classes=self.classes[:count])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of classes, labels and pixels."""
        digest = hashlib.sha256(repr((self.classes, self.pixels.shape)).encode())
        digest.update(np.ascontiguousarray(self.labels).data)
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()

    @cached_property
    def grouping(self) -> str:
        """SHA-256 of which images are of one group, whatever the groups are called; ``none`` where none are known."""
        if not self.groups:
            return "none"
        numbers = {group: number for number, group in enumerate(dict.fromkeys(self.groups))}
        return hashlib.sha256(np.array([numbers[group] for group in self.groups], dtype="<i8").tobytes()).hexdigest()

    def groups_of(self, rows: np.ndarray) -> list[str] | None:
        """The groups of some images; None where none are known."""
        return [self.groups[row] for row in rows] if self.groups else None

    def counts(self) -> np.ndarray:
        """Images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes))


@dataclass(frozen=True, eq=False)
class Split:
    """A training pool, from which each run draws, and the one test set of them all.

    folds  of cross-validation: pool and test are both all images, and which of them test a run, and may not train it,
           its :class:`~wdiv.tuning.data.folds.Fold` says. None: there are none
    """

    name: str
    pool: ImageSet
    test: ImageSet
    notes: tuple[str, ...] = ()
    folds: CrossValidation | None = None

    @classmethod
    def in_folds(cls, name: str, images: ImageSet, folds: CrossValidation, notes: tuple[str, ...] = ()) -> Split:
        """All images, in folds. Raises :class:`~wdiv.errors.BadData` where a class would have none to train on."""
        found = cls(name, images, images, notes, folds)
        found.check_folds()
        return found

    @cached_property
    def divisions(self) -> tuple[np.ndarray, ...]:
        """Of each repeat (n,) the fold, from 1, in which each image is held out."""
        if self.folds is None:
            return ()
        firsts = [self.folds.repeat(number)[0] for number in range(1, self.folds.repeats + 1)]
        groups = self.pool.groups or None
        return tuple(fold_numbers(self.pool.labels, one.of, one.seed, groups) + 1 for one in firsts)

    def check_folds(self) -> None:
        """Raise :class:`~wdiv.errors.BadData` where a class has all its images in one fold, unless small classes are
        kept."""
        for division in self.divisions:
            for label, name in enumerate(self.pool.classes):
                mine = np.flatnonzero(self.pool.labels == label)
                if len(set(division[mine].tolist())) < 2 and not self.pool.keeps_small:
                    raise BadData(_one_sided(self.pool, label) if self.pool.groups else _too_few(name, len(mine)))

    def rows_of(self, fold: Fold | None) -> tuple[np.ndarray, np.ndarray]:
        """(pool, test): which images may train, and which test; of no fold, all that there are.

        Raises :class:`~wdiv.errors.BadInput` for a fold of another division than the images are in.
        """
        if fold is None and self.folds is None:
            return np.arange(len(self.pool)), np.arange(len(self.test))
        if self.folds is None or fold is None or fold not in self.folds.repeat(fold.repeat):
            raise BadInput(f"{self.name}: its images are in {self.folds or 'no folds'}, and the run is of {fold}")
        held = self.divisions[fold.repeat - 1] == fold.number
        return np.flatnonzero(~held), np.flatnonzero(held)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of both parts; which images are of one group is not in it."""
        return hashlib.sha256((self.pool.digest + self.test.digest).encode()).hexdigest()

    def first_classes(self, count: int) -> Split:
        """The images of the first classes alone, under a name that says so."""
        if not 2 <= count <= len(self.pool.classes):
            raise BadData(f"{self.name}: classes: from 2 to {len(self.pool.classes)}, not {count}")
        if count == len(self.pool.classes):
            return self
        name = f"{self.name} ({count} classes)"
        if self.folds is not None:
            return Split.in_folds(name, self.pool.first_classes(count), self.folds, self.notes)
        pool, test = (part.first_classes(count) for part in (self.pool, self.test))
        return Split(name, pool, test, self.notes)

    def copies(self) -> np.ndarray:
        """(test,) True for images that are, pixel for pixel, also in the training pool, or in another fold of the first
        repeat: they make the accuracy too good."""
        if self.folds is not None:
            where: dict[bytes, set[int]] = {}
            for image, fold in zip(self.pool.pixels, self.divisions[0].tolist(), strict=True):
                where.setdefault(image.tobytes(), set()).add(fold)
            return np.array([len(where[image.tobytes()]) > 1 for image in self.test.pixels], dtype=bool)
        pool = {image.tobytes() for image in self.pool.pixels}
        return np.array([image.tobytes() in pool for image in self.test.pixels], dtype=bool)


def resized(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture of uint8, grey (height, width) or (3, height, width), as (3, size, size): bilinear, antialiased.

    >>> resized(np.full((8, 8), 7, np.uint8), 2)[2].tolist()
    [[7, 7], [7, 7]]
    """
    from PIL import Image

    image = Image.fromarray(picture if picture.ndim == 2 else picture.transpose(1, 2, 0)).resize(
        (size, size), Image.Resampling.BILINEAR
    )
    planes = np.asarray(image) if picture.ndim == 3 else np.repeat(np.asarray(image)[..., None], 3, axis=-1)
    return np.ascontiguousarray(planes.transpose(2, 0, 1))


def split(
    images: ImageSet, *, count: int | None = None, fraction: float | None = None, seed: int = 0
) -> tuple[ImageSet, ImageSet]:
    """(pool, test): ``count`` images of each class, or a ``fraction`` of each class, are set aside for the test; of
    images in groups as nearly so many as whole groups allow.

    Which ones depends on ``seed``, on the images' order and on their groups alone. At least one image of each class
    stays on either side; :class:`~wdiv.errors.BadData` where that cannot be. Where small classes are kept, half of such
    a class is set aside at most, and a single image, or group, stays in the pool.
    """
    have = images.counts()
    wanted = np.array([count if count is not None else share_of(n, fraction or 0.0) for n in have])
    if images.keeps_small:
        wanted = np.where(wanted >= have, have // 2, wanted)
    for name, there, aside in zip(images.classes, have, wanted, strict=True):
        if aside >= there and not images.keeps_small:
            told = "1 image" if there == 1 else f"{there} images"
            raise BadData(
                f"class {name!r} has {told}; setting {aside} aside for the test leaves none to train on; {WAYS}"
            )
    is_test = set_aside(images.labels, wanted, images.groups, seed)
    pool, test = images.take(np.flatnonzero(~is_test)), images.take(np.flatnonzero(is_test))
    if images.keeps_small and not len(test):
        raise BadData(f"no class has two {'groups of ' if images.groups else ''}images, so that none can be set aside")
    lacking = (pool.counts() == 0) | (test.counts() == 0)
    for label in np.flatnonzero(lacking & (not images.keeps_small)):
        raise BadData(_one_sided(images, int(label)))
    return pool, test


WAYS = "--small-classes keep takes what there is; drop leaves out, and merge makes one, those below --least N"


def share_of(images: int, fraction: float) -> int:
    """How many of a class are set aside: the nearest whole number, at least 1."""
    return max(1, round(images * fraction))


def set_aside(labels: np.ndarray, wanted: np.ndarray, groups: Sequence[str] | None, seed: int) -> np.ndarray:
    """(n,) True for the images that are set aside, ``wanted`` (k,) of each class; of images in ``groups`` as
    :func:`~wdiv.tuning.data.groups.choose_groups` chooses whole ones."""
    if groups:
        return choose_groups(labels, groups, wanted, seed)
    found = np.zeros(len(labels), dtype=bool)
    for label, count in enumerate(wanted):
        members = np.flatnonzero(labels == label)
        found[np.random.default_rng([seed, label]).permutation(members)[:count]] = True
    return found


def _too_few(name: str, have: int) -> str:
    images = "image" if have == 1 else "images"
    return f"class {name!r} has {have} {images}, and none to train on where that is held out; {WAYS}"


def _one_sided(images: ImageSet, label: int) -> str:
    """Why a class cannot stand on both sides."""
    name = images.classes[label]
    mine = {images.groups[row] for row in np.flatnonzero(images.labels == label)}
    if len(mine) == 1:
        return (
            f"class {name!r}: all its {images.counts()[label]} images are of one group, {mine.pop()!r}, which cannot "
            "be to train on and to test at once; ask for smaller groups, or train on it by --small-classes keep"
        )
    return (
        f"class {name!r}: its {len(mine)} groups are those of other classes too, and no choice of whole groups leaves "
        "every class images to train on and to test; give a --group of smaller groups"
    )


def nested_subset(images: ImageSet, per_class: int | None, seed: int, among: np.ndarray | None = None) -> np.ndarray:
    """Indices of ``per_class`` images of each class (None: all), in the images' own order. Of a class with fewer, where
    small classes are kept, all.

    among  the indices that may be drawn, in order; None: all

    For one seed the subsets are nested: the 20 are among the 40.

    >>> images = ImageSet(np.zeros((8, 3, 1, 1), np.uint8), np.arange(8) % 2, ("a", "b"), ("",) * 8)
    >>> small, large = nested_subset(images, 2, seed=0), nested_subset(images, 3, seed=0)
    >>> set(small) < set(large), len(small), len(large)
    (True, 4, 6)
    """
    among = np.arange(len(images)) if among is None else among
    if per_class is None:
        return among
    labels = images.labels[among]
    counts = np.bincount(labels, minlength=len(images.classes))
    short = [(c, int(n)) for c, n in zip(images.classes, counts, strict=True) if n < per_class]
    if short and not images.keeps_small:
        name, have = min(short, key=lambda pair: pair[1])
        raise BadData(f"{per_class} training images of each class asked for, but class {name!r} has {have}; {WAYS}")
    chosen: Sequence[np.ndarray] = [
        np.random.default_rng([seed, label]).permutation(among[labels == label])[:per_class]
        for label in range(len(images.classes))
    ]
    return np.sort(np.concatenate(chosen))
