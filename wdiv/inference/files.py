"""Image files as they are given, decoded ahead of the network that reads them, a few blocks at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wdiv.errors import BadData, BadInput
from wdiv.tuning.data.folder import image_files, try_decode

__all__ = ["Block", "decoded", "listed"]

AHEAD = 2
"""Blocks that are decoded, or being decoded, while the network is busy with one: all that is in memory."""


class Block(NamedTuple):
    """Images that were read, and the files among them that could not be.

    rows    (n,) place of each image in the list of files;  pixels: (n, 3, size, size) uint8
    bad     (row, why) of each file that cannot be read
    seen    files up to here
    """

    rows: np.ndarray
    pixels: np.ndarray
    bad: tuple[tuple[int, str], ...]
    seen: int


def listed(given: Iterable[str | Path]) -> tuple[Path, ...]:
    """The files that are meant, each once: of a folder the images beneath it by name, of a ``.txt`` those that it
    names, one a line, from where one is or else from where it lies; any other file itself.

    Raises :class:`~wdiv.errors.BadInput` for what is not there, :class:`~wdiv.errors.BadData` where there are none.
    """
    found: list[Path] = []
    paths = [Path(one) for one in given]
    for path in paths:
        if path.is_dir():
            found += image_files(path)
        elif not path.exists():
            raise BadInput(f"{path}: no such file or folder of images")
        elif path.suffix.lower() == ".txt":
            found += _in_list(path)
        else:
            found.append(path)
    if not found:
        raise BadData(f"{', '.join(map(str, paths))}: no images there")
    return tuple(dict.fromkeys(found))


def _in_list(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not a list of files, one a line, in UTF-8") from None
    files = [Path(line.strip()) for line in lines if line.strip()]
    return [file if file.exists() or file.is_absolute() else path.parent / file for file in files]


def decoded(files: Sequence[Path], size: int, block: int) -> Iterator[Block]:
    """The files in order, as blocks of so many images that could be read; the last may be smaller.

    Threads decode, by the rules of :func:`~wdiv.tuning.data.folder.decode`, as many files ahead as :data:`AHEAD` blocks
    have: what is in memory does not grow with the number of files.
    """
    pool = ThreadPoolExecutor()
    rest, waiting = iter(files), deque[Future[np.ndarray | str]]()
    rows, images, bad = [], [], []

    def submit(count: int) -> None:
        waiting.extend(pool.submit(try_decode, file, size) for file in islice(rest, count))

    try:
        submit(AHEAD * block)
        for row in range(len(files)):
            image = waiting.popleft().result()
            submit(1)
            if isinstance(image, str):
                bad.append((row, image))
            else:
                rows.append(row)
                images.append(image)
            if len(images) == block or row + 1 == len(files):
                pixels = np.stack(images) if images else np.empty((0, 3, size, size), np.uint8)
                yield Block(np.array(rows, dtype=np.int64), pixels, tuple(bad), row + 1)
                rows, images, bad = [], [], []
    finally:
        pool.shutdown(cancel_futures=True)
