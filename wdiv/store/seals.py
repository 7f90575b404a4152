"""Digests that tell damage from what was written: of a tensor, of a JSON file and its lines, at the end of any file.

Whoever writes a file of a store seals it; what is read without a right seal is not believed. A seal is no signature: it
is made to see what disks, copies and editors do. The digest is XXH3, 128 bits (https://xxhash.com).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wdiv.errors import Damaged
from wdiv.store.files import check_format, parse_json, read_bytes, write_atomically
from wdiv.store.kept import fingerprint_of

__all__ = [
    "SEALED", "check_seal", "check_tail", "digest", "fast_digest", "file_digest", "has_tail", "pack", "read_sealed",
    "seal", "sealed_lines", "unpack", "unsealed_lines", "write_sealed", "write_with_tail",
]  # fmt: skip

SEALED = 2
"""The format from which on files of a store are sealed. Those of format 1 are as good as what they say."""

_SEAL = re.compile(rb'(.*),\s*"digest": "([0-9a-f]{32})"\s*\}\s*', re.DOTALL)
_TAIL = re.compile(rb"\nxxh3 ([0-9a-f]{32})\n")
_TAIL_BYTES = len(b"\nxxh3 \n") + 32
_sound: dict[tuple[str, tuple[int, ...]], bool] = {}


def digest(*parts: Any) -> str:
    """XXH3 of bytes, one part after the other, in hexadecimal.

    >>> digest(b"ab", b"c") == digest(b"abc"), len(digest())
    (True, 32)
    """
    import xxhash

    found = xxhash.xxh3_128()
    for part in parts:
        found.update(part)
    return str(found.hexdigest())


def file_digest(path: Path) -> str:
    """:func:`digest` of a file's content."""
    import xxhash

    with path.open("rb") as file:
        return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()


def fast_digest(array: np.ndarray) -> bytes:
    """The first 8 bytes of :func:`digest` of a tensor's type, shape and bytes: XXH3 reads 20 GB/s, SHA-256 one.

    >>> a = np.zeros(3, np.float32)
    >>> fast_digest(a) == fast_digest(a.copy()), fast_digest(a) == fast_digest(-a), fast_digest(a) == fast_digest(a[:2])
    (True, False, False)
    """
    told = f"{array.dtype.str}{array.shape}".encode()
    return bytes.fromhex(digest(told, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)[:16])


def pack(digests: Mapping[str, bytes]) -> str:
    """The digests of tensors, in the order of their names, as text; :func:`unpack` with the names gives them back.

    >>> unpack(pack({"b": b"12345678", "a": b"abcdefgh"}), ["b", "a"])
    {'a': b'abcdefgh', 'b': b'12345678'}
    """
    return base64.b64encode(b"".join(digests[key] for key in sorted(digests))).decode()


def unpack(text: str, keys: Iterable[str]) -> dict[str, bytes]:
    """The digest of each of these tensors. Raises :class:`ValueError` where there are not as many."""
    names, found = sorted(keys), base64.b64decode(text, validate=True)
    if len(found) != 8 * len(names):
        raise ValueError(f"{len(found) / 8:g} digests of {len(names)} tensors")
    return {key: found[8 * i : 8 * i + 8] for i, key in enumerate(names)}


def seal(text: str, after: str = "") -> str:
    """A JSON object with the digest of its text as its last field. after: what the seal is to depend on besides.

    >>> print(seal('{"epoch": 3}'))
    {"epoch": 3, "digest": "f37fd3ea01f8369de60f5e7c6f36a30b"}
    """
    end = "\n}" if text.endswith("\n}") else "}"
    body, gap = text.removesuffix(end), ",\n " if end == "\n}" else ", "
    return f'{body}{gap}"digest": "{digest(after.encode(), body.encode())}"{end}'


def check_seal(content: bytes, where: Path, required: bool, after: str = "") -> str:
    """The seal of a JSON object; empty where there is none and none is required.

    Raises :class:`~wdiv.errors.Damaged`, of the file ``where``, for one that is not of what stands there.
    """
    found = _SEAL.fullmatch(content)
    if found is None and not required:
        return ""
    if found is None or digest(after.encode(), found[1]).encode() != found[2]:
        raise Damaged(where)
    return found[2].decode()


def write_sealed(path: Path, data: Mapping[str, Any], *, indent: int | None = 1) -> Path:
    """Write ``data`` as sealed JSON, atomically; on one line where ``indent`` is None."""
    text = seal(json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False))
    return write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def read_sealed(path: Path, known: int = SEALED, before: int | None = None) -> Any:
    """What :func:`write_sealed` wrote, its seal taken off.

    known, before  formats as in :func:`~wdiv.store.files.check_format`; a file of format 1 need not have a seal

    Raises :class:`~wdiv.errors.BadStore` where the file is missing, damaged or of another format.
    """
    content = read_bytes(path)
    data = parse_json(path, content)
    if not isinstance(data, dict):
        raise Damaged(path, "no JSON object")
    check_format(data, path, known, before, oldest=1)
    check_seal(content, path, required=data.get("format", 1) >= SEALED)
    data.pop("digest", None)
    return data


def sealed_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """A line of JSON each, the seal of each depending on all before it."""
    lines, last = [], ""
    for row in rows:
        lines.append(seal(json.dumps(row, allow_nan=False), last))
        last = lines[-1][-34:-2]
    return "".join(line + "\n" for line in lines)


def unsealed_lines(content: bytes, where: Path, required: bool) -> list[dict[str, Any]]:
    """What :func:`sealed_lines` was made of. required: False where lines may be without a seal, as of format 1.

    >>> unsealed_lines(sealed_lines([{"epoch": 0}, {"epoch": 1}]).encode(), Path("history.jsonl"), required=True)
    [{'epoch': 0}, {'epoch': 1}]
    """
    rows, last = [], ""
    try:
        for line in content.splitlines():
            rows.append(json.loads(line))
            last = check_seal(line, where, required, last)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise Damaged(where, str(error)) from None
    return [{key: value for key, value in row.items() if key != "digest"} for row in rows]


def write_with_tail(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a file, and put its tail behind it, atomically. Readers of netCDF and zip pass over a tail."""

    def fill(temporary: Path) -> None:
        write(temporary)
        found = file_digest(temporary)
        with temporary.open("ab") as file:
            file.write(_tail(found))

    return write_atomically(path, fill)


def has_tail(path: Path) -> bool:
    """True if a file is what :func:`write_with_tail` has written; hashed once, as long as it is the same file."""
    try:
        now = os.fspath(path), fingerprint_of(path.stat())
    except FileNotFoundError:
        return False
    if now not in _sound:
        _sound[now] = check_tail(path.read_bytes()) is not None
    return _sound[now]


def _tail(found: str) -> bytes:
    return f"\nxxh3 {found}\n".encode()


def check_tail(content: bytes) -> bytes | None:
    """The content without its tail, if that is right; None if there is none, or not of this content.

    >>> tail = f"\\nxxh3 {digest(b'abc')}\\n".encode()
    >>> check_tail(b"abc" + tail), check_tail(b"abd" + tail), check_tail(b"abc")
    (b'abc', None, None)
    """
    body, found = content[:-_TAIL_BYTES], _TAIL.fullmatch(content[-_TAIL_BYTES:])
    return body if found is not None and digest(body).encode() == found[1] else None
