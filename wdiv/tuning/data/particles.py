"""Wear particles under a microscope: three kinds, drawn from their parameters. Simulated; lengths in µm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np

from wdiv.registry import Registry

__all__ = ["PARTICLE_KINDS", "ParticleKind", "Particle", "Microscope", "between", "speckle", "stamp"]

RGB = tuple[float, float, float]
PLATE = 512
"""Pixels of a side of the plates of noise that textures are cut from."""


@dataclass(frozen=True)
class Microscope:
    """How the microscope looks: pixels per µm, where the lamp's light comes from (radians), blur in µm."""

    scale: float
    lamp: float
    blur: float


@dataclass(frozen=True)
class Particle:
    """One particle.

    x, y     its centre, from the field's upper left corner
    size     its largest diameter;  ``aspect`` the smallest by the largest;  ``angle`` of the largest, in radians
    blur     how far it lies out of focus: the width by which its edge is smeared
    colour   reflected red, green and blue, 0 to 1
    seed     of its outline and texture
    """

    kind: str
    x: float
    y: float
    size: float
    aspect: float
    angle: float
    blur: float
    colour: RGB
    seed: int


Look = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Of every pixel: distance to the outline (µm, negative inside), share of the colour shown, white gloss added."""


@dataclass(frozen=True)
class ParticleKind:
    """A kind of wear particle: the range of its sizes, how many lie in one field, how round and in what colours.

    ``look(particle, x, y, view, rng)`` is its surface at points (rows (h, 1) and columns (1, w), from its centre).
    """

    name: str
    sizes: tuple[float, float]
    counts: tuple[int, int]
    aspects: tuple[float, float]
    colours: tuple[RGB, ...]
    look: Callable[[Particle, np.ndarray, np.ndarray, Microscope, np.random.Generator], Look]

    def draw(self, rng: np.random.Generator, field: float) -> Particle:
        """Some particle of this kind in a field of view of ``field`` µm; its centre is well inside."""
        one, other = (self.colours[int(rng.random() * len(self.colours))] for _ in range(2))
        share, light = rng.random(), between(rng, 0.8, 1.2)
        red, green, blue = (light * (share * a + (1 - share) * b) for a, b in zip(one, other, strict=True))
        low, high = self.sizes
        return Particle(
            self.name, between(rng, 0.1, 0.9) * field, between(rng, 0.1, 0.9) * field,
            low * (high / low) ** rng.random(), between(rng, *self.aspects), between(rng, 0, 2 * np.pi),
            3.0 * rng.random() ** 3, (red, green, blue), int(rng.random() * 2**32),
        )  # fmt: skip


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """A uniform number. The simulation draws nothing else: other distributions may differ between NumPy's versions."""
    return low + (high - low) * float(rng.random())


def stamp(field: np.ndarray, particle: Particle, view: Microscope) -> None:
    """Draw a particle and its shadow over ``field`` (3, side, side), in place.

    An edge is as wide as a pixel and the blur together, so that it is antialiased by its distance.
    """
    blur = 1 / view.scale + view.blur + particle.blur
    lift = 1.0 + 0.04 * particle.size  # how far its shadow falls
    shift = np.rint(lift * view.scale * np.array([np.sin(view.lamp), np.cos(view.lamp)])).astype(int)
    centre = np.array([particle.y, particle.x]) * view.scale
    reach = (0.55 * particle.size + 2 * lift + 0.5 * blur) * view.scale
    first = np.maximum(np.floor(centre - reach).astype(int), 0)
    last = np.minimum(np.ceil(centre + reach).astype(int), field.shape[-1])
    margin = int(abs(shift).max())  # what lies just outside may cast its shadow inside
    y, x = ((np.arange(first[i] - margin, last[i] + margin) + 0.5 - centre[i]) / view.scale for i in range(2))
    look = PARTICLE_KINDS[particle.kind].look
    distance, shade, gloss = look(particle, x[None, :], y[:, None], view, np.random.default_rng(particle.seed))

    def seen(surface: np.ndarray, down: int = 0, right: int = 0) -> np.ndarray:
        height, width = last - first
        return surface[margin - down : margin - down + height, margin - right : margin - right + width]

    under = field[:, first[0] : last[0], first[1] : last[1]]
    under *= 1 - 0.3 * _cover(seen(distance, *shift), 2 * lift + blur)
    cover, shade, gloss = _cover(seen(distance), blur), seen(shade), seen(gloss)
    for plane, colour in zip(under, particle.colour, strict=True):
        plane += cover * (colour * shade + gloss - plane)


