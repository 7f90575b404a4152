"""The one door: where tensors lie, and that no more than asked for is read; also from files that are damaged."""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from wdiv.errors import BadStore
from wdiv.store import tensors
from wdiv.store.kept import fingerprint
from wdiv.store.tensors import Entry, Known, index, keys, read, span

STATE: Mapping[str, np.ndarray] = {
    "half": np.linspace(-2, 2, 12, dtype=np.float16).reshape(4, 3),
    "single": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "double": np.array([1 / 3, np.pi]),
    "count": np.array(7),
    "bytes": np.arange(5, dtype=np.uint8),
    "mask": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    path.write_bytes(save(dict(STATE)))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(offset, bytes) of every system call that reads."""
    done: list[tuple[int, int]] = []
    pread = tensors._pread

    def counted(handle: int, buffers: list[Any], offset: int) -> int:
        done.append((offset, sum(memoryview(b).nbytes for b in buffers)))
        return pread(handle, buffers, offset)

    monkeypatch.setattr(tensors, "_pread", counted)
    return done


def bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers."""
    return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def by_hand(entries: dict[str, tuple[str, tuple[int, ...]]], data: bytes) -> bytes:
    """A safetensors file of types that NumPy lacks, one tensor after the other."""
    import json

    width = {"BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F32": 4}
    header, place = {}, 0
    for name, (dtype, shape) in entries.items():
        size = width[dtype] * int(np.prod(shape, dtype=int))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_everything_comes_back_as_it_was(file: Path) -> None:
    assert set(keys(file)) == set(STATE)
    for key, value in STATE.items():
        found = read(file, key)
        assert (found.dtype, found.shape, found.tobytes()) == (value.dtype, value.shape, value.tobytes())
        assert found.flags.writeable


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (2, None), (0, 99), (3, 3), (3, 1), (-1, None)])
def test_rows_are_numpys(file: Path, start: int, stop: int | None) -> None:
    for key in ("half", "single", "double", "empty"):
        np.testing.assert_array_equal(read(file, key, start, stop), STATE[key][start:stop])


def test_no_more_than_the_rows_is_read(file: Path, asked: list[tuple[int, int]]) -> None:
    entry = index(file)["half"]
    del asked[:]
    read(file, "half", 1, 3)
    assert asked == [(entry.offset + 6, 12)]
    read(file, "empty")
    assert len(asked) == 1


def test_into_an_array_that_is_there(file: Path) -> None:
    whole = np.zeros((3, 2, 3, 4), np.float32)
    assert read(file, "single", 0, None, None, whole[1]).base is not None
    np.testing.assert_array_equal(whole[1], STATE["single"])
    assert not whole[[0, 2]].any()
    for out in (np.zeros((2, 3, 4)), np.zeros((4, 3, 2), np.float32).T):  # of another type, not contiguous
        assert read(file, "single", 0, None, None, out) is out
        np.testing.assert_array_equal(out, STATE["single"])
    with pytest.raises(
        BadStore, match=r"x\.safetensors: tensor 'single' has shape \(2, 3, 4\), which is not its layer's"
    ):
        read(file, "single", 0, None, None, whole[0, :1])


