"""Checkpoints of strangers: what is understood, and what is refused. A refusal is one line, never another error."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from tests.fabric import TABLE, base_state
from wdiv.errors import BadWeights
from wdiv.store.foreign import SUFFIXES, Checkpoint, layers_from_shapes, open_checkpoint, peel, read_state_dict, rename

PLAIN = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2, np.float32)}


def live(state: Mapping[str, Any]) -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    return {k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in state.items()}


def refused(path: Path) -> str:
    """The one line with which a file is refused."""
    with pytest.raises(BadWeights) as caught:
        open_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


@contextmanager
def little_memory(megabytes: int = 64) -> Iterator[None]:
    """Fails if the process's peak memory grows by more than this; on Linux, where the peak can be set back."""

    def peak() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        yield
        return
    before = peak()
    yield
    assert peak() - before < megabytes


# Wrappers and names


@pytest.mark.parametrize(
    ("wrap", "peeled"),
    [
        (lambda s: s, ()),
        (lambda s: {"state_dict": s, "epoch": 3}, ("state_dict",)),
        (lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}}, ("model",)),
        (lambda s: {"model_state_dict": s}, ("model_state_dict",)),
        (lambda s: {"checkpoint": 1, "model": {"state_dict": s}}, ("model", "state_dict")),
        (lambda s: {"module." + k: v for k, v in s.items()}, ("module.",)),
        (lambda s: {"_orig_mod." + k: v for k, v in s.items()}, ("_orig_mod.",)),
        (lambda s: {"module._orig_mod." + k: v for k, v in s.items()}, ("module.", "_orig_mod.")),
        (lambda s: {"net": {"_orig_mod.module." + k: v for k, v in s.items()}}, ("net", "_orig_mod.", "module.")),
        (lambda s: {"model_ema": {"module." + k: v for k, v in s.items()}, "best": 0.9}, ("model_ema", "module.")),
    ],
)
def test_wrappers_and_prefixes_are_peeled(wrap: Callable[[Any], Any], peeled: tuple[str, ...]) -> None:
    state, found = peel(wrap(PLAIN))
    assert list(state) == list(PLAIN)
    assert all(state[key] is PLAIN[key] for key in PLAIN)
    assert found == peeled


def test_what_is_not_a_wrapper_stays() -> None:
    """A prefix that not every name has is part of the names; a tensor called 'model' is a tensor."""
    state = {"module.fc.weight": PLAIN["fc.weight"], "head.weight": PLAIN["fc.weight"]}
    assert peel(state) == (state, ())
    assert list(peel({"model": PLAIN["fc.bias"], "fc.weight": PLAIN["fc.weight"]})[0]) == ["model", "fc.weight"]
    assert peel({"epoch": 3, "lr": 0.1, "name": "x"}) == ({}, ())
    assert peel([PLAIN]) == peel(None) == ({}, ())


def test_a_dict_that_holds_itself_is_given_up() -> None:
    endless: dict[str, Any] = {"epoch": 1}
    endless["model"] = endless
    state, peeled = peel(endless)
    assert state == {}
    assert set(peeled) == {"model"}


# Files that are read


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".tar", ".bin", ".ckpt", ".pth.tar"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pytorch_files(tmp_path: Path, suffix: str, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / f"x{suffix}"
    wrapped = {"epoch": 3, "state_dict": {"module." + key: value for key, value in live(base_state()).items()}}
    torch.save(wrapped, path, _use_new_zipfile_serialization=zipped)
    checkpoint = open_checkpoint(path)
    assert checkpoint.peeled == ("state_dict", "module.")
    assert_is_the_network(checkpoint)


def test_safetensors_files(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(save(base_state()))
    assert_is_the_network(open_checkpoint(tmp_path / "x.safetensors"))


def assert_is_the_network(checkpoint: Checkpoint) -> None:
    state = base_state()
    assert {k: v.tobytes() for k, v in checkpoint.tensors.items()} == {k: v.tobytes() for k, v in state.items()}
    assert checkpoint.table.order == "registration"
    found = {layer.name: (layer.kind, layer.roles, layer.shape) for layer in checkpoint.table}
    assert found == {layer.name: (layer.kind, layer.roles, layer.shape) for layer in TABLE}
    assert checkpoint.outside == ()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "float8_e4m3fn", "int64", "bool"])