def speckle(rng: np.random.Generator, grain: int, height: int, width: int) -> np.ndarray:
    """Smooth noise with mean 0 and deviation 1, its grains about ``grain`` pixels: a random piece of a fixed plate.

    >>> speckle(np.random.default_rng(0), 2, 3, 4).shape
    (3, 4)
    """
    top, left = (int(rng.random() * (PLATE - length)) for length in (height, width))
    return _plate(grain)[top : top + height, left : left + width]


@lru_cache
def _plate(grain: int) -> np.ndarray:
    """White noise through a Gaussian of deviation grain / 2, by Fourier: exp(-2 π² σ² f²)."""
    f = np.fft.fftfreq(PLATE)
    low = np.exp(-0.5 * (np.pi * grain) ** 2 * (f[:, None] ** 2 + f[None, :] ** 2))
    smooth = np.fft.ifft2(np.fft.fft2(np.random.default_rng(grain).random((PLATE, PLATE))) * low).real
    plate: np.ndarray = (smooth - smooth.mean()) / smooth.std()
    plate.setflags(write=False)
    return plate


def _cover(distance: np.ndarray, width: float) -> np.ndarray:
    """Share of a pixel that is covered: from 1 inside to 0 outside, over ``width`` around the outline."""
    return np.minimum(1.0, np.maximum(0.0, 0.5 - distance / width))


