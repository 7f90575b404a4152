"""What the frozen prefix makes of images, computed once and shared by every run that has the same prefix.

The last bits of a convolution may depend on which images share its batch. So a row is always computed within the same
block of the whole image set, whoever asks for it and when: a run that was killed and continued, or that follows
others, sees the same bits; and so does who runs the whole network on all images in order, a block at a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wdiv.errors import BadStore, WdivError
from wdiv.store.files import read_json, write_atomically, write_json
from wdiv.store.tensors import tensor_digest
from wdiv.tuning.data.inputs import InputSpec

if TYPE_CHECKING:
    import torch
    from torch import nn

    from wdiv.tuning.prefix.feature_extractor import FeatureExtractor
    from wdiv.tuning.prefix.frozen_prefix import Cut

__all__ = ["BLOCK", "FeatureStore", "Features", "NoRoom", "block_size", "feature_key"]

BLOCK = 16
"""Images of a block on a CPU: fewer would take longer each, more would make a small subset pay for the whole set."""
_BLOCK_CUDA = 64
_PART = 4
"""One part in so many of the memory that is free is taken."""
_ALIGN = 64


class NoRoom(WdivError):
    """Features that fit neither in memory nor on disk, or no folder for them was named."""


def block_size(device: torch.device) -> int:
    """Images that a network in eval mode is shown at once on a device."""
    return _BLOCK_CUDA if device.type == "cuda" else BLOCK


def feature_key(
    cut: Cut | FeatureExtractor, model: nn.Module, inputs: InputSpec, data_digest: str, device: torch.device | str,
    precision: str, digests: Mapping[str, str] | None = None,
) -> str:  # fmt: skip
    """SHA-256 of all that the features' bits follow from.

    The prefix's operations and the tensors it reads, the preparation of the images and the images (``data_digest``),
    the precision, the block's size, and what computes: PyTorch's version, the GPU, or the number of the CPU's threads.

    digests  SHA-256 of some of the model's tensors by key, where they are known
    """
    import torch

    where = torch.device(device)
    state, digests = model.state_dict(), digests or {}
    facts = {
        "stem": cut.digest,
        "tensors": [(key, digests.get(key) or tensor_digest(state[key].cpu().numpy())) for key in cut.keys],
        "inputs": inputs.to_json(),
        "data": data_digest,
        "precision": precision,
        "block": block_size(where),
        "device": [where.type, torch.cuda.get_device_name(where) if where.type == "cuda" else torch.get_num_threads()],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Row:
    """What one tensor of the boundary holds of an image, channels last in memory where the prefix gives it so."""

    shape: tuple[int, ...]
    dtype: str
    channels_last: bool

    @classmethod
    def of(cls, tensor: torch.Tensor) -> _Row:
        import torch

        last = (
            tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
        )
        shape = (tensor.permute(0, 2, 3, 1) if last else tensor).shape[1:]
        return cls(tuple(shape), str(tensor.dtype).removeprefix("torch."), last)

    @property
    def type(self) -> torch.dtype:
        import torch

        return getattr(torch, self.dtype)

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.type.itemsize

    def laid(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the prefix, as it is kept."""
        return (tensor.permute(0, 2, 3, 1) if self.channels_last else tensor).contiguous()

    def given(self, kept: torch.Tensor) -> torch.Tensor:
        """The other way round."""
        return kept.permute(0, 3, 1, 2) if self.channels_last else kept