@pytest.mark.parametrize("shape", [(6,), (2, 3), ()])
def test_bfloat16_comes_as_float32(tmp_path: Path, shape: tuple[int, ...]) -> None:
    exact = np.array([0.0, -1.5, 2.0**100, np.inf, 3.140625, -0.0], np.float32)[: int(np.prod(shape, dtype=int))]
    path = tmp_path / "x.safetensors"
    path.write_bytes(by_hand({"a": ("BF16", shape)}, bfloat16(exact).tobytes()))
    found = read(path, "a")
    assert (found.dtype, found.shape) == (np.float32, shape)
    assert found.tobytes() == exact.tobytes()
    if shape == (2, 3):
        np.testing.assert_array_equal(read(path, "a", 1, 2), exact.reshape(2, 3)[1:2])
        out = np.zeros(shape, np.float32)
        read(path, "a", 0, None, None, out)
        assert out.tobytes() == exact.tobytes()


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_float8_comes_as_float32(tmp_path: Path, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    kind = {"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}[dtype]
    raw = np.array([0, 0x38, 0xB8, 0x40], np.uint8)
    path = tmp_path / "x.safetensors"
    path.write_bytes(by_hand({"a": (dtype, (2, 2))}, raw.tobytes()))
    expected = torch.from_numpy(raw).view(kind).float().reshape(2, 2).numpy()
    np.testing.assert_array_equal(read(path, "a"), expected)


@pytest.mark.parametrize("strides", [(4, 1), (1, 2), (8, 3), (0, 1), (0, 0)])
def test_tensors_that_lie_with_strides(tmp_path: Path, strides: tuple[int, int]) -> None:
    flat = np.arange(40, dtype=np.float32)
    path = tmp_path / "x.bin"
    path.write_bytes(flat.tobytes())
    stat = path.stat()
    known = Known(Entry("F32", (2, 3), 20, strides), stat.st_size, stat.st_mtime_ns)
    expected = np.lib.stride_tricks.as_strided(flat[5:], (2, 3), [4 * step for step in strides])
    np.testing.assert_array_equal(read(path, "a", 0, None, known), expected)
    np.testing.assert_array_equal(read(path, "a", 1, 2, known), expected[1:2])
    assert span((2, 3), strides) == np.ptp([i * strides[0] + j * strides[1] for i in range(2) for j in range(3)]) + 1


def test_what_is_not_there(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadStore, match=r"x\.safetensors: no tensor 'other' in it$"):
        read(file, "other")
    for call in (index, keys, fingerprint, lambda path: read(path, "a")):
        with pytest.raises(BadStore, match=r"none\.safetensors: no such file$"):
            call(tmp_path / "none.safetensors")
    with pytest.raises(BadStore, match="cannot be read"):
        read(tmp_path, "a")


def test_a_file_that_was_cut_short(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    for left in (0, 5, 30, len(content) - 1):
        file.write_bytes(content[:left])
        with pytest.raises(BadStore, match="not a readable safetensors file"):
            read(file, "single")
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(20))
    stat = path.stat()
    with pytest.raises(BadStore, match=r"x\.bin: damaged: truncated, 4 bytes are missing at its end"):
        read(path, "a", 0, None, Known(Entry("F32", (4,), 8), stat.st_size, stat.st_mtime_ns))


def test_a_file_cut_while_it_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its identity was checked: the end of the file is met, and said, and what was read is not given out."""
    look = tensors._look

    def cut(path: Path, handle: int) -> Any:
        found = look(path, handle)
        os.truncate(path, found.entries["single"].offset + 40)
        return found

    monkeypatch.setattr(tensors, "_look", cut)
    with pytest.raises(BadStore, match="truncated, 56 bytes are missing"):
        read(file, "single")


def test_calls_that_give_less_than_asked_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = tensors._pread
    monkeypatch.setattr(tensors, "_pread", lambda handle, buffers, at: pread(handle, [memoryview(buffers[0])[:7]], at))
    known = {key: Known(entry, *file.stat()[6:7], file.stat().st_mtime_ns) for key, entry in index_of(file).items()}
    for key, value in STATE.items():
        assert read(file, key, 0, None, known[key]).tobytes() == value.tobytes()


def index_of(path: Path) -> Mapping[str, Entry]:
    """The header read by itself, without the door."""
    import json

    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {k: Entry(v["dtype"], tuple(v["shape"]), 8 + length + v["data_offsets"][0]) for k, v in header.items()}


def test_where_systems_have_no_preadv(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_pread", tensors._preadv)
    monkeypatch.setattr(tensors, "_files", {})
    monkeypatch.setattr(tensors, "_headers", {})
    for key, value in STATE.items():
        assert read(file, key).tobytes() == value.tobytes()
    np.testing.assert_array_equal(read(file, "single", 1, 2), STATE["single"][1:2])


def test_a_file_in_another_ones_place_is_seen(file: Path, tmp_path: Path) -> None:
    read(file, "single")
    other = tmp_path / "new"
    other.write_bytes(save({**STATE, "single": STATE["single"] + 1}))
    os.utime(other, ns=(0, file.stat().st_mtime_ns))  # of the same size and time: only its number differs
    os.replace(other, file)
    np.testing.assert_array_equal(read(file, "single"), STATE["single"] + 1)
    file.write_bytes(save({"b": np.ones(2)}))
    assert keys(file) == ("b",)


def test_a_header_is_parsed_and_kept_once_for_all_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[Path] = []
    parse = tensors._parse

    def counted(path: Path, header: bytes, size: int) -> Mapping[str, Entry]:
        parsed.append(path)
        return parse(path, header, size)

    monkeypatch.setattr(tensors, "_parse", counted)
    for epoch in range(20):
        path = tmp_path / f"{epoch:04d}.safetensors"
        path.write_bytes(save({"unique to this test": np.full(3, epoch, np.float32)}))
        assert read(path, "unique to this test").tolist() == [epoch] * 3
    assert len(parsed) == 1
    assert len({id(index(tmp_path / f"{epoch:04d}.safetensors")) for epoch in range(20)}) == 1


def test_what_is_kept_does_not_grow_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_FILES", 4)
    monkeypatch.setattr(tensors, "_HEADERS", 2)
    monkeypatch.setattr(tensors, "_files", {})
    monkeypatch.setattr(tensors, "_headers", {})
    for size in [*range(1, 9), *range(1, 9)]:
        path = tmp_path / f"{size}.safetensors"
        path.write_bytes(save({"a": np.full(size, size, np.float32)}))
        assert read(path, "a").tolist() == [size] * size
    assert (len(tensors._files), len(tensors._headers)) == (4, 2)


def test_several_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_FILES", 8)
    paths = [tmp_path / f"{n}.safetensors" for n in range(16)]
    for number, path in enumerate(paths):
        path.write_bytes(save({"a": np.full(1000, number, np.float32), "b": np.full(number + 1, number)}))

    def check(task: int) -> bool:
        number = task % len(paths)
        return bool((read(paths[number], "a") == number).all() and (read(paths[number], "b") == number).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(check, range(800)))


def test_no_file_stays_open(file: Path) -> None:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc to count open files")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        read(file, "single")
        with pytest.raises(BadStore):
            read(file, "other")
    assert len(os.listdir("/proc/self/fd")) == before
