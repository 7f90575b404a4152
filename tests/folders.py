"""Folders of images that people have: classes of unequal size, and plates photographed several times."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

SIZE = 16


def save(file: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)


def imbalanced(root: Path, **classes: int) -> Path:
    """Noise as bright as its class: ``imbalanced(root, few=3, many=60)``."""
    rng = np.random.default_rng(0)
    for place, (label, count) in enumerate(classes.items()):
        for n in range(count):
            save(root / label / f"{n}.png", rng.integers(60 * place, 60 * place + 120, (SIZE, SIZE, 3)))
    return root


def plates(root: Path, count: int = 6, shots: int = 4) -> Path:
    """Of each of two classes so many plates of noise, each in so many shots, ±6 grey levels apart: what tells classes
    apart is nothing, what tells plates apart is plain to see."""
    rng = np.random.default_rng(0)
    for label, plate in product("ab", range(count)):
        base = rng.integers(0, 200, (SIZE, SIZE, 3))
        for shot in range(shots):
            pixels = np.clip(base + rng.integers(-6, 7, base.shape), 0, 255)
            save(root / label / f"plate{plate}_{shot}.png", pixels)
    return root