def test_number_types(tmp_path: Path, suffix: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    path = tmp_path / f"x{suffix}"
    values = torch.tensor([[0.0, 1.0, 1.5], [-2.0, 0.25, 4.0]])
    state = {"fc.weight": values.to(getattr(torch, dtype)), "steps": torch.tensor(7)}
    (save_file if suffix == ".safetensors" else torch.save)(state, path)
    held = open_checkpoint(path).tensors
    assert str(held["fc.weight"].dtype) == {"bfloat16": "float32", "float8_e4m3fn": "float32"}.get(dtype, dtype)
    np.testing.assert_array_equal(held["fc.weight"].astype(np.float64), state["fc.weight"].double())
    assert held["steps"] == 7


def test_tensors_however_they_lie_in_memory(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "parameter": torch.nn.Parameter(whole),
        "turned": whole.permute(2, 0, 1),
        "part": whole[:, 1:2, ::2],
        "wide": whole[:1, :1, :1].expand(2, 3, 4),
        "conjugate": torch.tensor([1 + 2j]).conj(),
        "empty": torch.empty(0),
    }
    torch.save(state, tmp_path / "x.pth")
    held, _ = read_state_dict(tmp_path / "x.pth")
    assert list(held) == list(state)
    for key, value in state.items():
        np.testing.assert_array_equal(held[key], value.detach().resolve_conj().numpy())


def test_the_real_training_checkpoint(shared: Path) -> None:
    pytest.importorskip("torch")
    checkpoint = open_checkpoint(shared / "checkpoints" / "mobilenet_v1_x025_imagenet.pth.tar")
    assert checkpoint.peeled == ("state_dict", "module.")
    assert [len(checkpoint.table.of(kind)) for kind in ("conv", "bn", "fc")] == [27, 27, 1]
    assert all(layer.roles == ("gamma", "beta", "running_mean", "running_var") for layer in checkpoint.table.of("bn"))


# Hostile files


class RunsCode:
    """Unpickled by a careless reader, it leaves a canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.canary),))


def old_tar(content: Any) -> bytes:
    """PyTorch's oldest format: a tar of pickles."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(content if name == "pickle" else 0)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: {"state_dict": live(PLAIN), "extra": x}], ids=["bare", "deep"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle", "protocol0", "tar"])
@pytest.mark.parametrize("suffix", [".pth", ".tar"])
def test_a_pickle_that_would_run_code_does_not(
    tmp_path: Path, wrap: Callable[[Any], Any], form: str, suffix: str
) -> None:
    torch = pytest.importorskip("torch")
    canary, path = tmp_path / "canary", tmp_path / f"x{suffix}"
    evil = wrap(RunsCode(canary))
    if form in ("zip", "legacy"):
        torch.save(evil, path, _use_new_zipfile_serialization=form == "zip")
    elif form == "tar":
        path.write_bytes(old_tar(evil))
    else:
        path.write_bytes(pickle.dumps(evil, protocol=0 if form == "protocol0" else None))
    message = refused(path)
    assert not canary.exists()
    assert "holds more than tensors" in message or "not a readable PyTorch file" in message
    if form in ("zip", "legacy"):
        assert "holds more than tensors (posix.mkdir), and loading it could run code" in message or os.name == "nt"
        torch.load(path, weights_only=False)  # the canary is a canary
        assert canary.exists()


def header(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


UNREADABLE = "not a readable safetensors file"
SAFETENSORS = {
    "cut in the data": (save(PLAIN)[:-5], UNREADABLE),
    "cut in the header": (save(PLAIN)[:30], UNREADABLE),
    "cut in the length": (save(PLAIN)[:5], UNREADABLE),
    "something after the data": (save(PLAIN) + b"more", UNREADABLE),
    "no tensors": (header({}), "no tensors in it"),
    "header of 1 EiB": (header({}, length=2**60), UNREADABLE),
    "header of 90 MB": (header({}, length=90_000_000), UNREADABLE),
    "tensor of 8 TiB": (header({"a": entry([2**40, 2], [0, 2**43])}, b"1234"), UNREADABLE),
    "tensor of 2^65 bytes": (header({"a": entry([2**63, 4], [0, 0])}), UNREADABLE),
    "shape beyond its data": (header({"a": entry([2**30], [0, 4])}, b"1234"), UNREADABLE),
    "data backwards": (header({"a": entry([1], [4, 0])}, b"1234"), UNREADABLE),
    "data shared": (header({"a": entry([1], [0, 4]), "b": entry([1], [0, 4])}, b"1234"), UNREADABLE),
    "data with a gap": (header({"a": entry([1], [4, 8])}, b"12345678"), UNREADABLE),
    "negative shape": (header({"a": entry([-1], [0, 4])}, b"1234"), UNREADABLE),
    "a type nobody knows": (header({"a": entry([1], [0, 4], "F99")}, b"1234"), UNREADABLE),
    "header no JSON": (header(b"{'a': 1}"), UNREADABLE),
    "header a list": (header([1, 2]), UNREADABLE),
    "header no text": (header(b"\xff\xfe{}"), UNREADABLE),
    "a pickle": (pickle.dumps({"a": 1}), UNREADABLE),
    "text": (b"these are not weights\n" * 9, UNREADABLE),
    "name upwards": (header({"../../etc/x": entry([1], [0, 4])}, b"1234"), "refused, a tensor is named '../../etc/x'"),
    "name upwards inside": (header({"a/../x": entry([1], [0, 4])}, b"1234"), "refused, a tensor is named 'a/../x'"),
    "name absolute": (header({"/etc/x": entry([1], [0, 4])}, b"1234"), "refused, a tensor is named '/etc/x'"),
    "name of a share": (header({"\\\\host\\x": entry([1], [0, 4])}, b"1234"), "refused, a tensor is named '"),
}


@pytest.mark.parametrize("sort", SAFETENSORS)
def test_safetensors_that_lie(tmp_path: Path, sort: str) -> None:
    content, message = SAFETENSORS[sort]
    (tmp_path / "x.safetensors").write_bytes(content)
    with little_memory():
        assert refused(tmp_path / "x.safetensors").startswith(message)


def test_a_number_type_that_neither_numpy_nor_pytorch_reads(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    content = header({"a": entry([2, 4], [0, 4], "F4")}, b"1234")
    (tmp_path / "x.safetensors").write_bytes(content)
    assert refused(tmp_path / "x.safetensors")


# Files in parts, and endings


def sharded(folder: Path, **changes: Any) -> Path:
    """The fabric's network in two shards and their index, which ``changes`` may spoil."""
    folder.mkdir(exist_ok=True)
    state, where = base_state(), {}
    for number, keys in enumerate((list(state)[:5], list(state)[5:]), start=1):
        name = f"model-0000{number}-of-00002.safetensors"
        (folder / name).write_bytes(save({key: state[key] for key in keys}))
        where |= dict.fromkeys(keys, name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where | changes}))
    return index


def test_sharded_files_by_their_index_or_their_folder(tmp_path: Path) -> None:
    index = sharded(tmp_path / "x")
    for path in (index, tmp_path / "x"):
        assert_is_the_network(open_checkpoint(path))
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "model.safetensors").write_bytes(save(base_state()))
    assert_is_the_network(open_checkpoint(tmp_path / "one"))


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("../x.safetensors", "refused, a shard is named '../x.safetensors', which is no plain name of a file"),
        ("/etc/x.safetensors", "refused, a shard is named '/etc/x.safetensors'"),
        ("..\\x.safetensors", "refused, a shard is named"),
        ("a/x.safetensors", "refused, a shard is named"),
        ("x.pth", "refused, a shard is named 'x.pth'"),
        ("none.safetensors", "its shard none.safetensors is missing"),
        ("model-00001-of-00002.safetensors", "no tensor 'more.weight' in its shard model-00001-of-00002.safetensors"),
        (3, "not an index of safetensors files; it has no 'weight_map' of names"),
    ],
)
def test_an_index_that_leads_astray(tmp_path: Path, shard: Any, message: str) -> None:
    index = sharded(tmp_path / "x", **{"more.weight": shard})
    assert refused(index).startswith(message)


