"""Where tensors lie in files that others wrote: read in place, they are what loading the whole file gives."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.fabric import base_state
from tests.store.test_foreign import PYTORCH, RunsCode, says_which, sharded
from wdiv.errors import BadWeights
from wdiv.store import archive
from wdiv.store.archive import contents
from wdiv.store.foreign import read_state_dict
from wdiv.store.imported import WHOLE, TensorLocation, read_tensor_at
from wdiv.store.tensors import Known


def in_place(path: Path) -> dict[str, np.ndarray]:
    """Every tensor, read one by one from where it is said to lie."""
    seen = contents(path)
    found = {}
    for key, (number, entry) in seen.entries.items():
        file = seen.files[number]
        found[key] = read_tensor_at(TensorLocation(file.path, key, Known(entry, file.size, file.mtime_ns)))
    return found


def assert_the_same(path: Path) -> None:
    expected, _ = read_state_dict(path)
    found = in_place(path)
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape), key
        assert found[key].tobytes() == value.tobytes(), key


def awkward() -> dict[str, Any]:
    """Tensors however they lie in memory, some of them in one storage."""
    torch = pytest.importorskip("torch")
    whole = torch.arange(120.0).reshape(2, 3, 4, 5)
    return {
        "plain": torch.nn.Parameter(whole.clone()),
        "tied": whole,
        "tied again": whole,
        "part": whole[1:, 1:, ::2, 3:],
        "turned": whole.permute(3, 0, 2, 1),
        "last": torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last),
        "wide": whole[:1, :1, :1, :1].expand(2, 3, 4, 5),
        "half": torch.randn(3, 4).half(),
        "brain": torch.randn(3, 4).bfloat16().T,
        "double": torch.randn(3).double(),
        "count": torch.tensor(7),
        "mask": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_tensors_are_read_where_they_lie(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    same = [torch.zeros(5), torch.zeros(5), torch.ones(5)]  # equal storages, of which any may stand for any
    state = {f"module.{key}": value for key, value in awkward().items()}
    torch.save({"epoch": 3, "optimizer": {"state": {0: {"m": same}}}, "state_dict": state}, path,
               _use_new_zipfile_serialization=zipped)  # fmt: skip
    seen = contents(path)
    assert not seen.whole
    assert seen.prefix == "module."
    assert seen.entries["last"][1].strides is not None
    assert seen.entries["plain"][1].strides is None
    assert seen.entries["tied"][1].offset == seen.entries["tied again"][1].offset
    assert_the_same(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_rows_of_strided_tensors(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path, state = tmp_path / "x.pth", awkward()
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    seen = contents(path)
    file = seen.files[0]
    for key in ("plain", "part", "turned", "last", "wide", "brain"):
        location = TensorLocation(file.path, key, Known(seen.entries[key][1], file.size, file.mtime_ns))
        np.testing.assert_array_equal(read_tensor_at(location, 1, 2), state[key][1:2].detach().float().numpy())


def test_a_network_in_one_file_or_in_shards(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(save(base_state()))
    assert_the_same(tmp_path / "x.safetensors")
    index = sharded(tmp_path / "parts")
    assert_the_same(index)
    assert [file.path.name for file in contents(tmp_path / "parts").files] == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_cannot_be_read_in_place_is_read_whole(
    tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({**awkward(), "odd": torch.tensor([1 + 2j]).conj()}, path, _use_new_zipfile_serialization=zipped)
    seen = contents(path)
    assert seen.whole
    assert [key for key, (_, entry) in seen.entries.items() if entry.offset == WHOLE] == ["odd"]
    assert_the_same(path)
    monkeypatch.setattr(archive, "_walk", lambda *_: {})
    monkeypatch.setattr(archive, "_load_fake", lambda path: (archive.read_torch(path), {}))
    assert all(entry.offset == WHOLE for _, entry in contents(path).entries.values())
    assert_the_same(path)
    os.utime(path, ns=(0, 0))
    file = seen.files[0]
    with pytest.raises(Exception, match="changed since it was imported; import it again"):
        read_tensor_at(TensorLocation(path, "odd", Known(seen.entries["odd"][1], file.size, file.mtime_ns)))


def test_an_old_file_that_says_more_than_its_tensors(tmp_path: Path) -> None:
    """Bytes that no tensor accounts for: nothing is guessed, the file is read whole."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save(awkward(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + bytes(24))
    assert contents(path).whole
    assert_the_same(path)


