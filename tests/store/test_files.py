"""Atomic writing, shown by interruption: afterwards the old file is there or the new one, never half of either."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wdiv.errors import BadStore
from wdiv.store import files
from wdiv.store.files import read_json, sha256, write_atomically, write_json

HALF_WAY = """
import sys
from pathlib import Path
from wdiv.store.files import write_atomically

def write(temporary):
    with temporary.open("wb") as file:
        file.write(b"new" * 1000)
        file.flush()
        print("half", flush=True)
        sys.stdin.read()

write_atomically(Path(sys.argv[1]), write)
"""
OVER_AND_OVER = """
import itertools, sys
from pathlib import Path
from wdiv.store.files import write_atomically

for n in itertools.count(1):
    write_atomically(Path(sys.argv[1]), lambda temporary: temporary.write_bytes(bytes([n % 256]) * 300_000))
    print(n, flush=True)
"""


def killed(program: str, path: Path, *, lines: int, after: float = 0.0) -> None:
    """Run a program on a path and ``kill -9`` it some seconds after it has printed so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(lines):
            assert process.stdout.readline(), "the program ended by itself"
        time.sleep(after)
        process.kill()
        process.stdout.read()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("old", [b"old", None])
def test_a_kill_in_the_middle_of_writing_leaves_what_was_there(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    killed(HALF_WAY, path, lines=1)
    assert (path.read_bytes() if path.exists() else None) == old


def test_a_kill_at_any_instant_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for lines, after in ((1, 0.0), (2, 0.002), (3, 0.0007), (2, 0.0113)):
        killed(OVER_AND_OVER, path, lines=lines, after=after)
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1


@pytest.mark.parametrize("old", [b"old", None])
def test_a_writer_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, write)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == ({"file": old} if old is not None else {})


def test_writing_makes_the_folder_and_leaves_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for content in (b"one", b"two"):
        assert write_atomically(path, lambda temporary, content=content: temporary.write_bytes(content)) == path
        assert path.read_bytes() == content
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_the_content_is_on_disk_before_the_name_is_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle: int) -> None:
        steps.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{handle}')).name}")
        fsync(handle)

    def noted_replace(source: Path, target: Path) -> None:
        steps.append(f"rename {source.name}")
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", noted_fsync)
    monkeypatch.setattr(files.os, "replace", noted_replace)
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to tell which file a handle is of")
    write_atomically(tmp_path / "file", lambda temporary: temporary.write_bytes(b"x"))
    temporary = f".file.{os.getpid()}.tmp"
    assert steps == [f"fsync {temporary}", f"rename {temporary}", f"fsync {tmp_path.name}"]


def test_json_comes_back(tmp_path: Path) -> None:
    data = {"a": [1, 2.5, None, True], "σ": "‖é"}
    assert read_json(write_json(tmp_path / "x.json", data)) == data
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert read_json(tmp_path / "x.json") == data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "x.json: no such file; is this a wdiv store?"),
        (b"", "x.json: damaged JSON"),
        (b'{"a": 1', "x.json: damaged JSON"),
        (b'"\xff\xfe"', "x.json: damaged JSON"),
    ],
)
def test_reading_what_is_no_json(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(BadStore, match=message) as caught:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(caught.value)


def test_sha256(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "x").write_bytes(content)
    assert sha256(tmp_path / "x") == hashlib.sha256(content).hexdigest()