def test_an_index_that_is_none(tmp_path: Path) -> None:
    index = sharded(tmp_path / "x")
    for content in ("[]", "{}", '{"weight_map": []}'):
        index.write_text(content)
        assert refused(index) == "not an index of safetensors files; it has no 'weight_map' of names"
    index.write_text("{")
    assert refused(index).startswith("damaged JSON")
    index.write_text('{"weight_map": {}}')
    assert refused(index) == "no tensors in it"


def test_a_folder_of_several_checkpoints(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(save(PLAIN))
    assert refused(tmp_path) == "a folder of 2 checkpoints; give one of them"


@pytest.mark.parametrize("suffix", [".PTH", ".Safetensors", ".PTH.TAR"])
def test_endings_in_capitals(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"X{suffix}"
    if suffix == ".Safetensors":
        path.write_bytes(save(base_state()))
    else:
        pytest.importorskip("torch").save(live(base_state()), path)
    assert_is_the_network(open_checkpoint(path))


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    for name in ("empty.pth", "empty.safetensors"):
        (tmp_path / name).write_bytes(b"")
    for name in ("weights.h5", "weights", "weights.pth.txt", "weights.onnx"):
        (tmp_path / name).write_bytes(b"x")
    for name, message in {
        "none.pth": "no such file",
        "folder.pth": f"not a checkpoint file; known: {', '.join(SUFFIXES)}, or RUN_DIRECTORY@EPOCH",
        "empty.pth": "the file is empty",
        "empty.safetensors": "the file is empty",
        "weights.h5": "not a checkpoint file",
        "weights": "not a checkpoint file",
        "weights.pth.txt": "not a checkpoint file",
        "weights.onnx": "not a checkpoint file",
    }.items():
        assert refused(tmp_path / name).startswith(message)


PYTORCH: dict[str, Callable[[Any], Any]] = {
    "sparse": lambda torch: torch.eye(2).to_sparse(),
    "sparse rows": lambda torch: torch.eye(2).to_sparse_csr(),
    "without data": lambda torch: torch.empty(2, device="meta"),
    "a view of one number that claims 4 TB": lambda torch: torch.ones(1).expand(10**6, 10**6),
    "a half number that claims 2 TB": lambda torch: torch.ones(1, dtype=torch.bfloat16).expand(10**6, 10**6),
    "nested": lambda torch: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}


def says_which(message: str, sort: str) -> bool:
    """A refusal names the tensor ``odd``; some releases of PyTorch refuse a nested one before it can be named."""
    by_pytorch = ("holds more than tensors", "not a readable PyTorch file") if sort == "nested" else ()
    return "\n" not in message and any(words in message for words in ("tensor 'odd': ", *by_pytorch))


@pytest.mark.filterwarnings("ignore::UserWarning")  # sparse rows and nested tensors are new, says PyTorch
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("sort", PYTORCH)
def test_tensors_that_are_no_plain_numbers(tmp_path: Path, sort: str, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({**live(PLAIN), "odd": PYTORCH[sort](torch)}, path, _use_new_zipfile_serialization=zipped)
    with little_memory():
        message = refused(path)
    assert says_which(message, sort)


def test_pytorch_files_without_weights(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    endless: dict[str, Any] = {"epoch": 1}
    endless["model"] = endless
    path = tmp_path / "x.pth"
    for content in ({}, {"epoch": 3}, [torch.ones(2)], torch.ones(2), "text", None, {"state_dict": {}}, endless):
        torch.save(content, path)
        assert refused(path) == "no tensors in it"
    torch.save({"../x": torch.ones(2)}, path)
    assert refused(path) == "refused, a tensor is named '../x'"
    torch.save({"module./x": torch.ones(2)}, path)  # absolute once the prefix is off
    assert refused(path) == "refused, a tensor is named '/x'"
    torch.save(torch.nn.Linear(2, 2), path)
    assert refused(path).startswith("holds more than tensors (torch.nn.modules.linear.Linear), and loading it could")


@pytest.mark.parametrize(
    "content",
    [
        b"these are not weights\n" * 9,
        bytes(range(256)),
        b"\x80",
        b"PK\x03\x04",
        b"PK\x03\x04" + bytes(500),
        b"\x89HDF\r\n\x1a\n" + bytes(100),
        pickle.dumps({"a": 1}),
    ],
    ids=["text", "bytes", "one byte", "zip, cut", "zip, no directory", "hdf5", "pickle"],
)
def test_other_files_called_pth(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("torch")
    (tmp_path / "x.pth").write_bytes(content)
    assert refused(tmp_path / "x.pth")


def test_an_archive_that_unpacks_to_more_than_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a.weight": torch.zeros(5000, 5000)}, tmp_path / "large.pth")
    with zipfile.ZipFile(tmp_path / "large.pth") as large:
        entries = {name: large.read(name) for name in large.namelist()}
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name, content in entries.items():
            bomb.writestr(name, content)
    del entries
    with little_memory():
        message = refused(tmp_path / "bomb.pth")
    size = (tmp_path / "bomb.pth").stat().st_size
    assert message.startswith(f"refused, its {size} bytes would unpack to 1000")
    assert open_checkpoint(tmp_path / "large.pth").tensors["a.weight"].shape == (5000, 5000)


def test_an_old_file_that_claims_more_numbers_than_it_holds(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pth"
    torch.save({"a.weight": torch.ones(4, 2)}, path, _use_new_zipfile_serialization=False)
    sound = path.read_bytes()
    assert sound.count(b"K\x08N") == 1  # the storage's eight numbers
    for claimed in (2**36, 2**45, 2**62):
        path.write_bytes(sound.replace(b"K\x08N", b"\x8a\x08" + struct.pack("<q", claimed) + b"N"))
        with little_memory():
            assert refused(path).startswith("not a readable PyTorch file")


def small_files() -> dict[str, bytes]:
    """A sound file of each sort, small enough that damage hits something."""
    torch = pytest.importorskip("torch")
    files = {"x.safetensors": save(PLAIN)}
    for name, zipped in (("zip.pth", True), ("legacy.pth", False)):
        buffer = io.BytesIO()
        torch.save({"state_dict": live(PLAIN)}, buffer, _use_new_zipfile_serialization=zipped)
        files[name] = buffer.getvalue()
    return files


@pytest.mark.parametrize("name", ["x.safetensors", "zip.pth", "legacy.pth"])
def test_damaged_files_are_read_or_refused(tmp_path: Path, name: str) -> None:
    sound, path = small_files()[name], tmp_path / name
    rng = np.random.default_rng(0)
    refusals: list[str] = []
    for attempt in range(300):
        content = bytearray(sound)
        if attempt % 3 == 2:
            del content[int(rng.integers(len(content))) :]
        else:
            for place in rng.integers(len(content), size=1 + attempt % 5):
                content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        try:
            checkpoint = open_checkpoint(path)
        except BadWeights as error:
            refusals.append(str(error))
        else:
            assert all(isinstance(value, np.ndarray) for value in checkpoint.tensors.values())
    assert 100 < len(refusals) < 300  # a third is cut short; damage to a number alone is nobody's to see
    assert not any("\n" in line for line in refusals)


# Kinds of layers


def kinds(shapes: Mapping[str, tuple[int, ...]]) -> list[tuple[str, str, tuple[str, ...], tuple[int, ...]]]:
    return [(layer.name, layer.kind, layer.roles, layer.shape) for layer in layers_from_shapes(shapes)]


def test_kinds_come_from_shapes_and_companions_never_from_names() -> None:
    shapes = {
        "bn1.weight": (8, 3, 3, 3),
        "bn1.bias": (8,),
        "conv.weight": (8,),
        "conv.bias": (8,),
        "conv.running_mean": (8,),
        "conv.running_var": (8,),
        "conv.num_batches_tracked": (),
        "batchnorm.weight": (5, 8),
        "norm.weight": (8,),
        "norm.bias": (8,),
        "fc.running_mean": (4,),
        "fc.running_var": (4,),
    }
    assert kinds(shapes) == [
        ("bn1", "conv", ("weight", "bias"), (8, 3, 3, 3)),
        ("conv", "bn", ("gamma", "beta", "running_mean", "running_var"), (8,)),
        ("batchnorm", "fc", ("weight",), (5, 8)),
        ("norm", "norm", ("gamma", "beta"), (8,)),
        ("fc", "bn", ("running_mean", "running_var"), (4,)),
    ]


@pytest.mark.parametrize(
    "shapes",
    [
        {"six.weight": (8, 3, 3, 3, 3, 3)},
        {"prelu.weight": (1,)},
        {"odd.weight": (8,), "odd.bias": (4,)},
        {"odd.weight": (8, 4, 3, 3), "odd.bias": (5,)},
        {"odd.weight": (8, 4), "odd.bias": (4,)},
        {"layernorm.weight": (8, 4, 4), "layernorm.bias": (8, 4, 4)},
        {"block.layer_scale": (8,)},
        {"scale": (8,)},
        {"alone.bias": (8,)},
        {"odd.weight": (8,), "odd.running_mean": (4,)},
        {"odd.weight": (8, 8), "odd.running_mean": (8,)},
        {"scalar.weight": ()},
        {},
    ],
)
def test_tensors_of_no_layer_that_is_measured(shapes: Mapping[str, tuple[int, ...]]) -> None:
    assert kinds(shapes) == []


@pytest.mark.parametrize(
    ("weight", "bias", "transposed"),
    [
        ((8, 3, 3), None, False),
        ((8, 3, 3), (8,), False),
        ((8, 3, 3, 3, 3), (8,), False),
        ((8, 4, 3), (4,), True),
        ((8, 4, 3, 3), (4,), True),
        ((8, 4, 3, 3, 3), (4,), True),
        ((4, 4, 3, 3), (4,), False),  # either would do: nobody can tell
    ],
)
def test_convolutions_of_every_dimension(
    weight: tuple[int, ...], bias: tuple[int, ...] | None, transposed: bool
) -> None:
    (layer,) = layers_from_shapes({"a.weight": weight, **({"a.bias": bias} if bias else {})})
    assert (layer.kind, layer.shape, layer.transposed, layer.groups) == ("conv", weight, transposed, 1)
    if bias:
        assert layer.shape_of("bias") == bias


@pytest.mark.parametrize("shape", [(8,), (1,)])
def test_a_norm_of_one_or_two_vectors(shape: tuple[int, ...]) -> None:
    assert kinds({"a.weight": shape, "a.bias": shape}) == [("a", "norm", ("gamma", "beta"), shape)]
    assert kinds({"a.weight": shape}) == ([("a", "norm", ("gamma",), shape)] if shape == (8,) else [])


def test_layers_keep_the_order_in_which_they_are_registered() -> None:
    shapes = {"b.weight": (2, 2), "a.weight": (2, 2), "b.bias": (2,), "weight": (3, 2), "c.0.d.weight": (4, 1, 1, 1)}
    table = layers_from_shapes(shapes)
    assert [(layer.name, layer.depth) for layer in table] == [("b", 0), ("a", 1), ("", 2), ("c.0.d", 3)]
    assert table["b"].roles == ("weight", "bias")
    assert table[""].key("weight") == "weight"
    assert table.order == "registration"


def test_tensors_outside_every_layer_are_named(tmp_path: Path) -> None:
    state = {**PLAIN, "scale": np.ones(3, np.float32), "prelu.weight": np.ones(1), "steps": np.array(3)}
    (tmp_path / "x.safetensors").write_bytes(save(state))
    checkpoint = open_checkpoint(tmp_path / "x.safetensors")
    assert set(checkpoint.outside) == {"scale", "prelu.weight"}
    (layer,) = checkpoint.table
    np.testing.assert_array_equal(checkpoint.tensor(layer, "bias"), PLAIN["fc.bias"])


# Renaming


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ([], ["body.a.weight", "body.b.weight", "head.weight"]),
        (["body.="], ["a.weight", "b.weight", "head.weight"]),
        (["body=trunk"], ["trunk.a.weight", "trunk.b.weight", "head.weight"]),
        (["body.a=x", "body=y"], ["x.weight", "y.b.weight", "head.weight"]),
        (["body=y", "body.a=x"], ["y.a.weight", "y.b.weight", "head.weight"]),
        (["ody=x"], ["body.a.weight", "body.b.weight", "head.weight"]),
        (["head=h=d"], ["body.a.weight", "body.b.weight", "h=d.weight"]),
    ],
)
def test_rename_rules(rules: list[str], names: list[str]) -> None:
    state = {"body.a.weight": 1, "body.b.weight": 2, "head.weight": 3}
    assert rename(state, rules) == dict(zip(names, state.values(), strict=True))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (["body"], r"rename rule 'body': write it as OLD_PREFIX=NEW_PREFIX"),
        (["=x"], r"rename rule '=x': write it as OLD_PREFIX=NEW_PREFIX"),
        ([""], r"rename rule '': write it as OLD_PREFIX=NEW_PREFIX"),
        (["a=b"], r"rename rules a=b: two tensors would be named 'b.weight'"),
    ],
)
def test_rename_rules_that_cannot_be(rules: list[str], message: str) -> None:
    with pytest.raises(BadWeights, match=message):
        rename({"a.weight": 1, "b.weight": 2}, rules)


def test_names_are_changed_after_peeling(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(save({f"module.body.{key}": value for key, value in PLAIN.items()}))
    checkpoint = open_checkpoint(tmp_path / "x.safetensors", ["body.="])
    assert set(checkpoint.tensors) == set(PLAIN)
    assert [layer.name for layer in checkpoint.table] == ["fc"]


@pytest.mark.parametrize(
    ("rules", "name"),
    [
        (["module.=body."], "body.fc.weight"),  # as it stands in the file
        (["module.fc=head"], "head.weight"),
        (["fc=head"], "head.weight"),  # and as it is once the prefix is off
        (["other=x"], "fc.weight"),
        (["m=x", "fc=head"], "xodule.fc.weight"),
    ],
)
def test_rules_fit_the_name_in_the_file_and_the_peeled_one(tmp_path: Path, rules: list[str], name: str) -> None:
    from wdiv.compare import open_weights

    state = {f"module.{key}": value for key, value in PLAIN.items()}
    (tmp_path / "x.safetensors").write_bytes(save(state))
    assert name in open_checkpoint(tmp_path / "x.safetensors", rules).tensors
    assert name in open_weights(state, "b", rules).tensors
