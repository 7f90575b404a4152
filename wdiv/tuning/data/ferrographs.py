"""A simulated set of ferrographs: wear particles on a glass slide under a microscope, in the classes of Peng and Wang.

Theirs (2020, section 2) are not public. These share their seven classes and their 909 training and 881 test images,
and nothing else: every image is computed from its split, class and number alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from wdiv.tuning.data.images import ImageSet, resized
from wdiv.tuning.data.particles import PARTICLE_KINDS, RGB, Microscope, Particle, between, speckle, stamp

__all__ = ["CLASSES", "COUNTS", "SIDE", "Scene", "draw", "read", "scene"]

CLASSES: dict[str, tuple[str, ...]] = {
    "background": (),
    "fatigue": ("fatigue",),
    "oxide": ("oxide",),
    "spherical": ("spherical",),
    "fatigue-oxide": ("fatigue", "oxide"),
    "fatigue-spherical": ("fatigue", "spherical"),
    "oxide-spherical": ("oxide", "spherical"),
}
"""The kinds of particles that an image of each class shows."""

COUNTS = {"train": (152, 168, 141, 117, 135, 101, 95), "test": (148, 163, 136, 113, 131, 98, 92)}
"""Images of each class. The paper gives the totals, 909 and 881; how they fall on the classes is made up."""

SIDE = 96
"""Pixels of a side, as drawn."""

SEED = 2020
GLASSES: tuple[RGB, ...] = (
    (0.78, 0.84, 0.66), (0.86, 0.82, 0.64), (0.84, 0.85, 0.83), (0.70, 0.80, 0.80), (0.86, 0.76, 0.72),
)  # fmt: skip
"""What the lit slide looks like: greenish, yellowish, white, bluish, pinkish."""


@dataclass(frozen=True)
class Scene:
    """All that one image shows.

    particles  in the order in which they lie on one another
    field      width of what is seen, in µm
    glass      colour of the slide;  ``light`` its brightness
    slope      by how much brightness changes across the field, to the right and downwards
    vignette   by how much it falls from ``bright`` (x, y, as shares of the field) to as far as the field is wide
    specks     how many crumbs of harmless wear lie about, in strings along ``string`` (radians), as a magnet lays them
    noise      of the sensor, in grey levels
    seed       of the crumbs, the film on the glass, and the noise
    """

    particles: tuple[Particle, ...]
    field: float
    glass: RGB
    light: float
    slope: tuple[float, float]
    vignette: float
    bright: tuple[float, float]
    view: Microscope
    specks: int
    string: float
    noise: float
    seed: int


def scene(split: str, label: int, index: int, seed: int = SEED) -> Scene:
    """What image ``index`` of a class shows, in ``"train"`` or ``"test"``.

    >>> {particle.kind for particle in scene("test", 4, 17).particles} == {"fatigue", "oxide"}
    True
    """
    rng = np.random.default_rng([seed, list(COUNTS).index(split), label, index])
    field = between(rng, 100, 160)
    kinds = [PARTICLE_KINDS[name] for name in tuple(CLASSES.values())[label]]
    particles = [
        kind.draw(rng, field)
        for kind in kinds
        for _ in range(int(between(rng, kind.counts[0], kind.counts[1] / len(kinds) ** 0.5 + 1)))
    ]
    order = [particle.size * between(rng, 0.7, 1.4) for particle in particles]  # small ones mostly on large ones
    one, other = (GLASSES[int(rng.random() * len(GLASSES))] for _ in range(2))
    share = rng.random()
    red, green, blue = (
        (share * a + (1 - share) * b) * between(rng, 0.93, 1.07) for a, b in zip(one, other, strict=True)
    )
    return Scene(
        tuple(particles[i] for i in np.argsort(order)[::-1]),
        field,
        (red, green, blue),
        between(rng, 0.62, 1.05),
        (between(rng, -0.16, 0.16), between(rng, -0.16, 0.16)),
        between(rng, 0.05, 0.5),
        (between(rng, 0.25, 0.75), between(rng, 0.25, 0.75)),
        Microscope(SIDE / field, between(rng, 0, 2 * np.pi), 1.5 * rng.random() ** 2),
        int(between(rng, 10, 100)),
        between(rng, 0, np.pi),
        between(rng, 1.5, 5.0),
        int(rng.random() * 2**32),
    )


def draw(shown: Scene) -> np.ndarray:
    """The image, uint8 (3, 96, 96)."""
    rng = np.random.default_rng(shown.seed)
    field = np.asarray(shown.glass)[:, None, None] * (1 + 0.015 * speckle(rng, 16, SIDE, SIDE))
    _scatter(field, shown, rng)
    for particle in shown.particles:
        stamp(field, particle, shown.view)
    place = (np.arange(SIDE) + 0.5) / SIDE
    x, y = place[None, :] - shown.bright[0], place[:, None] - shown.bright[1]
    field *= shown.light * (1 + shown.slope[0] * x + shown.slope[1] * y - shown.vignette * (x**2 + y**2))
    grey = np.rint(255 * field + shown.noise * _grain(rng, field.shape))
    return np.minimum(255, np.maximum(0, grey)).astype(np.uint8)


def _scatter(field: np.ndarray, shown: Scene, rng: np.random.Generator) -> None:
    """Lay the crumbs: Gaussian spots, cut off at the top so that they have a body; a few of them glint."""
    count, strings = shown.specks, 2 + int(4 * rng.random())
    start, along, jitter = rng.random((2, strings)), rng.random(count) - 0.5, rng.random((2, count)) - 0.5
    of = (rng.random(count) * strings).astype(int)
    step = np.array([[np.cos(shown.string)], [np.sin(shown.string)]])
    loose = rng.random(count) < 0.4
    at = np.where(loose, 0.5 + 1.1 * jitter, start[:, of] + 1.5 * step * along + 0.06 * jitter) * SIDE
    width = (0.4 + 1.2 * rng.random(count) ** 4) * shown.view.scale + 0.3
    rust = np.outer((-0.5, 0.2, 0.5), rng.random(count) * between(rng, 0.0, 1.0))
    depth = (1 + rust) * (0.1 + 0.6 * rng.random(count)) * np.where(rng.random(count) < 0.12, -0.6, 1.0)
    place = np.arange(SIDE) + 0.5
    across, down = (np.exp(-0.5 * ((place[:, None] - centre) / width) ** 2) for centre in at)
    field *= 1 - np.maximum(-0.25, np.minimum(0.75, (1.5 * depth[:, None] * down) @ across.T))


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly normal noise, mean 0 and deviation 1: sums of four bytes, whose variance is 4 (256² - 1) / 12."""
    four = np.frombuffer(rng.bytes(4 * math.prod(shape)), np.uint8).reshape(4, *shape)
    return (four.sum(axis=0, dtype=np.uint16) - 4 * 127.5) / math.sqrt((256**2 - 1) / 3)


def read(size: int) -> ImageSet:
    """All images at ``size`` x ``size`` pixels, the training images first, by class and number."""
    which = _which()
    return ImageSet(
        np.stack([resized(image, size) for image in _drawn()]),
        np.array([label for _, label, _ in which], dtype=np.int64),
        tuple(CLASSES),
        tuple(f"{split}/{list(CLASSES)[label]}/{index:03d}" for split, label, index in which),
    )


def _which() -> list[tuple[str, int, int]]:
    return [
        (split, label, index)
        for split, counts in COUNTS.items()
        for label, count in enumerate(counts)
        for index in range(count)
    ]


@lru_cache(maxsize=1)
def _drawn() -> np.ndarray:
    """All images as drawn, once a process: 49 MB."""
    return np.stack([draw(scene(*one)) for one in _which()])
