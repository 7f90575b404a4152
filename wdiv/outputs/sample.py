"""The images that layers are shown: a few of the training pool, the same for every run that trains on that data set."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadData, BadInput, NoOutputs
from wdiv.store.reader import Run
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import ImageSet
from wdiv.tuning.data.inputs import IMAGENET, InputSpec
from wdiv.tuning.training.own_images import own_split

if TYPE_CHECKING:
    import torch

__all__ = ["COUNT", "SEED", "Images", "Sample", "sample_of", "told_of"]

COUNT = 64
"""Images that are shown unless another number is asked for."""
SEED = 0
"""Of the draw. It is no run's own: runs of other seeds see the same images."""
BATCH = 16


@dataclass(frozen=True)
class Images:
    """Which images, and which network to show them to, where a store does not say.

    data   a data set's name, a folder, an :class:`~wdiv.tuning.data.images.ImageSet` or an array (n, 3, height, width)
           as the network wants it; None: the store's own
    count  how many are drawn of it: all, where there are fewer
    model  of an imported run: its network, a name (``resnet18``) or a module
    image_size   of an imported run, in pixels
    """

    data: Any = None
    count: int = COUNT
    model: Any = None
    image_size: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise BadInput(f"images: a whole number from 1 (32 to 256 will do), not {self.count!r}")
        if self.image_size is not None and self.image_size < 8:
            raise BadInput(f"image size: a whole number of pixels, at least 8, not {self.image_size!r}")

    @property
    def own(self) -> bool:
        """True if all but their number is the store's own."""
        return self.data is None and self.model is None and self.image_size is None


@dataclass(frozen=True, eq=False)
class Sample:
    """Some images, and what the network gets of them.

    pixels   (n, 3, size, size) uint8, or floating and as the network wants them, where ``inputs`` is None
    name     of the data set, in words
    """

    pixels: np.ndarray
    inputs: InputSpec | None
    name: str

    @cached_property
    def digest(self) -> str:
        """Of the pixels and of what is made of them."""
        told = f"{self.pixels.dtype}{self.pixels.shape}{self.inputs}"
        return hashlib.sha256(told.encode() + np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    def batches(self, device: torch.device) -> Iterator[torch.Tensor]:
        import torch

        for batch in torch.from_numpy(self.pixels).split(BATCH):
            here = batch.to(device)
            yield here.float() if self.inputs is None else self.inputs.prepare(here)


def sample_of(run: Run, images: Images) -> Sample:
    """The images for a run.

    Raises :class:`~wdiv.errors.NoOutputs` where the store does not say which they are, or they are gone or others, and
    what :func:`~wdiv.tuning.data.datasets.open_split` raises for those that are named.
    """
    told = run.record.input
    inputs = (InputSpec(**told) if told else IMAGENET).at(images.image_size)
    data = images.data
    if data is None:
        return _drawn(_own_pool(run, inputs.size), images.count, inputs, run.record.dataset)
    if isinstance(data, ImageSet):
        return _drawn(data, images.count, inputs.at(data.pixels.shape[-1]), "images given")
    if isinstance(data, (str, Path)):
        split = open_split(str(data), inputs.size)
        return _drawn(split.pool, images.count, inputs, split.name)
    given = np.asarray(data)
    if given.ndim != 4 or given.dtype.kind != "f" or not len(given):
        raise BadInput(
            f"images: a data set's name, a folder, an ImageSet or floating (n, channels, height, width), not "
            f"{given.dtype} {given.shape}"
        )
    return Sample(given[_draw(len(given), images.count)], None, "images given")


def told_of(run: Run, images: Images) -> str:
    """What :func:`sample_of` depends on, of the run's own images: to be had without opening one."""
    record = run.record
    return repr((record.data_digest, sorted(dict(record.input).items(), key=str), images.image_size, images.count))


def _drawn(pool: ImageSet, count: int, inputs: InputSpec, name: str) -> Sample:
    return Sample(pool.pixels[_draw(len(pool), count)], inputs, name)


def _draw(n: int, count: int) -> np.ndarray:
    """Rows, in order. Those of a smaller count are among those of a larger one."""
    return np.sort(np.random.default_rng(SEED).permutation(n)[:count])


def _own_pool(run: Run, size: int) -> ImageSet:
    """The training pool that a run of wdiv's own drew from."""
    try:
        return own_split(run, size).pool
    except BadData as error:
        instead = "give a folder with --data (data=), or take output_change_proxy"
        raise NoOutputs(f"{error}; {instead}") from None
