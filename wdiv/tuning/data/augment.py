"""Augmentation by name: training images that are seen a little otherwise in every epoch.

``flip``         with the strength that the registry gives it
``rotate=50``    with one's own
``gupta2020``    a preset, which stands for entries of its own

The geometry of an image is one map, sampled once, and a batch is a few operations on its device. All random numbers
come from a NumPy generator on the host, the same number for each image: the device changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from wdiv.errors import BadInput
from wdiv.registry import Registry, did_you_mean

if TYPE_CHECKING:
    import torch

__all__ = ["AUGMENTATIONS", "PRESETS", "Augment", "Augmentation", "AugmentPreset", "parse"]

ASPECT = 4 / 3
"""Of a crop's sides, at most, and its inverse at least: torchvision's."""
LUMA = (0.2989, 0.587, 0.114)
"""Grey of red, green and blue, as torchvision rounds ITU-R BT.601."""


@dataclass(frozen=True)
class Augmentation:
    """One way to change an image, by numbers drawn uniformly from 0 to 1, ``draws`` of them for each image.

    default, most  the strength where none is given, and the largest allowed; all are above 0
    unit           what the strength is
    kind           when and how it acts:

    - ``"mirror"``: ``act(pixels, draws, strength)`` before all else, on uint8 tensors (n, 3, h, w)
    - ``"map"``: ``act(draws, strength, h, w)`` gives (n, 3, 3) float64 maps from a place (row, column, 1) in the
      result, in pixels from its centre, to the place in the image that is seen there
    - ``"tone"``: ``act(pixels, draws, strength)`` after all else, in place, on float tensors of 0 to 255
    """

    name: str
    long_name: str
    default: float
    most: float
    unit: str
    source: str
    kind: str
    draws: int
    act: Callable[..., Any]


def _mirror(axis: int) -> Callable[..., torch.Tensor]:
    def act(pixels: torch.Tensor, draws: np.ndarray, strength: float) -> torch.Tensor:
        import torch

        count = len(draws)
        chosen = torch.from_numpy(np.arange(count) + count * (draws[:, 0] < strength)).to(pixels.device)
        return torch.cat((pixels, pixels.flip(axis))).index_select(0, chosen)  # several times faster than torch.where

    return act


def _maps(count: int, **entries: np.ndarray | float) -> np.ndarray:
    """(count, 3, 3) identities, but for ``entries``: yx=... is what a row takes from the column, y=... its shift."""
    maps = np.tile(np.eye(3), (count, 1, 1))
    for place, values in entries.items():
        row, column = "yx".index(place[0]), "yx".index(place[1]) if place[1:] else 2
        maps[:, row, column] = values
    return maps


def _both_ways(draws: np.ndarray, strength: float) -> np.ndarray:
    return strength * (2 * draws.T - 1)


def _crop(draws: np.ndarray, strength: float, h: int, w: int) -> np.ndarray:
    """torchvision draws again where a crop would stick out. Here the aspects that fit are drawn from, so that areas
    are "distributed evenly", as Szegedy et al. (2015) say, and each image takes the same number of draws."""
    share, aspect, down, right = draws.T
    area = strength + (1 - strength) * share
    lowest, highest = (np.clip(sign * math.log(ASPECT), np.log(area * w / h), np.log(w / h / area)) for sign in (-1, 1))
    wide = np.exp((lowest + (highest - lowest) * aspect) / 2)
    y, x = np.sqrt(area * w / h) / wide, np.sqrt(area * h / w) * wide
    return _maps(len(draws), yy=y, xx=x, y=(1 - y) * (down - 0.5) * h, x=(1 - x) * (right - 0.5) * w)


def _rotate(draws: np.ndarray, strength: float, h: int, w: int) -> np.ndarray:
    (angle,) = np.radians(_both_ways(draws, strength))
    return _maps(len(draws), yy=np.cos(angle), yx=-np.sin(angle), xy=np.sin(angle), xx=np.cos(angle))


def _shift(draws: np.ndarray, strength: float, h: int, w: int) -> np.ndarray:
    y, x = _both_ways(draws, strength)
    return _maps(len(draws), y=y * h, x=x * w)


def _shear(draws: np.ndarray, strength: float, h: int, w: int) -> np.ndarray:
    (angle,) = np.radians(_both_ways(draws, strength))
    return _maps(len(draws), yx=-np.sin(angle), xx=np.cos(angle))


def _zoom(draws: np.ndarray, strength: float, h: int, w: int) -> np.ndarray:
    y, x = 1 + _both_ways(draws, strength)
    return _maps(len(draws), yy=y, xx=x)


def _gain(draws: np.ndarray, strength: float, like: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.from_numpy(1 + _both_ways(draws, strength)).to(like).view(-1, 1, 1, 1)


def _light(pixels: torch.Tensor, draws: np.ndarray, strength: float) -> torch.Tensor:
    return pixels.mul_(_gain(draws, strength, pixels)).clamp_(0, 255)


def _contrast(pixels: torch.Tensor, draws: np.ndarray, strength: float) -> torch.Tensor:
    import torch

    luma = torch.tensor(LUMA, dtype=torch.float64, device=pixels.device)
    rows = pixels.mean(3).double()  # float64 from here: the order of a long sum depends on the batch and the device
    grey = (rows.mean(2) * luma).sum(1).to(pixels.dtype).view(-1, 1, 1, 1)
    return pixels.sub_(grey).mul_(_gain(draws, strength, pixels)).add_(grey).clamp_(0, 255)


_KERAS, _VISION = "Keras, ImageDataGenerator", "torchvision, ColorJitter"
AUGMENTATIONS: Registry[Augmentation] = Registry("augmentation", [
    *(Augmentation(*_row) for _row in (
    ("flip", "left and right exchanged", 0.5, 1.0, "probability", _KERAS, "mirror", 1, _mirror(3)),
    ("vflip", "top and bottom exchanged", 0.5, 1.0, "probability", _KERAS, "mirror", 1, _mirror(2)),
    ("crop", "a part of the image, of aspect 3/4 to 4/3, at full size", 0.08, 1.0, "smallest share of the area",
     "Szegedy et al. (2015); torchvision, RandomResizedCrop", "map", 4, _crop),
    ("rotate", "turned about its centre", 15.0, 180.0, "degrees, either way", _KERAS, "map", 1, _rotate),
    ("shift", "moved up or down, and to a side", 0.1, 1.0, "share of the side, either way", _KERAS, "map", 2, _shift),
    # Degrees, as Keras documents it and has read it since its pull request 8868 of 2017; before that, radians.
    ("shear", "columns slide along each other", 10.0, 80.0, "degrees, either way", _KERAS, "map", 1, _shear),
    ("zoom", "seen from nearer or farther, each side by its own factor", 0.2, 0.9, "change of the factor 1, either way",
     _KERAS, "map", 2, _zoom),
    ("light", "brighter or darker, times a factor", 0.2, 1.0, "change of the factor 1, either way", _VISION, "tone", 1,
     _light),
    ("contrast", "away from or towards its mean grey", 0.2, 1.0, "change of the factor 1, either way", _VISION, "tone",
     1, _contrast),
)),
])  # fmt: skip
"""In the order in which an image goes through them."""


@dataclass(frozen=True)
class AugmentPreset:
    """What a document does, in entries that are parsed like any other."""

    name: str
    long_name: str
    entries: tuple[str, ...]
    source: str


PRESETS: Registry[AugmentPreset] = Registry(
    "augmentation preset",
    [
        AugmentPreset(
            "gupta2020",
            "flip, turn, shift and zoom; a shear of 0.2 degrees, as Keras read the number when the paper was written",
            ("flip", "rotate=50", "shift=0.2", "shear=0.2", "zoom=0.3"),
            "Gupta et al. (2020), table 2",
        ),
    ],
)


@dataclass(frozen=True)
class Augment:
    """Augmentations with their strengths, in the order of the registry. Made by :func:`parse`; false where empty."""

    strengths: tuple[tuple[str, float], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The canonical spelling: ``parse(augment.names) == augment``."""
        return tuple(
            name if strength == AUGMENTATIONS[name].default else f"{name}={strength!r}".removesuffix(".0")
            for name, strength in self.strengths
        )

    def __bool__(self) -> bool:
        return bool(self.strengths)

    def __call__(self, pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        """uint8 (n, 3, h, w) to float32 (n, 3, h, w) of 0 to 255, on the same device, channels last in memory.

        Mirrors move pixels and are exact. The maps of an image are multiplied to one, and sampled once: bilinear, at
        pixel centres, with the nearest pixel of the border outside the image (Keras' fill mode "nearest"). Tones
        come last. Each image takes the next numbers of ``rng``, always as many, so that it becomes the same in any
        batch in which it has the same place. ``pixels`` is not modified.

        >>> import torch
        >>> pixels = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2)
        >>> parse(["flip=1"])(pixels, np.random.default_rng(0))[0, 0].tolist()
        [[1.0, 0.0], [3.0, 2.0]]
        """
        import torch

        count, _, h, w = pixels.shape
        chosen = [(AUGMENTATIONS[name], strength) for name, strength in self.strengths]
        ends = np.cumsum([record.draws for record, _ in chosen], dtype=np.int64)
        parts = np.split(rng.random((count, int(ends[-1]) if chosen else 0)), ends[:-1], axis=1)
        steps = [(record, draws, strength) for (record, strength), draws in zip(chosen, parts, strict=False)]
        for record, draws, strength in steps:
            if record.kind == "mirror":
                pixels = record.act(pixels, draws, strength)
        maps = [record.act(draws, strength, h, w) for record, draws, strength in steps if record.kind == "map"]
        x = _sample(pixels.float(), reduce(np.matmul, maps)) if maps else pixels.float()
        for record, draws, strength in steps:
            if record.kind == "tone":
                x = record.act(x, draws, strength)
        return x.contiguous(memory_format=torch.channels_last)


def _sample(x: torch.Tensor, maps: np.ndarray) -> torch.Tensor:
    """``x`` at the places that ``maps`` sends the pixels of the result to."""
    import torch
    from torch.nn.functional import grid_sample

    h, w = x.shape[2:]
    # grid_sample takes (column, row) in half sides. The grid is no matrix product (affine_grid), because that one is
    # rounded to ten bits where TF32 is allowed: a tenth of a pixel.
    half = np.array([w / 2, h / 2])
    place = torch.from_numpy(maps[:, [1, 0]] / half[:, None]).to(x)[..., None, None]  # (n, 2, 3, 1, 1)
    rows, columns = (torch.arange(side, device=x.device) - (side - 1) / 2 for side in (h, w))
    grid = (place[:, :, 0] * rows[:, None] + place[:, :, 2]) + place[:, :, 1] * columns
    grid = grid.permute(0, 2, 3, 1)
    return grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp_(0, 255)


def parse(entries: Sequence[str]) -> Augment:
    """Augmentations from their spellings, in any order; a preset stands for its entries. No entry: no augmentation.

    Raises :class:`~wdiv.errors.BadInput` for a name that is unknown or stands twice, and for a strength that is not
    allowed.

    >>> parse(["zoom=0.20", "flip"]).names
    ('flip', 'zoom')
    >>> parse(["gupta2020", "light=0.1"]).names
    ('flip', 'rotate=50', 'shift=0.2', 'shear=0.2', 'zoom=0.3', 'light=0.1')
    >>> parse(["rotate=500"])
    Traceback (most recent call last):
    wdiv.errors.BadInput: augmentation 'rotate=500': degrees, either way, above 0 and at most 180, not '500'
    """
    if isinstance(entries, str):
        raise BadInput(f"augmentations: a list of names, not {entries!r}")
    strengths: dict[str, float] = {}
    for name, strength in map(_read, chain.from_iterable(map(_expand, entries))):
        if name in strengths:
            raise BadInput(f"augmentation {name!r} stands twice")
        strengths[name] = strength
    return Augment(tuple((name, strengths[name]) for name in AUGMENTATIONS if name in strengths))


def _expand(entry: str) -> tuple[str, ...]:
    return PRESETS[entry.strip()].entries if str(entry).strip() in PRESETS else (entry,)


def _read(entry: str) -> tuple[str, float]:
    name, equals, spelled = (part.strip() for part in str(entry).partition("="))
    if name in PRESETS:
        raise BadInput(f"augmentation {entry!r}: the preset {name!r} takes no strength")
    if name not in AUGMENTATIONS:
        raise BadInput(f"unknown augmentation {entry!r}; {did_you_mean(name, [*AUGMENTATIONS, *PRESETS])}")
    record = AUGMENTATIONS[name]
    if not equals:
        return name, record.default
    try:
        strength = float(spelled)
    except ValueError:
        strength = -1.0
    if not 0 < strength <= record.most:
        raise BadInput(f"augmentation {entry!r}: {record.unit}, above 0 and at most {record.most:g}, not {spelled!r}")
    return name, strength
