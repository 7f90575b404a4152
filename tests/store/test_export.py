"""An exported epoch: the same numbers in one ordinary file, which torchvision loads strictly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.fabric import KEYS, edit_rows, make_store, run_states
from wdiv.errors import BadInput, BadStore
from wdiv.store.export import export
from wdiv.store.foreign import open_checkpoint
from wdiv.store.reader import CheckpointStore, find_run, parse_epoch


def run_of(store: Path, strategy: str = "bn+fc", seed: int = 0) -> Path:
    return store / "runs" / f"toynet-toy-n2-{strategy}-auto-s{seed}"


def metadata_of(file: Path) -> dict[str, str]:
    with safe_open(file, framework="numpy") as opened:
        return dict(opened.metadata())


@pytest.mark.parametrize(("epoch", "number"), [(0, 0), (2, 2), ("1", 1), ("last", 3), ("best", 3)])
def test_the_numbers_are_those_of_the_epoch(store: Path, tmp_path: Path, epoch: int | str, number: int) -> None:
    out = export(run_of(store), epoch, tmp_path / "new" / "x.safetensors")
    held, expected = load_file(out), run_states("bn+fc", 0, 3)[number]
    assert set(held) == set(KEYS)
    assert all(held[key].tobytes() == expected[key].tobytes() and held[key].dtype == np.float32 for key in KEYS)
    assert metadata_of(out)["epoch"] == str(number)
    assert set(open_checkpoint(out).tensors) == set(KEYS)


def test_the_metadata_says_what_a_state_dict_cannot(store: Path, tmp_path: Path) -> None:
    run = CheckpointStore.open(store)["toynet-toy-n2-fc-auto-s1"]
    metadata = metadata_of(export(run.path, 1, tmp_path / "x.safetensors"))
    assert (metadata["model"], metadata["run"]) == ("toynet", run.record.id)
    decoded = {key: json.loads(metadata[key]) for key in ("model_args", "bn_eps", "classes", "input")}
    assert decoded == {"model_args": {}, "bn_eps": None, "classes": ["a", "b", "c"], "input": {"size": 8}}


def test_the_best_epoch_is_the_first_of_equals(store: Path, tmp_path: Path) -> None:
    for epoch, accuracy in enumerate((0.1, 0.7, 0.2, 0.7)):
        edit_rows(run_of(store), lambda rows, at=epoch, to=accuracy: rows[at].update(test_accuracy=to))  # type: ignore[misc]
    assert metadata_of(export(run_of(store), "best", tmp_path / "x.safetensors"))["epoch"] == "1"


@pytest.mark.parametrize(
    ("epoch", "message"),
    [
        (4, "epoch 4 is not saved; saved: 0 to 3"),
        ("first", "epoch 'first': give a number, 'last' or 'best'"),
        (-1, "epoch '-1': give a number, 'last' or 'best'"),
        ("²", "epoch '²': give a number, 'last' or 'best'"),
    ],
)
def test_epochs_that_are_not_there(store: Path, tmp_path: Path, epoch: int | str, message: str) -> None:
    with pytest.raises(BadInput, match=re.escape(message)):
        export(run_of(store), epoch, tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_what_is_no_run_and_where_it_cannot_go(store: Path, tmp_path: Path) -> None:
    file = run_of(store) / "epochs" / "0001.safetensors"
    for path in (store, tmp_path / "none", file):  # a file says its epoch itself: a second one would contradict it
        with pytest.raises(BadInput, match=r"not a run of a wdiv store; give the folder that holds its run\.json"):
            export(path, "last", tmp_path / "x.safetensors")
    with pytest.raises(BadInput, match=r"x\.pth: the file's name must end in \.safetensors"):
        export(run_of(store), "last", tmp_path / "x.pth")
    (run_of(store) / "history.jsonl").unlink()
    with pytest.raises(BadStore, match="no epoch is saved yet"):
        export(run_of(store), "last", tmp_path / "x.safetensors")


def test_how_a_run_and_an_epoch_are_named(store: Path, tmp_path: Path) -> None:
    folder = str(run_of(store))

    def found(spec: str) -> tuple[str, int] | None:
        result = find_run(spec)
        return result and (str(result[0].path), result[1])

    assert found(folder) == found(f"{folder}@last") == found(f"{folder}/epochs/0003.safetensors") == (folder, 3)
    assert found(f"{folder}@1") == found(f"{folder}/epochs/0001.safetensors") == (folder, 1)
    for nothing in (str(store), str(tmp_path), "x.pth", "@1", "", f"{folder}/epochs/0001.txt", f"{folder}/run.json"):
        assert found(nothing) is None
    strange = run_of(make_store(tmp_path / "other", ("bn+fc",), (0,))).rename(tmp_path / "other" / "runs" / "bn@4+fc")
    assert found(str(strange)) == (str(strange), 3)
    assert found(f"{strange}@2") == (str(strange), 2)
    with pytest.raises(BadInput, match="epoch 9 is not saved"):
        find_run(f"{folder}@9")
    with pytest.raises(BadInput, match="epoch 4 is not saved"):
        find_run(f"{folder}/epochs/0004.safetensors")


def test_a_run_by_its_name(store: Path) -> None:
    opened = CheckpointStore.open(store)
    run = opened["toynet-toy-n2-fc-auto-s0"]
    assert parse_epoch("2", run) == 2
    checkpoint = run.checkpoint(2)
    assert (checkpoint.name, checkpoint.table.order) == (f"{run.path}@2", "execution")
    with pytest.raises(BadInput, match="epoch 4 is not saved; saved: 0 to 3"):
        run.checkpoint(4)
    with pytest.raises(BadInput, match=r"no run 'toynet-toy-n2-fc-auto-s9'; did you mean 'toynet-toy-n2-fc-auto-s"):
        opened["toynet-toy-n2-fc-auto-s9"]


def test_torchvision_loads_an_exported_run_strictly(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file as load_torch
    from torchvision import models

    from wdiv.tuning.data.images import ImageSet, Split
    from wdiv.tuning.data.inputs import IMAGENET
    from wdiv.tuning.networks.models import ModelSpec
    from wdiv.tuning.networks.sources import Source
    from wdiv.tuning.training.recipe import Recipe
    from wdiv.tuning.training.run import fine_tune
    from wdiv.tuning.training.run_spec import RunSpec

    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    images = ImageSet(pixels, np.arange(6) % 3, ("a", "b", "c"), tuple("123456"))
    spec = RunSpec(
        ModelSpec("mobilenet_v2", {"width_mult": 0.25}, 1e-3), Source("random", IMAGENET), None, "scratch", "auto", 0,
        Recipe(epochs=1, batch_size=6), image_size=32,
    )  # fmt: skip
    run = fine_tune(spec, Split("noise", images, images), tmp_path / "store", device="cpu")
    out = export(run.path, "last", tmp_path / "x.safetensors")
    metadata = metadata_of(out)
    classes, arguments = (json.loads(metadata[key]) for key in ("classes", "model_args"))
    model = getattr(models, metadata["model"])(num_classes=len(classes), **arguments)
    state = load_torch(out)
    assert set(state) == set(model.state_dict())
    model.load_state_dict(state, strict=True)
    for key, value in run.state_dict(1).items():
        assert torch.equal(model.state_dict()[key], torch.from_numpy(value)), key
    assert state["features.0.1.num_batches_tracked"] == 1
    assert json.loads(metadata["bn_eps"]) == 1e-3
    assert json.loads(metadata["input"])["size"] == 32