class Features:
    """Rows of one image set, as the prefix gave them."""

    def __init__(self, kept: _Memory | _File, device: torch.device) -> None:
        self._kept, self._device = kept, device

    def __getitem__(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The boundary tensors of images by their number in the whole set: copies, on the prefix's device."""
        pairs = zip(self._kept.rows, self._kept.tensors, strict=True)
        return tuple(row.given(tensor[rows.to(tensor.device)].to(self._device)) for row, tensor in pairs)


class FeatureStore:
    """Features under several keys, in memory, or in files where they do not fit.

    folder  for the files, which several processes may share; None: there are none
    limit   bytes of memory, all keys together; None: a quarter of what is free at first use, divided by ``share``, the
            processes that use as much. Those of a prefix on a GPU are there while it is within the limit, then in the
            host's memory. Each key counts with room for all images; the least recently used leave first. A
            :class:`Features` in use keeps its own.

    >>> import torch
    >>> pixels = torch.arange(5 * 3 * 2 * 2, dtype=torch.uint8).view(5, 3, 2, 2)
    >>> store = FeatureStore(limit=1000)
    >>> kept = store.features("key", pixels, np.array([1, 4]), lambda block: (block.float().mean((2, 3)),))
    >>> kept[torch.tensor([4])]
    (tensor([[49.5000, 53.5000, 57.5000]]),)
    """

    def __init__(self, folder: Path | None = None, limit: int | None = None, share: int = 1) -> None:
        self.folder, self.limit, self._share = folder, limit, share
        self._free: dict[str, int] = {}
        self._kept: dict[tuple[str, str], _Memory] = {}  # the least recently used first

    def features(
        self,
        key: str,
        pixels: torch.Tensor,
        rows: np.ndarray,
        prefix: Callable[[torch.Tensor], tuple[torch.Tensor, ...]],
        device: torch.device | None = None,
    ) -> Features:
        """Those of the images ``rows``, at least one, of all ``pixels`` (n, 3, h, w). Computes what blocks are missing.

        key   of the prefix, its weights and the images, such as :func:`feature_key` gives; plain enough for a file name
        prefix  a block of ``pixels`` -> the boundary tensors; called without gradients
        device  where the prefix is, to which a block is copied when it is computed; None: where the pixels are

        Raises :class:`NoRoom`.
        """
        import torch

        device = pixels.device if device is None else torch.empty(0, device=device).device  # with its number
        size = block_size(device)

        def compute(number: int) -> tuple[torch.Tensor, ...]:
            with torch.no_grad():  # and not inference_mode, whose tensors no backward pass may save
                return tuple(prefix(pixels[number * size : (number + 1) * size].to(device)))

        wanted = np.unique(np.asarray(rows) // size).tolist()
        place = (key, str(device))
        kept = self._kept.pop(place, None)
        if kept is None:
            first = compute(wanted[0])
            layout = tuple(_Row.of(tensor) for tensor in first)
            needed = len(pixels) * sum(row.bytes for row in layout)
            where = self._room(needed, device)
            if where is None:
                file = self._file(key, layout, len(pixels), size, needed)
                file.fill(wanted, compute)
                return Features(file, device)
            kept = _Memory(layout, len(pixels), size, where)
            kept.fill(wanted[:1], lambda _: first)
        self._kept[place] = kept
        kept.fill(wanted, compute)
        return Features(kept, device)

    def _room(self, needed: int, device: torch.device) -> torch.device | None:
        """Where there is room, made by letting others go; None: only on disk."""
        import torch

        for where in dict.fromkeys((device, torch.device("cpu"))):
            limit = self._limit(where)
            if needed <= limit:
                beside = {place: kept.bytes for place, kept in self._kept.items() if kept.device == where}
                while needed + sum(beside.values()) > limit:
                    oldest = next(iter(beside))
                    del beside[oldest], self._kept[oldest]
                return where
        return None

    def _limit(self, where: torch.device) -> int:
        if self.limit is not None:
            return self.limit
        return self._free.setdefault(str(where), _free_memory(where) // (_PART * self._share))

    def _file(self, key: str, layout: tuple[_Row, ...], images: int, size: int, needed: int) -> _File:
        if self.folder is None:
            raise NoRoom(
                f"the features of {images} images take {needed / 1e9:.3g} GB, more than there is memory for;"
                " name a folder for them"
            )
        return _File(self.folder, key, layout, images, size)


class _Memory:
    """Room for the features of all images, and which blocks of it are filled."""

    def __init__(self, rows: tuple[_Row, ...], images: int, size: int, device: torch.device) -> None:
        import torch

        self.rows, self.size, self.device = rows, size, device
        self.tensors = tuple(torch.empty((images, *row.shape), dtype=row.type, device=device) for row in rows)
        self.bytes = images * sum(row.bytes for row in rows)
        self._done: set[int] = set()

    def fill(self, wanted: list[int], compute: Callable[[int], tuple[torch.Tensor, ...]]) -> None:
        for number in wanted:
            if number not in self._done:
                for row, tensor, new in zip(self.rows, self.tensors, compute(number), strict=True):
                    tensor[number * self.size : (number + 1) * self.size] = row.laid(new)
                self._done.add(number)


class _File:
    """The same in a file, with the checksums of the blocks that are filled in a JSON file beside it.

    A block counts once it is on disk and its checksum too; whatever is not as it should be is computed again.
    """

    def __init__(self, folder: Path, key: str, rows: tuple[_Row, ...], images: int, size: int) -> None:
        self.path = folder / f"{key}.features"
        self.rows, self.size = rows, size
        self._facts = {
            "key": key,
            "images": images,
            "block": size,
            "rows": [[list(row.shape), row.dtype, row.channels_last] for row in rows],
        }
        self._starts, end = [], 0
        for row in rows:
            self._starts.append(end)
            end += -(-images * row.bytes // _ALIGN) * _ALIGN
        self._end, self._images = end, images
        self.tensors: tuple[torch.Tensor, ...] = ()

    def fill(self, wanted: list[int], compute: Callable[[int], tuple[torch.Tensor, ...]]) -> None:
        from filelock import FileLock

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                self._fill(wanted, compute)
        except OSError as error:
            raise NoRoom(f"{self.path}: {error.strerror or error}; --no-keep-prefix does without") from None

    def _fill(self, wanted: list[int], compute: Callable[[int], tuple[torch.Tensor, ...]]) -> None:
        done, new = self._open(), {}
        try:
            for number in wanted:
                if number not in done or done[number] != self._checksum(number):
                    self._put(number, compute(number))
                    new[number] = self._checksum(number)
        finally:  # what is done when somebody has enough need not be done again
            if new:
                self._commit(done | new)

    @property
    def _note(self) -> Path:
        return self.path.with_suffix(".json")

    def _open(self) -> dict[int, int]:
        """Map the file, made anew unless it is this one. Returns the checksums of its blocks."""
        import torch

        done = self._read()
        if done is None:
            self._note.unlink(missing_ok=True)
            write_atomically(self.path, self._make)
        bytes_ = torch.from_numpy(np.memmap(self.path, np.uint8, "r+", shape=(self._end,)))  # r+: torch wants it
        self.tensors = tuple(
            bytes_[start : start + self._images * row.bytes].view(row.type).view(self._images, *row.shape)
            for start, row in zip(self._starts, self.rows, strict=True)
        )
        return done or {}

    def _read(self) -> dict[int, int] | None:
        try:
            note = read_json(self._note)
            if self.path.stat().st_size == self._end and {name: note.get(name) for name in self._facts} == self._facts:
                return {int(number): int(checksum) for number, checksum in note["done"].items()}
        except (BadStore, OSError, AttributeError, KeyError, TypeError, ValueError):
            pass
        return None

    def _make(self, temporary: Path) -> None:
        with temporary.open("wb") as file:
            file.truncate(self._end)

    def _put(self, number: int, values: tuple[torch.Tensor, ...]) -> None:
        """Not through the map: there, a full disk would end the process."""
        import torch

        with self.path.open("r+b") as file:
            for row, start, value in zip(self.rows, self._starts, values, strict=True):
                file.seek(start + number * self.size * row.bytes)
                file.write(row.laid(value).cpu().view(-1).view(torch.uint8).numpy().data)

    def _checksum(self, number: int) -> int:
        import torch

        found = 0
        for tensor in self.tensors:
            block = tensor[number * self.size : (number + 1) * self.size]
            found = zlib.crc32(block.reshape(-1).view(torch.uint8).numpy().data, found)
        return found

    def _commit(self, done: dict[int, int]) -> None:
        with self.path.open("r+b") as file:
            os.fsync(file.fileno())
        write_json(self._note, self._facts | {"done": {str(number): done[number] for number in sorted(done)}})


def _free_memory(where: torch.device) -> int:
    import torch

    if where.type == "cuda":
        free: int = torch.cuda.mem_get_info(where)[0]
        return free
    try:
        found = re.search(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 4 * 2**30  # where nothing says it: what a small machine has to spare