def _turned(particle: Particle, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across the particle's largest diameter."""
    cos, sin = np.cos(particle.angle), np.sin(particle.angle)
    return cos * x + sin * y, cos * y - sin * x


def _fatigue(particle: Particle, x: np.ndarray, y: np.ndarray, view: Microscope, rng: np.random.Generator) -> Look:
    """A flat platelet: a polygon of random flanks with a bite in it and ragged edges, scratched, pitted, metallic."""
    along, across = _turned(particle, x, y)
    half, flanks = particle.size / 2, 7 + int(5 * rng.random())
    turns = 2 * np.pi * (np.arange(flanks) + 0.7 * rng.random(flanks)) / flanks
    cos, sin = np.cos(turns), np.sin(turns)
    far = half * np.hypot(cos, particle.aspect * sin) * (0.72 + 0.28 * rng.random(flanks))
    distance = reduce(np.maximum, (cos[i] * along + sin[i] * across - far[i] for i in range(flanks)))
    bite, where = half * between(rng, 0.0, 0.4), between(rng, 0, 2 * np.pi)
    bitten = np.hypot(along - half * np.cos(where), across - half * particle.aspect * np.sin(where))
    coarse, fine = speckle(rng, 6, *distance.shape), speckle(rng, 2, *distance.shape)
    distance = np.maximum(distance, bite - bitten) + (0.035 * half + 0.3) * coarse

    scratches = np.sin((2 * np.pi / between(rng, 3, 8)) * (across + 0.3 * along * rng.random()) + 1.2 * coarse)
    relief = 0.09 * rng.random() * scratches + 0.10 * fine + 0.12 * coarse
    tilt = between(rng, -0.3, 0.3) * along / half + between(rng, -0.3, 0.3) * across / half
    pits = np.where(coarse + 0.6 * fine > between(rng, 1.2, 2.6), 0.6, 1.0)
    outline = 1 - between(rng, 0.2, 0.6) * np.exp(-((distance / 1.6 + 0.4) ** 2))
    lit = np.cos(view.lamp) * x + np.sin(view.lamp) * y < 0
    edge = 0.25 * lit * np.exp(-((distance / 1.5 + 1.6) ** 2))
    sheen = np.maximum(0.0, 0.16 * coarse + 0.08 * fine - 0.1) * between(rng, 0.0, 1.2)
    return distance, (1 + relief + tilt) * pits * outline + edge, sheen


def _oxide(particle: Particle, x: np.ndarray, y: np.ndarray, view: Microscope, rng: np.random.Generator) -> Look:
    """An agglomerate of rough dull grains of unlike shades, with crumbling edges through which some light comes."""
    along, across = _turned(particle, x, y)
    half, grains = particle.size / 2, 5 + int(9 * rng.random())
    coarse, fine = speckle(rng, 4, *along.shape), speckle(rng, 2, *along.shape)
    distance, shades = np.full(along.shape, np.inf), np.ones(along.shape)
    for _ in range(grains):
        radius, turn = half * between(rng, 0.2, 0.5), between(rng, 0, 2 * np.pi)
        out = (half - radius) * np.sqrt(rng.random())
        u, v = along - out * np.cos(turn), across - particle.aspect * out * np.sin(turn)
        away = np.sqrt(u * u + v * v) - radius
        shades[away < distance] = between(rng, 0.65, 1.35)
        distance = np.minimum(distance, away)
    distance += (0.05 * half + 0.5) * (coarse + 0.5 * fine)
    thin = between(rng, 0.1, 0.9) * np.exp(np.minimum(distance, 0.0) / 2.0)
    shade = shades * (1 + 0.22 * coarse + 0.16 * fine) + thin
    return distance, np.maximum(shade, 0.1), 0.2 * rng.random() * (fine > 1.7)


def _spherical(particle: Particle, x: np.ndarray, y: np.ndarray, view: Microscope, rng: np.random.Generator) -> Look:
    """A smooth ball: darker towards its edge, a bright rim, and the lamp's reflection."""
    along, across = _turned(particle, x, y)
    radius = particle.size / 2
    q = np.hypot(along, across / particle.aspect) / radius
    height = np.sqrt(np.maximum(0.0, 1 - q**2))
    lit = 0.75 * height - 0.6 * (np.cos(view.lamp) * x + np.sin(view.lamp) * y) / radius
    rim = between(rng, 0.2, 0.8) * np.exp(-(((q - 0.88) / 0.1) ** 2))
    far = between(rng, 0.2, 0.45) * radius
    spot = np.hypot(x + far * np.cos(view.lamp), y + far * np.sin(view.lamp)) / (radius * between(rng, 0.2, 0.4))
    shade = 0.3 + 0.7 * np.maximum(0.0, lit) + 0.06 * speckle(rng, 2, *q.shape)
    return (q - 1) * radius, shade, rim * 0.5 + between(rng, 0.4, 0.9) * np.exp(-(spot**2))


STEEL, SILVER, STRAW, TEMPERED, BLUED = (
    (0.52, 0.54, 0.57), (0.80, 0.79, 0.77), (0.80, 0.70, 0.47), (0.50, 0.38, 0.28), (0.38, 0.44, 0.60),
)  # fmt: skip
SOOT, BLACK, BROWN, RUST, RED = (
    (0.30, 0.29, 0.30), (0.13, 0.13, 0.14), (0.34, 0.22, 0.14), (0.60, 0.34, 0.16), (0.54, 0.19, 0.11),
)  # fmt: skip

PARTICLE_KINDS: Registry[ParticleKind] = Registry(
    "kind of particle",
    [
        ParticleKind(
            "fatigue", (24, 100), (1, 4), (0.35, 0.95), (STEEL, SILVER, STRAW, TEMPERED, BLUED, SOOT), _fatigue
        ),
        ParticleKind("oxide", (18, 80), (1, 5), (0.5, 1.0), (RED, RUST, BROWN, BLACK, SOOT), _oxide),
        ParticleKind("spherical", (11, 26), (1, 7), (0.93, 1.0), (STEEL, SOOT, BLACK, TEMPERED), _spherical),
    ],
)
