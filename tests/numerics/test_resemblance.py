"""Near copies are found, and what is only alike is not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from wdiv.numerics.resemblance import near_pairs, thumbnails

Change = Callable[[np.ndarray], np.ndarray]
SIZE = 48


def textures(count: int, seed: int, smooth: float = 1.5) -> np.ndarray:
    """Pictures of one kind: speckle on a common light that falls off."""
    rng = np.random.default_rng(seed)
    speckle = np.stack([gaussian_filter(rng.normal(size=(SIZE, SIZE)), smooth) for _ in range(count)])
    light = 60 * np.exp(-np.linspace(0, 2, SIZE))[:, None]
    grey = 90 + light + 30 * speckle / speckle.std(axis=(1, 2), keepdims=True)
    return np.clip(grey, 0, 255).astype(np.uint8)[:, None].repeat(3, axis=1)


def noisy(pictures: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(9).integers(-6, 7, pictures.shape)
    return np.clip(pictures.astype(int) + noise, 0, 255).astype(np.uint8)


def rescaled(pictures: np.ndarray) -> np.ndarray:
    small = zoom(pictures.astype(float), (1, 1, 0.6, 0.6), order=1)
    factor = SIZE / small.shape[-1]
    return np.clip(zoom(small, (1, 1, factor, factor), order=1), 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "as they are": lambda pictures: pictures,
    "noise": noisy,
    "brightened": lambda pictures: (12 + 0.9 * pictures).astype(np.uint8),
    "rescaled": rescaled,
    "in coarse steps, as a codec leaves them": lambda pictures: (pictures // 10) * 10,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("count", [40, 300])
def test_copies_are_found_and_nothing_else_is(change: str, count: int) -> None:
    pictures = textures(count, seed=0)
    ones, others = pictures[: count // 4].copy(), pictures[count // 4 :]
    ones[3], ones[7] = CHANGES[change](others[[5, 20]])
    assert near_pairs(ones, others).tolist() == [[3, 5], [7, 20]]


@pytest.mark.parametrize("smooth", [0.7, 1.5, 4.0])
def test_textures_of_one_kind_are_not_copies(smooth: float) -> None:
    pictures = textures(300, seed=1, smooth=smooth)
    assert len(near_pairs(pictures[:75], pictures[75:])) == 0


def test_one_layout_is_no_copy() -> None:
    """A coin on black: rim and ground are all but the same in all, and what they show is not."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 + 0.5
    coin = np.where(x**2 + y**2 < (SIZE / 2) ** 2, 1.0, 0.05)
    pictures = (coin * textures(200, seed=2)).astype(np.uint8)
    assert len(near_pairs(pictures[:50], pictures[50:])) == 0
    assert near_pairs(noisy(pictures[50:55]), pictures[50:]).tolist() == [[i, i] for i in range(5)]


def test_pictures_of_little_content_are_not_copies() -> None:
    """Sixteen numbers a picture, as an icon has: by chance many are alike."""
    rng = np.random.default_rng(3)
    icons = rng.integers(0, 256, (400, 1, 4, 4), dtype=np.uint8).repeat(3, 1).repeat(8, 2).repeat(8, 3)
    assert len(near_pairs(icons[:100], icons[100:])) == 0


def test_flat_pictures_and_other_colours_are_no_copies() -> None:
    flat = np.full((4, 3, 16, 16), 90, np.uint8)
    assert len(near_pairs(flat, flat)) == 0
    pictures = textures(60, seed=4)
    red, blue = pictures.copy(), pictures.copy()
    red[:, 1:] = 0
    blue[:, :2] = 0
    assert len(near_pairs(red[:10], red)) == 10
    assert len(near_pairs(red[:10], blue)) == 0


@pytest.mark.parametrize(("size", "side"), [(1, 1), (8, 4), (33, 16), (64, 32), (224, 32)])
def test_thumbnails_keep_the_mean(size: int, side: int) -> None:
    pictures = np.random.default_rng(5).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
    found = thumbnails(pictures)
    assert found.shape == (3, 3, side, side)
    assert found.mean(axis=(2, 3)) == pytest.approx(pictures.mean(axis=(2, 3)), rel=1e-5)


def test_one_picture_beside_one() -> None:
    picture = textures(1, seed=6)
    assert len(near_pairs(picture[:0], picture)) == 0
    assert near_pairs(picture, picture).tolist() in ([], [[0, 0]])
