"""The records of PyTorch's zip files, so that of epochs with one pickle only the first is unpickled.

A file is a pickle, ``data.pkl``, that tells of tensors and which record each is in, and the records. Files written
from one network in one way have the same pickle, byte for byte, and differ in what the records hold and where they
lie. Unpickling takes PyTorch a third of a millisecond a tensor, minutes for a thousand epochs.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zipfile
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from wdiv.store.tensors import DTYPES, Entry, span

__all__ = ["Records", "Related", "place", "records", "relate"]

_LOCAL = struct.Struct("<4s22xHH")
"""A record's own header: its mark, and how long its name and its padding are."""


class Records(NamedTuple):
    """What an archive holds.

    digest  of ``data.pkl``;  little: True if numbers are written with their lowest byte first
    packed  True if a record is compressed, which PyTorch never does
    places  name of each record without the archive's -> (offset of its data, bytes)
    """

    digest: bytes
    little: bool
    packed: bool
    places: Mapping[str, tuple[int, int]]


Related = Mapping[str, tuple[str, Entry]]
"""Key -> (its record, where it lies from that record's beginning)."""


def records(path: Path) -> Records | None:
    """The records of an archive; None of one that is damaged."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            places, packed = {}, False
            for info in archive.infolist():
                file.seek(info.header_offset)
                mark, name, padding = _LOCAL.unpack(file.read(_LOCAL.size))
                if mark != b"PK\x03\x04":
                    return None
                packed |= info.compress_type != zipfile.ZIP_STORED
                record = info.filename.partition("/")[2]
                places[record] = info.header_offset + _LOCAL.size + name + padding, info.file_size

            def content(record: str) -> bytes:  # not by the archive, which checks sums that PyTorch may leave out
                file.seek(places[record][0])
                return file.read(places[record][1])

            little = "byteorder" not in places or content("byteorder") == b"little"
            return Records(hashlib.sha256(content("data.pkl")).digest(), little, packed, places)
    except Exception:  # damaged bytes can make a reader raise anything
        return None


def relate(entries: Mapping[str, Entry], found: Records) -> Related | None:
    """Entries of a file by record; None if one lies in no record, or beyond its end."""
    starts = sorted((offset, name) for name, (offset, _) in found.places.items())
    related = {}
    for key, entry in entries.items():
        at = bisect_right(starts, (entry.offset, "\U0010ffff")) - 1
        if at < 0:
            return None
        begin, name = starts[at]
        related[key] = name, replace(entry, offset=entry.offset - begin)
    return related if place(related, found) is not None else None


def place(related: Related, found: Records) -> dict[str, Entry] | None:
    """Where the same tensors lie in a file of other records; None if a record is missing there, or too short."""
    entries = {}
    for key, (name, entry) in related.items():
        offset, size = found.places.get(name, (0, -1))
        count = math.prod(entry.shape) if entry.strides is None else span(entry.shape, entry.strides)
        if entry.offset + count * DTYPES[entry.dtype].itemsize > size:
            return None
        entries[key] = replace(entry, offset=offset + entry.offset)
    return entries
