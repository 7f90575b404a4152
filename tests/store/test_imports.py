"""Somebody's folder of epochs as a run: opened where it lies, like any other; and what is refused, in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner, Result
from safetensors import SafetensorError
from safetensors.numpy import load_file, save, save_file

import wdiv
from studies.cli import cli
from tests.conftest import ROOT
from tests.fabric import BN, KEYS, TABLE, base_state, make_store, run_states, source_state
from tests.store.test_foreign import sharded
from wdiv.cache.measures import measured
from wdiv.errors import BadInput, BadStore, BadWeights, LeftOut
from wdiv.measure import Flag
from wdiv.store import imported, tensors
from wdiv.store.engine import open_store
from wdiv.store.export import export
from wdiv.store.imports import find_epochs, import_run
from wdiv.store.reader import CheckpointStore, Run, find_run, without_damaged
from wdiv.store.verify import verify

EPOCHS = (1, 2, 3, 10)
STATES = dict(zip(EPOCHS, run_states("scratch", 0, 4)[1:], strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Epochs of the fabric's network, as others keep them."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    for epoch, state in STATES.items():
        save_file(state, folder / f"epoch_{epoch:03d}.safetensors")
    return folder


def command(*args: object, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["import", *map(str, args)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def fingerprint(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


# Opened like any run


def test_a_folder_opens_as_a_tree(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "base.safetensors").write_bytes(save(source_state()))
    before = fingerprint(folder)
    run = import_run(folder, "epoch_{epoch}.safetensors", base=tmp_path / "base.safetensors", out=tmp_path / "store",
                     name="hers", label="toynet", strategy="scratch", dataset="toy", n_train=6, seed=3)  # fmt: skip
    tree = open_store(tmp_path / "store")
    assert tree.epoch.values.tolist() == list(EPOCHS)
    assert tree.attrs["layer_order"] == "registration"
    names = ("run", "model", "source", "dataset", "n_train", "strategy", "seed")
    assert {name: tree[name].item() for name in names} == {
        "run": "hers", "model": "toynet", "source": "base.safetensors", "dataset": "toy", "n_train": 6,
        "strategy": "scratch", "seed": 3,
    }  # fmt: skip
    order = [layer.name for layer in run.record.table]
    for kind in ("conv", "bn", "fc"):
        names = [name for name in order if TABLE[name].kind == kind]
        assert tree[kind]["layer"].values.tolist() == names
        assert not tree[kind]["frozen"].values.any()
        for name in names:
            layer = TABLE[name]
            if kind == "bn":
                continue
            for role in layer.roles:
                expected = np.stack([STATES[epoch][layer.key(role)] for epoch in EPOCHS])
                np.testing.assert_array_equal(tree[f"weights/{name}/{role}"].values[0], expected)
    names = [name for name in order if TABLE[name].kind == "bn"]
    for role in BN:
        expected = np.stack([np.concatenate([STATES[e][TABLE[n].key(role)] for n in names]) for e in EPOCHS])
        np.testing.assert_array_equal(tree[f"bn/{role}"].values[0], expected)
        start = np.concatenate([source_state()[TABLE[n].key(role)] for n in names])
        np.testing.assert_array_equal(tree[f"pretrained/bn/{role}"].values[0], start)
    assert np.isnan(tree["pretrained/weights/head/weight"].values).all()  # a head of another shape
    np.testing.assert_array_equal(
        tree["pretrained/weights/stem.conv/weight"].values[0], source_state()["stem.conv.weight"]
    )
    assert np.isfinite(tree["conv/filter_std"].values).all()
    assert np.isnan(tree["history/test_accuracy"].values).all()
    assert fingerprint(folder) == before


def test_nothing_is_copied_and_opening_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    for epoch in range(1, 6):
        save_file({"a.weight": np.full((64, 64, 3, 3), epoch, np.float32), "b.weight": np.ones(9)},
                  folder / f"{epoch}.safetensors")  # fmt: skip
    command(folder, "--out", tmp_path / "store")
    assert size_of(tmp_path / "store") < 5000 < size_of(folder) // 100
    opened: list[Path] = []
    real = tensors._open
    monkeypatch.setattr(tensors, "_open", lambda path: opened.append(path) or real(path))
    tree = open_store(tmp_path / "store")
    repr(tree)
    tree["history"].load()
    assert opened == []
    assert tree["weights/a/weight"].sel(epoch=3).isel(out=0).values[0, 0, 0, 0] == 3
    assert [path.name for path in opened] == ["3.safetensors"]


def test_a_run_and_an_import_answer_alike(folder: Path, tmp_path: Path) -> None:
    run = import_run(folder, out=tmp_path / "store")
    assert run.path == tmp_path / "store" / "runs" / "theirs"
    assert run.record.strategy == "foreign", "which is what it is called where nobody says it"
    assert run.epochs() == list(EPOCHS)
    assert run.finished
    assert not run.has_pretrained("stem.conv.weight")
    assert run.read("stem.conv.weight", None) is None
    assert not any(run.is_frozen(layer, role) for layer in run.record.table for role in layer.roles)
    state = run.state_dict(10)
    assert {k: v.tobytes() for k, v in state.items()} == {k: v.tobytes() for k, v in STATES[10].items()}
    row = run.history()[0]
    assert (row["epoch"], row["test_accuracy"]) == (1, None)
    assert len({row["identity"] for row in run.history()}) == len(EPOCHS)
    for spec, epoch in ((f"{run.path}", 10), (f"{run.path}@last", 10), (f"{run.path}@2", 2)):
        found = find_run(spec)
        assert found is not None
        assert found[1] == epoch
    with pytest.raises(BadInput, match="no accuracies are known, so no epoch is the best; give a number or 'last'"):
        find_run(f"{run.path}@best")
    with pytest.raises(BadInput, match=r"epoch 7 is not saved; saved: 1, 2, 3, 10$"):
        find_run(f"{run.path}@7")


def test_export(folder: Path, tmp_path: Path) -> None:
    run = import_run(folder, out=tmp_path / "store")
    held = load_file(export(run.path, 2, tmp_path / "x.safetensors"))
    assert {k: v.tobytes() for k, v in held.items()} == {k: v.tobytes() for k, v in STATES[2].items()}


def test_verify_and_status(folder: Path, tmp_path: Path) -> None:
    import_run(folder, out=tmp_path / "store", base=folder / "epoch_001.safetensors")
    (verdict,) = verify(tmp_path / "store")
    assert (verdict.epochs, verdict.planned, verdict.problems) == (4, 4, ())
    assert verdict.note == ""
    result = CliRunner().invoke(cli, ["verify", str(tmp_path / "store")])
    assert result.exit_code == 0
    assert "intact" in result.output
    result = CliRunner().invoke(cli, ["status", str(tmp_path / "store"), "--json"])
    assert result.exit_code == 0
    (row,) = json.loads(result.output)
    assert (row["state"], row["epoch"], row["of"], row["best"]) == ("finished", 10, 10, None)


def test_imports_stand_beside_the_runs_of_wdiv(folder: Path, tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("bn+fc",), (0,))
    with pytest.raises(BadInput, match="is a run that wdiv trained itself; give another --name or --out"):
        import_run(folder, out=store, name="toynet-toy-n2-bn+fc-auto-s0")
    import_run(folder, out=store, name="hers", label="other")
    assert set(CheckpointStore.open(store).by_label()) == {"toynet", "other"}
    assert open_store(store, "other").epoch.values.tolist() == list(EPOCHS)
    assert [v.problems for v in verify(store)] == [(), ()]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_pytorch_files_with_wrappers(tmp_path: Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    folder = tmp_path / "theirs"
    folder.mkdir()
    for epoch, state in STATES.items():
        live = {f"module.{key}": torch.from_numpy(value) for key, value in state.items()}
        torch.save({"epoch": epoch, "losses": [0.1] * 200 * epoch, "state_dict": live}, folder / f"net-{epoch}.pth.tar",
                   _use_new_zipfile_serialization=zipped)  # fmt: skip
    run = import_run(folder, out=tmp_path / "store")
    assert run.imported is not None
    assert len(run.imported.data["layouts"]) == 1  # though the places differ from file to file
    code = (  # in a process of its own: reading needs no torch
        "import sys, json\nfrom wdiv.store.reader import Run\nfrom pathlib import Path\n"
        f"run = Run(Path({str(run.path)!r}))\n"
        "print(json.dumps([float(run.state_dict(e)['head.bias'].sum()) for e in run.epochs()]), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    sums = [float(STATES[epoch]["head.bias"].sum()) for epoch in EPOCHS]
    assert done.stdout.strip() == f"{json.dumps(sums)} False"
    for epoch in EPOCHS:
        assert all(np.array_equal(value, STATES[epoch][key]) for key, value in run.state_dict(epoch).items())


def test_folders_of_shards(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for epoch in (100, 200):
        sharded(folder / f"checkpoint-{epoch}")
    patterns = ("checkpoint-{epoch}", "checkpoint-{epoch}/*.index.json", "*-{epoch}/model.*.json")
    for number, pattern in enumerate(patterns):
        run = import_run(folder, pattern, out=tmp_path / "store", name=str(number))
        assert run.epochs() == [100, 200]
        state = run.state_dict(200)
        assert {k: v.tobytes() for k, v in state.items()} == {k: v.tobytes() for k, v in base_state().items()}


# Growing, changing, differing


def test_a_folder_that_grows(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wdiv.store import imports

    run = import_run(folder, out=tmp_path / "store")
    tree = open_store(tmp_path / "store")
    save_file(STATES[3], folder / "epoch_011.safetensors")
    looked: list[str] = []
    real = imports.contents
    monkeypatch.setattr(imports, "contents", lambda path: looked.append(path.name) or real(path))
    assert import_run(folder, out=tmp_path / "store").epochs() == run.epochs() == [*EPOCHS, 11]
    assert looked == ["epoch_011.safetensors"], "of the others it is known where everything lies"
    assert open_store(tmp_path / "store").epoch.values.tolist() == [*EPOCHS, 11]
    assert np.isfinite(tree["bn/gamma"].values).all()  # opened before, and still sound
    np.testing.assert_array_equal(run.read("head.bias", 11), STATES[3]["head.bias"])


def test_what_was_measured_of_a_file_that_is_another_one_now_is_not_told(folder: Path, tmp_path: Path) -> None:
    """Of its size and times too; and the other runs of the store go on."""
    store = tmp_path / "store"
    import_run(folder, out=store, name="changes", label="net")
    import_run(shutil.copytree(folder, tmp_path / "copy"), out=store, name="stays", label="net")
    file = folder / "epoch_002.safetensors"
    times = file.stat()
    before = measured(store, "l2", 1)
    assert before["run"].values.tolist() == ["changes", "stays"]
    file.write_bytes((folder / "epoch_003.safetensors").read_bytes())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    opened = CheckpointStore.open(store)
    with pytest.warns(LeftOut, match=r"changes is left out: .*epoch_002\.safetensors: damaged: changed since"):
        after = without_damaged([opened], lambda: measured(opened, "l2", 1))
    assert after["run"].values.tolist() == ["stays"]
    np.testing.assert_array_equal(after["bn"]["l2"].values, before["bn"]["l2"].sel(run=["stays"]).values)
    file.unlink()  # which says nothing else than it did
    assert measured(store, "l2", 1)["run"].values.tolist() == ["changes", "stays"]


def test_a_file_that_changed_is_not_read(folder: Path, tmp_path: Path) -> None:
    run = import_run(folder, out=tmp_path / "store")
    tree = open_store(tmp_path / "store")
    file = folder / "epoch_002.safetensors"
    os.utime(file, ns=(0, 0))
    with pytest.raises(BadStore, match=r"epoch_002\.safetensors: damaged: changed since it was imported"):
        tree["bn/gamma"].values  # noqa: B018
    assert np.isfinite(tree["bn/gamma"].sel(epoch=[1, 3]).values).all()
    (verdict,) = verify(tmp_path / "store")
    assert verdict.problems == (f"{file}: damaged: changed since it was imported; import it again",)
    import_run(folder, out=tmp_path / "store")
    assert verify(tmp_path / "store")[0].problems == ()
    file.unlink()
    assert verify(tmp_path / "store")[0].problems == (f"{file}: damaged: no such file",)
    assert import_run(folder, out=tmp_path / "store").epochs() == [1, 3, 10]
    assert run.epochs() == [1, 3, 10]


def test_epochs_that_differ_read_as_nan_where_they_do(folder: Path, tmp_path: Path) -> None:
    odd = {**STATES[2], "head.weight": np.ones((5, 6), np.float32), "extra": np.ones(3)}
    del odd["stem.bn.bias"]
    save_file(odd, folder / "epoch_002.safetensors")
    result = command(folder, "--out", tmp_path / "store")
    assert "note: epoch 2 lacks 2 tensors of the last one, first" in result.output
    run = Run(tmp_path / "store" / "runs" / "theirs")
    tree = open_store(tmp_path / "store")
    for variable, missing in (("weights/head/weight", True), ("weights/head/bias", False), ("bn/gamma", False)):
        found = np.isnan(tree[variable].values).any(axis=tuple(range(2, tree[variable].ndim)))[0]
        assert found.tolist() == [False, missing, False, False]
    assert np.isnan(tree["bn/beta"].sel(epoch=2).values).sum() == 4
    assert np.isnan(tree["fc/mean"].values[0, :, 0]).tolist() == [False, True, False, False]
    assert np.isnan(run.checkpoint(2).tensors["head.weight"]).all()
    assert "extra" not in run.state_dict(2)
    with pytest.raises(BadInput, match="epoch 2 lacks 2 of the run's tensors, first"):
        export(run.path, 2, tmp_path / "x.safetensors")
    assert verify(tmp_path / "store")[0].problems == ()


def test_files_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    save_file({"other.weight": np.ones((3, 3), np.float32)}, folder / "epoch_001.safetensors")
    with pytest.raises(BadWeights, match=r"epoch_001\.safetensors: no tensor in it has the name and shape of one in"):
        import_run(folder, out=tmp_path / "store")
    save_file({"steps": np.ones(3)}, folder / "epoch_999.safetensors")
    with pytest.raises(BadWeights, match=r"epoch_999\.safetensors: no layer that wdiv measures in it"):
        import_run(folder, out=tmp_path / "store")
    assert not (tmp_path / "store").exists()


# The starting weights


@pytest.mark.parametrize(
    ("prefix", "rules", "matched"),
    [
        ("", (), "by name"),
        ("body.", (), "by name, with '' in the run for 'body.' in the base"),
        ("x.", ("x.=",), "by name, with x.="),
        ("module.", ("module.=",), "by name, with module.="),
    ],
)
def test_the_base_is_matched(folder: Path, tmp_path: Path, prefix: str, rules: tuple[str, ...], matched: str) -> None:
    (tmp_path / "base.safetensors").write_bytes(save({prefix + key: v for key, v in source_state().items()}))
    run = import_run(folder, base=tmp_path / "base.safetensors", renames=rules, out=tmp_path / "store")
    assert run.imported is not None
    assert run.imported.data["matched"] == f"4 of 5 layers, {matched}"
    for key in KEYS:
        held = run.read(key, None)
        assert run.has_pretrained(key) == (held is not None) == (not key.startswith("head"))
        if held is not None:
            np.testing.assert_array_equal(held, source_state()[key])


def test_a_base_that_is_of_something_else(folder: Path, tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    save_file({"other.weight": np.ones((3, 3), np.float32)}, base)
    with pytest.raises(BadWeights, match="no layer of it has a partner of the same shape in the run; see --rename"):
        import_run(folder, base=base, out=tmp_path / "store")
    base.write_bytes(save(source_state()))
    with pytest.raises(BadWeights, match="no layer of it has a partner"):  # rules decide alone
        import_run(folder, base=base, renames=["st=x", "he=y"], out=tmp_path / "store")


def test_a_known_networks_name_gives_stages(tmp_path: Path) -> None:
    folder = tmp_path / "epochs"
    folder.mkdir()
    shapes = {"conv1": (4, 3, 3, 3), "layer1.0.conv1": (4, 4, 3, 3), "layer1.1.conv1": (4, 4, 3, 3), "fc": (2, 4)}
    state = {f"{name}.weight": np.ones(shape, np.float32) for name, shape in shapes.items()}
    for epoch in (1, 2):
        save_file(state, folder / f"{epoch}.safetensors")
    table = import_run(folder, label="resnet18", out=tmp_path / "a").record.table
    assert {x.name: (x.stage, x.block) for x in table} == {
        "conv1": ("stem", -1), "layer1.0.conv1": ("stage1", 0), "layer1.1.conv1": ("stage1", 1), "fc": ("head", -1),
    }  # fmt: skip
    assert [layer.depth for layer in table] == [0, 1, 2, 3]
    assert import_run(folder, label="mine", out=tmp_path / "b").record.table.stages == ()
    save_file({**state, "mine.weight": np.ones((2, 2), np.float32)}, folder / "3.safetensors")
    assert import_run(folder, label="resnet18", out=tmp_path / "c").record.table.stages == ()


# Which file is which epoch


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


@pytest.mark.parametrize(
    ("names", "pattern", "epochs"),
    [
        (["e1.pth", "e02.pth", "e.pth", "e3.pt"], "e{epoch}.pth", {1: "e1.pth", 2: "e02.pth"}),
        (["a-1/m.pth", "b-2/m.pth", "a-3/n.pth"], "?-{epoch}/m.pth", {1: "a-1/m.pth", 2: "b-2/m.pth"}),
        (["run7_ep12.pth"], "*{epoch}.pth", {12: "run7_ep12.pth"}),
        (["x.pth", "x+1.pth", "xx1.pth"], "x+{epoch}.pth", {1: "x+1.pth"}),
        (["e[1].pth", "(2).pth"], "e[{epoch}].pth", {1: "e[1].pth"}),
        (["5/acc_0.91.pth", "6/acc_0.92.pth"], "{epoch}/acc_*.pth", {5: "5/acc_0.91.pth", 6: "6/acc_0.92.pth"}),
        (["net_1.pth", "net_2.pth", "opt.pt", "log.txt"], None, {1: "net_1.pth", 2: "net_2.pth"}),
        (["m0.25_ep_1_x.PTH", "m0.25_ep_20_x.PTH"], None, {1: "m0.25_ep_1_x.PTH", 20: "m0.25_ep_20_x.PTH"}),
    ],
)
def test_epochs_are_found(tmp_path: Path, names: list[str], pattern: str | None, epochs: dict[int, str]) -> None:
    found, _ = find_epochs(touch(tmp_path, *names), pattern)
    assert {epoch: str(path.relative_to(tmp_path)) for epoch, path in found.items()} == epochs


@pytest.mark.parametrize(
    ("names", "pattern", "message"),
    [
        ([], "x.pth", r"pattern 'x.pth': {epoch} must stand in it once"),
        ([], "{epoch}/{epoch}", "must stand in it once"),
        ([], "../{epoch}.pth", "names within the folder"),
        ([], "/etc/{epoch}", "names within the folder"),
        ([], "a//{epoch}", "names within the folder"),
        ([], "a\\{epoch}", "names within the folder"),
        ([], "./{epoch}", "names within the folder"),
        ([], "{epoch}.pth", "nothing in it is called '{epoch}.pth'"),
        (["1.pth", "01.pth"], "{epoch}.pth", "01.pth and 1.pth are both epoch 1 of '{epoch}.pth'"),
        (["1_a.pth", "1_b.pth"], "{epoch}_*.pth", "1_a.pth and 1_b.pth are both epoch 1"),
        (["9" * 30 + ".pth"], "{epoch}.pth", "999999999999… is no number of an epoch"),
        ([], None, "no checkpoint files in it; give --pattern, such as 'epoch_{epoch}.pth'"),
        (["a.pth", "b1.pth"], None, "its 2 checkpoint files are no series; give --pattern"),
        (["m-1-of-2.safetensors", "m-2-of-2.safetensors"], None, "its 2 checkpoint files are no series"),
        (["a1.pth", "a2.pth", "b1.pth", "b2.pth", "b3.pth"], None,
         "several series of checkpoints; give one as --pattern: 'a{epoch}.pth' (2), 'b{epoch}.pth' (3)"),
    ],
)  # fmt: skip
def test_epochs_that_cannot_be_told(tmp_path: Path, names: list[str], pattern: str | None, message: str) -> None:
    touch(tmp_path, *names)
    args: list[object] = [tmp_path, "--out", tmp_path / "store", *(["--pattern", pattern] if pattern else [])]
    output = command(*args, code=2).output
    assert message in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: [f / "none"], "none: no such folder"),
        (lambda f: [f / "epoch_001.safetensors"], "epoch_001.safetensors: no such folder"),
        (lambda f: [f, "--name", "../x"], "run name '../x': give a plain name for a folder with --name"),
        (lambda f: [f, "--name", ""], "run name '': give a plain name"),
        (lambda f: [f, "--name", ".x"], "run name '.x': give a plain name"),
        (lambda f: [f, "--label", "/"], "label: give the network a name"),
        (lambda f: [f, "--rename", "a=b"], "rename rules are for the names of the starting weights; give --base too"),
        (lambda f: [f, "--base", f / "none.pth"], "none.pth: no such file"),
        (
            lambda f: [f, "--base", f / "epoch_001.safetensors", "--rename", "x"],
            "rename rule 'x': write it as OLD_PREFIX",
        ),
    ],
)
def test_wrong_arguments(folder: Path, tmp_path: Path, change: Callable[[Path], list[Any]], message: str) -> None:
    output = command(*change(folder), "--out", tmp_path / "store", code=2).output
    assert message in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 9}', '{"format": 1}', '{"format": 1, "layouts": 3}'])
def test_a_damaged_list_of_files_is_named(folder: Path, tmp_path: Path, content: str) -> None:
    run = import_run(folder, out=tmp_path / "store")
    (run.path / imported.NAME).write_text(content)
    message = r"foreign\.json: (damaged|written in format)"
    with pytest.warns(LeftOut, match=message), pytest.raises(BadStore, match=message):
        open_store(tmp_path / "store")
    assert "foreign.json: " in verify(tmp_path / "store")[0].problems[0]


def test_what_the_command_says(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.safetensors").write_bytes(save(source_state()))
    output = command("theirs", "--base", "base.safetensors").output
    assert output.splitlines() == [
        "runs/theirs/runs/theirs: 4 epochs, 1 to 10, as 'epoch_{epoch}.safetensors'",
        "layers: 1 fc, 2 bn, 2 conv",
        "start: base.safetensors: 4 of 5 layers, by name",
        "nothing was copied; next: wdiv measure runs/theirs",
    ]
    shutil.rmtree("runs")
    assert "start: none; give --base to measure from it" in command("theirs").output


# The real series


def test_the_real_series(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from wdiv.store.foreign import open_checkpoint

    folder = shared / "checkpoints"
    base = folder / "mobilenet_v1_x025_imagenet.pth.tar"
    command(folder, "--pattern", "mobilenet0.25_epoch_{epoch}.pth", "--base", base, "--out", tmp_path / "store")
    assert size_of(tmp_path / "store") < 400_000
    tree = xr.open_datatree(tmp_path / "store", engine="wdiv")
    assert tree.epoch.values.tolist() == [10, 40, 140, 245]
    start = open_checkpoint(base)
    run = next(iter(CheckpointStore.open(tmp_path / "store")))
    last = open_checkpoint(folder / "mobilenet0.25_epoch_245.pth")
    known = [layer for layer in run.record.table if run.has_pretrained(layer.key(layer.roles[0]))]
    assert {kind: sum(layer.kind == kind for layer in known) for kind in ("conv", "bn")} == {"conv": 27, "bn": 27}
    theirs = {kind: list(start.table.of(kind)) for kind in ("conv", "bn")}
    for layer in known:
        partner = theirs[layer.kind].pop(0)
        assert layer.name == f"body.{partner.name}"
        for role in layer.roles:
            held, now = run.read(layer.key(role), None), run.read(layer.key(role), 245)
            assert held is not None
            assert now is not None
            assert held.tobytes() == start.tensor(partner, role).tobytes()
            assert now.tobytes() == last.tensor(last.table[layer.name], role).tobytes()
    assert verify(tmp_path / "store")[0].problems == ()


def test_complex_epochs_are_entered_and_compared_with_nothing(tmp_path: Path) -> None:
    folder, rng = tmp_path / "theirs", np.random.default_rng(0)
    folder.mkdir()
    try:
        save({"c": np.zeros(1, dtype=np.complex64)})
    except SafetensorError:
        pytest.skip("this safetensors writes no complex numbers")
    for epoch in (1, 2, 3):
        c, d = rng.normal(size=(2, 2, 3, 3, 3)).astype(np.float32)
        save_file({"c.weight": c + 1j * d, "d.weight": d}, folder / f"epoch_{epoch}.safetensors")
    first, store = folder / "epoch_1.safetensors", tmp_path / "store"
    for name in ("x", "y"):
        said = command(folder, "--base", first, "--out", store, "--name", name, "--label", "net").output
        assert "note: c.weight: complex numbers, which no metric compares" in said
    tree = open_store(store)
    assert tree["conv/complex"].sel(role="weight").values.tolist() == [[True, False]] * 2
    assert tree["weights/c/weight"].isnull().all()
    assert tree["conv/mean"].isnull().values[..., 0].all()
    for found in (
        measured(store, "all"), measured(store, "l2", "previous"), measured(store, "l2", 2), wdiv.pairwise(tree, "l2"),
        wdiv.divergence(tree, "l2", "y"), wdiv.divergence(tree.chunk(), "l2").load(),
    ):  # fmt: skip
        data = found["conv"].to_dataset().sel(role="weight", layer="c")
        assert (data["flag"] == int(Flag.COMPLEX)).all()
        assert all(data[name].isnull().all() for name in data.data_vars if name != "flag")
        assert found["conv/l2"].sel(role="weight", layer="d").notnull().any()
    said = CliRunner().invoke(cli, ["measure", str(store)]).output
    assert "no value: 2 tensors, it holds complex numbers, which no metric compares" in said
