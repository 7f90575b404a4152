"""Writing so that a kill at any instant leaves the old file or the new one, never half of either."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wdiv.errors import BadStore, WdivError

__all__ = [
    "as_toml", "check_format", "clear_leftovers", "one_at_a_time", "parse_json", "plain_name", "read_bytes",
    "read_json", "read_toml", "sha256", "short_name", "write_atomically", "write_json",
]  # fmt: skip


LONGEST = 220
"""Bytes of a name that is made of others' words."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, sync it, and rename it into place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync(path.parent)
    return path


def clear_leftovers(folder: Path) -> None:
    """Remove the temporary files of a folder that a process has left which was killed in the middle of a write."""
    for file in folder.glob(".*.tmp"):
        pid = file.name.split(".")[-2]
        if file.is_file() and pid.isdecimal() and not _is_alive(int(pid)):
            file.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Around reading a file and writing it anew: of two processes that do, one waits for the other."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle on a directory to sync
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> Path:
    """Write ``data`` as JSON, atomically; on one line where ``indent`` is None."""
    text = json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)
    return write_atomically(path, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file of a store; :class:`~wdiv.errors.BadStore` where it is missing or damaged."""
    return parse_json(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """A file of a store; :class:`~wdiv.errors.BadStore` where it is missing, or cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadStore(f"{path}: no such file; is this a wdiv store?") from None
    except OSError as error:
        raise BadStore(f"{path}: cannot be read ({error.strerror or error})") from None


def parse_json(path: Path, content: bytes) -> Any:
    """What a file of this content says; :class:`~wdiv.errors.BadStore` where that is no JSON."""
    try:
        return json.loads(content)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadStore(f"{path}: damaged JSON ({error})") from None


def check_format(data: object, where: object, known: int, before: int | None = None, oldest: int | None = None) -> None:
    """Raise :class:`~wdiv.errors.BadStore` unless a file's content says that it is in a format that this wdiv reads.

    known   the format that it writes;  oldest: the first that it reads; None: it reads that alone
    before  the format of what does not say it, as files did not in older versions; None where they always did
    """
    found = data.get("format", before) if isinstance(data, Mapping) else before
    first = known if oldest is None else oldest
    if type(found) is not int or not first <= found <= known:
        reads = f"format {known}" if first == known else f"formats {first} to {known}"
        raise BadStore(f"{where}: written in format {found!r}; this wdiv reads {reads}")


def read_toml(path: Path, what: str, error: type[WdivError]) -> dict[str, Any]:
    """Read a TOML file that a user wrote; ``error``, saying ``what`` it should be, where it is missing or is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise error(f"{path}: no such {what}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise error(f"{path}: not a TOML file ({problem})") from None


def as_toml(fields: Mapping[str, Any]) -> str:
    """Fields as TOML: a mapping under a heading, a list of mappings under one each, all within them in one line.

    TOML has no null: in a list it is ``"all"``, a field of a table is left out.

    >>> print(as_toml({"sizes": [5, None], "pretrain": {"data": "digits", "rate": None, "augment": {"flip": 1}}}))
    sizes = [5, "all"]
    <BLANKLINE>
    [pretrain]
    data = "digits"
    augment = {flip = 1}
    """
    import tomlkit

    def within(value: Any) -> Any:
        if isinstance(value, Mapping):
            return filled(tomlkit.inline_table(), value)
        if isinstance(value, (list, tuple)):
            array = tomlkit.array()
            array.extend([within(one) for one in value])
            return array
        return "all" if value is None else value

    def filled(table: Any, values: Mapping[str, Any]) -> Any:
        table.update({key: within(one) for key, one in values.items() if one is not None})
        return table

    document = tomlkit.document()
    for key, value in fields.items():
        if isinstance(value, Mapping):
            document[key] = filled(tomlkit.table(), value)
        elif isinstance(value, (list, tuple)) and value and isinstance(value[0], Mapping):
            document[key] = tomlkit.aot()
            for one in value:
                document[key].append(filled(tomlkit.table(), one))
        else:
            document[key] = within(value)
    return tomlkit.dumps(document).strip()


def sha256(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def plain_name(text: str) -> str:
    """Text as a part of a file's name."""
    return short_name(re.sub(r"[^\w.=]+", "-", text))


def short_name(name: str, end: str = "") -> str:
    """A name, and what it ends in, as long as a file system takes them: 255 bytes, of which some are for what wdiv puts
    before and behind. What is left out is told by a digest.

    >>> short_name("resnet50-photos", "-s0"), len(short_name("resnet50" * 50, "-s0"))
    ('resnet50-photos-s0', 220)
    """
    raw = name.encode()
    if len(raw) + len(end.encode()) <= LONGEST:
        return name + end
    digest = f"-{hashlib.sha256(raw).hexdigest()[:12]}{end}"
    return raw[: LONGEST - len(digest.encode())].decode(errors="ignore") + digest
