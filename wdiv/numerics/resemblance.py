"""Which pictures are nearly the same: by what of them is not the same in all.

Hashes of 64 bits, as Zauner's (2010), take textures, flat pictures and pictures of one layout for copies of one
another. Here two small pictures are compared number by number, once what pictures of the set have in common (a
background, a rim, the light of a lamp) is taken off; and how alike two are by chance is measured on the set itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["near_pairs", "thumbnails"]

SIDE = 32
"""Pixels of a side that are compared."""
COMMON = 16
"""Principal components that are taken off as common to the set, at most: one for each 24 pictures."""
DETAIL, WHOLE = 0.85, 0.95
"""Correlations of near copies at least: of what is left, and of the pictures in colour. Noise of ±6 grey levels, JPEG
at quality 60, 12 % more contrast and a scale of 0.6 keep nearly all pairs above both; no two of 1,800 pictures of steel
surfaces in six classes are, but for copies of one."""
CHANCE = 1e-9
"""Pairs that are expected beyond the limit by chance, were they normal (after Fisher). Their tails are longer."""
SAMPLE, BLOCK = 1000, 512
"""Pictures of either side that chance is measured on; pictures of a block."""


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 3, s, s): averages over equal squares of (n, 3, size, size), s being half of size, and at most 32.

    >>> thumbnails(np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)).tolist()
    [[[[2.5, 4.5], [10.5, 12.5]]]]
    """
    size = pixels.shape[-1]
    side = max(1, min(SIDE, size // 2))
    edges = np.linspace(0, size, side + 1)
    place = np.arange(size)
    over = np.clip(np.minimum(edges[1:, None], place + 1) - np.maximum(edges[:-1, None], place), 0, None)
    weights = (over * side / size).astype(np.float32)
    found = np.empty((*pixels.shape[:2], side, side), np.float32)
    for rows in _blocks(len(pixels)):
        found[rows] = weights @ pixels[rows].astype(np.float32) @ weights.T
    return found


def near_pairs(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(pairs, 2): which of (n, 3, size, size) pictures are nearly the same as which of the (m, 3, size, size) others.

    Two are where both correlations, each between pictures of mean 0, are high: of their grey :func:`thumbnails` less
    the set's mean and its first principal components, at least 0.85 and beyond what chance makes of the set's pairs,
    whose median and spread (by the median absolute deviation, after Fisher's transformation) are measured; and of the
    thumbnails in colour, at least 0.95. Brightness and contrast do not count. A flat picture is like no other.

    >>> rng = np.random.default_rng(0)
    >>> ones, others = (rng.integers(0, 256, (20, 3, 16, 16), dtype=np.uint8) for _ in range(2))
    >>> others[3] = 10 + 0.9 * ones[5]
    >>> near_pairs(ones, others).tolist()
    [[5, 3]]
    """
    if not len(ones) or not len(others):
        return np.empty((0, 2), np.int64)
    colours = [thumbnails(pixels) for pixels in (ones, others)]
    first, second = _details(*(_centred(part.mean(axis=1)) for part in colours))
    limit = _limit(first, second)
    whole = [_centred(part) for part in colours]
    found = []
    for rows in _blocks(len(first)):
        one, other = np.nonzero(first[rows] @ second.T >= limit)
        one += rows.start
        for some in _blocks(len(one)):
            pair = one[some], other[some]
            alike = (whole[0][pair[0]] * whole[1][pair[1]]).sum(axis=1) >= WHOLE
            found.append(np.column_stack(pair)[alike])
    return np.concatenate(found) if found else np.empty((0, 2), np.int64)


def _centred(pictures: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, d) of mean 0 and length 1; a flat one is all 0."""
    rows = pictures.reshape(len(pictures), -1)
    return _unit(rows - rows.mean(axis=1, keepdims=True), np.sqrt(rows.shape[1]))


def _unit(rows: NDArray[np.float32], least: float) -> NDArray[np.float32]:
    """Rows of length 1; 0 where they are shorter than ``least``."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > least)


def _details(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Without what the set has in common."""
    from scipy.linalg import eigh

    count, size = len(first) + len(second), first.shape[1]
    mean = (first.sum(axis=0) + second.sum(axis=0)) / count
    first, second = first - mean, second - mean
    common = min(COMMON, count // 24)
    if common:
        scatter = first.T @ first + second.T @ second
        _, axes = eigh(scatter, subset_by_index=[size - min(common, size), size - 1])
        first, second = (part - (part @ axes) @ axes.T for part in (first, second))
    return _unit(first, 1e-3), _unit(second, 1e-3)


def _limit(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """The correlation that no pair of the set has by chance."""
    some = [part[:: max(1, len(part) // SAMPLE)] for part in (first, second)]
    z = np.arctanh(np.clip(some[0] @ some[1].T, -0.9999, 0.9999))
    middle = np.median(z)
    spread = 1.4826 * np.median(np.abs(z - middle))
    beyond = middle + spread * np.sqrt(2 * np.log(len(first) * len(second) / CHANCE))
    return max(DETAIL, float(np.tanh(beyond)))


def _blocks(count: int) -> Iterator[slice]:
    yield from (slice(start, start + BLOCK) for start in range(0, count, BLOCK))