def test_of_epochs_with_one_pickle_only_the_first_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    loads: list[Path] = []
    real = archive._load_fake
    monkeypatch.setattr(archive, "_pickles", {})
    monkeypatch.setattr(archive, "_load_fake", lambda path: loads.append(path) or real(path))
    for name in ("1", "2", "a much longer name, so that all records lie elsewhere"):
        state = {f"module.{key}": value for key, value in awkward().items()}
        torch.save(state, tmp_path / f"{name}.pth")
        assert contents(tmp_path / f"{name}.pth").prefix == "module."
    assert len(loads) == 1
    offsets = set()
    for path in tmp_path.iterdir():
        assert_the_same(path)
        offsets.add(contents(path).entries["plain"][1].offset)
    assert len(loads) == 1
    assert len(offsets) > 1
    torch.save({**awkward(), "more": torch.ones(2)}, tmp_path / "other.pth")
    assert_the_same(tmp_path / "other.pth")
    assert len(loads) == 2


def test_a_record_shorter_than_the_pickle_says_is_not_read_over(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.randn(64, 64)}, tmp_path / "x.pth")
    contents(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as sound, zipfile.ZipFile(tmp_path / "y.pth", "w") as short:
        for info in sound.infolist():
            data = sound.read(info)
            short.writestr(info.filename, data[:100] if info.filename.endswith("/data/0") else data)
    with pytest.raises(BadWeights, match=r"y\.pth: "):
        in_place(tmp_path / "y.pth")


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"fc.weight": torch.zeros(50, 50)}, tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as sound, zipfile.ZipFile(tmp_path / "y.pth", "w") as packed:
        for info in sound.infolist():
            packed.writestr(info.filename, sound.read(info), zipfile.ZIP_DEFLATED)
    with pytest.raises(BadWeights, match=r"y\.pth: refused, "):
        contents(tmp_path / "y.pth")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("sort", PYTORCH)
def test_tensors_that_are_no_plain_numbers(tmp_path: Path, sort: str, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({"a": torch.ones(2), "odd": PYTORCH[sort](torch)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BadWeights) as caught:
        contents(path)
    assert says_which(str(caught.value), sort)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_pickle_that_would_run_code_does_not(tmp_path: Path, form: str) -> None:
    torch = pytest.importorskip("torch")
    canary, path = tmp_path / "canary", tmp_path / "x.pth"
    evil = {"state_dict": {"a": torch.ones(2)}, "extra": RunsCode(canary)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(RunsCode(canary)))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(BadWeights, match=r"holds more than tensors|not a readable PyTorch file"):
        contents(path)
    assert not canary.exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_damaged_files_are_refused_or_read_as_they_are(tmp_path: Path, zipped: bool) -> None:
    """Never another error, never a place outside the file."""
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({"fc.weight": torch.randn(4, 3), "fc.bias": torch.randn(4)}, path, _use_new_zipfile_serialization=zipped)
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    refusals: list[str] = []
    for attempt in range(60):
        content = bytearray(sound)
        if attempt % 3 == 2:
            del content[int(rng.integers(len(content))) :]
        else:
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            found = in_place(path)
        except BadWeights as error:
            refusals.append(str(error))
        else:
            assert all(isinstance(value, np.ndarray) for value in found.values())
    assert len(refusals) >= 20
    assert not any("\n" in line for line in refusals)


def test_the_real_files(shared: Path) -> None:
    pytest.importorskip("torch")
    for name in ("mobilenet_v1_x025_imagenet.pth.tar", "mobilenet0.25_epoch_10.pth"):
        path = shared / "checkpoints" / name
        assert not contents(path).whole
        assert_the_same(path)
