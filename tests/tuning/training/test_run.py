"""One run, from its weights to its last epoch on disk: what is written, and that nothing but a new wish changes it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torchvision import models

import wdiv
from tests.tuning.tiny import MOBILENET, SMALL, contents, small_run, tiny_run, write_weights
from wdiv.errors import BadInput, FreezeBroken, WdivError
from wdiv.store import predictions, seals, writer
from wdiv.store.reader import Run
from wdiv.store.tensors import tensor_digest
from wdiv.tuning.data.images import Split
from wdiv.tuning.networks.models import ModelSpec, build, build_skeleton, head_layers, layer_table
from wdiv.tuning.strategy.freeze import make_plan
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.training import prepared
from wdiv.tuning.training import run as tuning
from wdiv.tuning.training.device import choose_device
from wdiv.tuning.training.feeds import OnDevice
from wdiv.tuning.training.run import fine_tune


@pytest.fixture(autouse=True)
def _each_epoch_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs are committed one by one, as they end."""
    monkeypatch.setattr(tuning, "COMMIT_EVERY", 0.0)


class Watch:
    """Counts events, and calls ``on_batch`` at each batch."""

    def __init__(self, on_batch: Any = lambda epoch, done: None) -> None:
        self.rows: list[dict[str, Any]] = []
        self.on_batch = on_batch

    def batch(self, epoch: int, done: int, of: int) -> None:
        self.on_batch(epoch, done)

    def epoch(self, row: dict[str, Any]) -> None:
        self.rows.append(row)


# --- what is written -----------------------------------------------------------------------------------------------


def test_the_folder_holds_what_the_record_says(digits: Split, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "made.pth")
    spec = tiny_run(weights, "bn@stage4+fc", per_class=3, seed=5, epochs=2, weight_decay=0.1)
    watch = Watch()
    run = fine_tune(spec, digits, tmp_path, device="cpu", watcher=watch)
    record, source = run.record, torch.load(weights)
    assert run.path == tmp_path / "runs" / "mobilenet_toy-width_mult=0.1-digits-5-9-n3-bn@stage4+fc-auto-s5"
    assert (record.id, record.label) == (run.path.name, MOBILENET)
    assert (record.model, record.model_args, record.bn_eps) == ("mobilenet_toy", {"width_mult": 0.1}, None)
    assert (record.source, record.strategy, record.bn_mode, record.seed) == ("made.pth", "bn@stage4+fc", "auto", 5)
    assert (record.dataset, record.data_digest, record.classes) == ("digits-5-9", digits.digest, 5)
    assert (record.n_train, record.n_test, record.class_names) == (15, 40, ("5", "6", "7", "8", "9"))
    assert record.recipe == {
        "optimizer": "adam", "epochs": 2, "batch_size": 8, "weight_decay": 0.1, "momentum": 0.0, "decay_all": False,
        "steps_per_epoch": None, "schedule": "constant", "warmup": 0.0, "loss": "softmax", "label_smoothing": 0.0,
        "augment": [], "mixup": 0.0, "validation": 0.0, "patience": 0, "precision": "fp32", "compile": False,
        "keep_prefix": True,
        "phases": [{"rates": {"bn@stage4": 1e-2, "fc": 1e-2}, "methods": {}, "length": None}],
    }  # fmt: skip
    assert record.input["size"] == 32
    assert record.versions["device"] == "cpu"
    assert torch.__version__.startswith(record.versions["torch"])

    network = build(spec.model, 5)
    assert list(record.keys) == list(network.state_dict())
    assert record.new == ("classifier.1.weight", "classifier.1.bias")
    assert sorted(record.changing + tuple(record.frozen)) == sorted(record.keys)
    assert record.base == hashlib.sha256(run.base.read_bytes()).hexdigest()
    assert {k: v.shape for k, v in load_file(run.base).items()} == {k: v.shape for k, v in source.items()}, (
        "the source as it was, its own head of ten classes included"
    )
    assert all(tensor_digest(source[key].numpy()) == digest for key, digest in record.frozen.items())

    assert [row["epoch"] for row in watch.rows] == run.epochs() == [0, 1, 2]
    files = {int(f.stem): load_file(f) for f in (run.path / "epochs").iterdir()}
    assert {epoch: set(tensors) for epoch, tensors in files.items()} == {
        0: set(record.new), 1: set(record.changing), 2: set(record.changing),
    }  # fmt: skip
    for row, seen in zip(run.history(), watch.rows, strict=True):
        written = ("sha256", "tensors", "frozen_intact", "predictions")
        assert {k: v for k, v in row.items() if k not in written} == {k: v for k, v in seen.items() if k != "n_test"}
        assert row["sha256"] == hashlib.sha256(run.epoch_file(row["epoch"]).read_bytes()).hexdigest()
        assert row["frozen_intact"] is True
    assert not (run.path / "resume.pt").exists()
    assert run.finished


@pytest.mark.parametrize("bound", [None, 0], ids=["small", "large"])
def test_predictions_are_kept_of_the_images_that_the_run_was_judged_on(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: int | None
) -> None:
    """Those of the epoch that counts and the last at least; of all that are small."""
    if bound is not None:
        monkeypatch.setattr(writer, "ALL_PREDICTIONS", bound)
    spec = small_run(
        weights, "conv+bn+fc=1e-1", per_class=5, seed=3, epochs=9, validation=0.4, patience=2, optimizer="sgd"
    )
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    last = run.epochs()[-1]
    assert run.final is not None
    assert run.final < last < 9, "it stopped early, and its best epoch is not its last"
    found = {epoch: predictions.of_run(run, epoch) for epoch in run.epochs()}
    kept = {epoch for epoch, one in found.items() if one is not None}
    assert kept == (set(run.epochs()) if bound is None else {run.final, last})
    _, held = spec.rows(digits)
    for epoch in kept:
        (row,) = (row for row in run.history() if row["epoch"] == epoch)
        for part, images, rows, name in (
            ("test", digits.test, np.arange(len(digits.test)), "test_accuracy"),
            ("validation", digits.pool, held, "val_accuracy"),
        ):
            one = predictions.of_run(run, epoch, part)
            assert one is not None
            assert one.images.names == tuple(images.names[i] for i in rows)
            np.testing.assert_array_equal(one.images.rows, rows)
            np.testing.assert_array_equal(one.images.labels, images.labels[rows])
            assert one.classes == digits.pool.classes
            assert row[name] == (one.logits.argmax(axis=1) == one.images.labels).mean()
    network = build(SMALL, 5)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in run.state_dict(run.final).items()})
    counts = predictions.of_run(run)
    assert counts is not None
    with torch.no_grad():
        plain = network.eval()(spec.inputs.prepare(torch.from_numpy(digits.test.pixels))).numpy()
    np.testing.assert_allclose(counts.logits, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("strategy", "recipe"),
    [
        ("conv+bn+fc=1e-1", {"epochs": 9, "validation": 0.4, "patience": 2, "optimizer": "sgd"}),
        ("fc for 1 then bn+fc", {"epochs": 3, "augment": ("flip",), "validation": 0.4}),
        ("fc", {"epochs": 2, "steps_per_epoch": 5}),
    ],
)
def test_how_far_its_own_images_are_learned_is_asked_in_eval_mode_of_the_epoch_that_counts(
    weights: Path, digits: Split, tmp_path: Path, strategy: str, recipe: dict[str, Any]
) -> None:
    spec = small_run(weights, strategy, per_class=5, seed=3, **recipe)
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    train, _ = spec.rows(digits)
    network = build(SMALL, 5)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in run.state_dict(run.final or 0).items()})
    with torch.no_grad():
        plain = network.eval()(spec.inputs.prepare(torch.from_numpy(digits.pool.pixels[train]))).numpy()
    row = run.final_row
    assert row["fitted_accuracy"] == (plain.argmax(axis=1) == digits.pool.labels[train]).mean()
    assert (row["n_fitted"], row["fitted_majority"]) == (len(train), 1 / 5)
    told = {row["epoch"] for row in run.history() if "fitted_accuracy" in row}
    assert (max(told) == run.final) if "patience" in recipe else (told == {recipe["epochs"]})
    steps = recipe.get("steps_per_epoch", math.ceil(len(train) / 8))
    assert [row["steps"] for row in run.history()] == [0, *[steps] * run.epochs()[-1]]
    assert run.record.steps_per_epoch == (None if "validation" in recipe else steps)


def test_what_a_kill_leaves_in_a_run_that_was_through_is_cleared_away(
    weights: Path, digits: Split, tmp_path: Path
) -> None:
    spec = small_run(weights, "fc", epochs=1)
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    before = contents(run.path)
    for left in ("resume.pt", "epochs/.0001.safetensors.tmp"):  # the writer's last act was to remove the first
        (run.path / left).write_bytes(b"of a moment ago")
    fine_tune(spec, digits, tmp_path, device="cpu")
    assert contents(run.path) == before


@pytest.mark.parametrize("source", ["random", "weights"])
def test_a_run_from_scratch_starts_from_its_seed(source: str, weights: Path, digits: Split, tmp_path: Path) -> None:
    given = "random" if source == "random" else weights
    runs = [fine_tune(small_run(given, "scratch", seed=s, epochs=1), digits, tmp_path, device="cpu") for s in (0, 1)]
    for run, seed in zip(runs, (0, 1), strict=True):
        start = build(SMALL, 5, seed).state_dict()
        assert run.record.source == "random"
        assert run.record.new == ()
        assert run.record.frozen == {}
        assert all(np.array_equal(value, start[key].numpy()) for key, value in run.state_dict(0).items())
    assert runs[0].record.base != runs[1].record.base


def test_two_strategies_of_one_seed_share_their_start_and_their_images(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, seen = OnDevice.__init__, []

    def see(self: OnDevice, *given: Any) -> None:
        put(self, *given)
        seen.append(self.images.take(self.rows).names)

    monkeypatch.setattr(OnDevice, "__init__", see)
    runs = [fine_tune(small_run(weights, s, epochs=1), digits, tmp_path, device="cpu") for s in ("fc", "bn+fc")]
    runs.append(fine_tune(small_run(weights, "fc", seed=1, epochs=1), digits, tmp_path, device="cpu"))
    starts = [run.state_dict(0) for run in runs]
    assert len(list((tmp_path / "bases").iterdir())) == 1
    assert all(np.array_equal(starts[0][key], starts[1][key]) for key in starts[0])
    differing = {key for key in starts[0] if not np.array_equal(starts[0][key], starts[2][key])}
    assert differing == {"classifier.1.weight"}, "another seed draws another head, and only that (its bias starts at 0)"
    assert seen[0] == seen[2] != seen[4], "and other images to train on"
    assert seen[1] == seen[3] == seen[5] == digits.test.names


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_stored_as_they_are_used(
    dtype: torch.dtype, weights: Path, digits: Split, tmp_path: Path
) -> None:
    source = {k: v.to(dtype) if v.is_floating_point() else v for k, v in torch.load(weights).items()}
    source["features.0.0.weight"] = source["features.0.0.weight"] * torch.tensor(1 / 3, dtype=dtype)
    save_file(source, tmp_path / "other.safetensors")
    run = fine_tune(small_run(tmp_path / "other.safetensors", epochs=1), digits, tmp_path / "store", device="cpu")
    (verdict,) = wdiv.verify(tmp_path / "store")
    assert verdict.problems == ()
    assert run.state_dict(1)["features.0.0.weight"].dtype == np.float32


# --- again ---------------------------------------------------------------------------------------------------------


def test_a_run_that_another_process_finishes_meanwhile_is_left_as_it_is(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small_run(weights, "fc", epochs=1)
    real, before = tuning._Session.__init__, {}

    def late(self: Any, *given: Any, **options: Any) -> None:
        real(self, *given, **options)
        monkeypatch.undo()
        fine_tune(spec, digits, tmp_path, device="cpu")
        before.update(contents(tmp_path))

    monkeypatch.setattr(tuning._Session, "__init__", late)
    assert fine_tune(spec, digits, tmp_path, device="cpu").finished
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError("can't allocate memory")],
    ids=["cuda", "python", "cpu"],
)  # fmt: skip
def test_no_memory_is_said_in_a_line(
    error: Exception, weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: Any) -> None:
        raise error

    monkeypatch.setattr(tuning.Loop, "train_epoch", fail)
    with pytest.raises(WdivError, match="out of memory on cpu; lower the batch size, the image size or --jobs"):
        fine_tune(small_run(weights, "fc"), digits, tmp_path, device="cpu")


def test_a_finished_run_is_left_as_it_is(weights: Path, digits: Split, tmp_path: Path) -> None:
    spec = small_run(weights, epochs=1)
    fine_tune(spec, digits, tmp_path, device="cpu")
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    watch = Watch()
    run = fine_tune(spec, digits, tmp_path, device="cpu", watcher=watch)
    assert run.finished
    assert watch.rows == []
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == stamps


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 2}, "another recipe (epochs 1, now 2)"),
        ({"batch_size": 4}, "another recipe (batch_size 8, now 4)"),
        ({"optimizer": "sgd"}, "another recipe (optimizer 'adam', now 'sgd')"),
        ({"size": 40}, "another input (size 32, now 40)"),
        ({"weights": "random"}, "another source (made.pth, now random)"),
        ({"split": True}, "another SHA-256 of its images"),
    ],
    ids=str,
)
def test_another_recipe_in_the_same_folder_is_refused(
    change: dict[str, Any], words: str, weights: Path, digits: Split, tmp_path: Path
) -> None:
    fine_tune(small_run(weights, epochs=1), digits, tmp_path, device="cpu")
    before = contents(tmp_path)
    split = replace(digits, pool=digits.pool.take(np.arange(200))) if change.pop("split", False) else digits
    spec = small_run(change.pop("weights", weights), **{"epochs": 1, **change})
    with pytest.raises(BadInput) as caught:
        fine_tune(spec, split, tmp_path, device="cpu")
    assert words in str(caught.value)
    assert "give another --out" in str(caught.value)
    assert contents(tmp_path) == before


# --- stopped and continued -----------------------------------------------------------------------------------------


LONG = {"strategy": "bn+fc", "epochs": 3, "optimizer": "sgd", "momentum": 0.9, "bn_mode": "adapt"}


@pytest.fixture(scope="module")
def never_stopped(weights: Path, digits: Split, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("whole")
    fine_tune(small_run(weights, **LONG), digits, out, device="cpu")
    return contents(out)


@pytest.mark.parametrize("step", range(1, 13))
def test_a_run_stopped_at_any_write_ends_as_one_never_stopped(
    step: int, never_stopped: dict[str, bytes], weights: Path, digits: Split, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A write happens as a whole or not at all: to stop before each is every state that a kill can leave."""
    spec, real, writes = small_run(weights, **LONG), writer.write_atomically, iter(range(1, 100))

    def stop(path: Path, write: Any) -> Path:
        if next(writes) == step:
            raise KeyboardInterrupt
        return real(path, write)

    with monkeypatch.context() as patch:
        for place in (writer, seals):
            patch.setattr(place, "write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            fine_tune(spec, digits, tmp_path, device="cpu")
    assert fine_tune(spec, digits, tmp_path, device="cpu").finished
    assert contents(tmp_path) == never_stopped


# --- frozen, with proof --------------------------------------------------------------------------------------------


def test_verify_proves_every_frozen_tensor(weights: Path, digits: Split, tmp_path: Path) -> None:
    for strategy in ("fc", "bn@stage2+fc", "conv+bn+fc"):
        fine_tune(small_run(weights, strategy, epochs=1), digits, tmp_path, device="cpu")
    verdicts = {v.run: v for v in wdiv.verify(tmp_path)}
    assert all(v.problems == () and v.epochs == v.planned == 1 for v in verdicts.values())
    counts = {run.split("-")[-3]: v.frozen for run, v in verdicts.items()}
    state = list(build(SMALL, 5).state_dict())
    last = [k for k in state if k.split(".")[1] in ("4", "5", "6")]
    bn = {k.rpartition(".")[0] for k in last if k.endswith("running_mean")}
    changing = [k for k in last if k.rpartition(".")[0] in bn]
    assert counts == {"fc": len(state) - 2, "bn@stage2+fc": len(state) - 2 - len(changing), "conv+bn+fc": 0}


def test_a_frozen_tensor_that_moves_stops_the_run_before_the_epoch_is_saved(
    weights: Path, digits: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever moves it: here a hand reaches into the network in epoch 2."""
    real, networks = prepared.make_plan, []
    monkeypatch.setattr(prepared, "make_plan", lambda model, *rest: networks.append(model) or real(model, *rest))

    def reach_in(epoch: int, done: int) -> None:
        if (epoch, done) == (2, 1):
            with torch.no_grad():
                networks[0].features[0][1].running_var[0] += 1e-6

    with pytest.raises(FreezeBroken, match=r"1 tensors declared frozen by 'fc'.*features\.0\.1\.running_var"):
        fine_tune(small_run(weights, epochs=3), digits, tmp_path, device="cpu", watcher=Watch(reach_in))
    (folder,) = (tmp_path / "runs").iterdir()
    assert Run(folder).epochs() == [0, 1]
    assert not Run(folder).epoch_file(2).exists()


# --- sizes and exports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "times"), [("mobilenet_v2:width_mult=0.35", 10), ("resnet50", 150)])
def test_an_epoch_of_bn_and_fc_is_a_small_part_of_a_checkpoint(model: str, times: int) -> None:
    spec = ModelSpec.parse(model)
    network = build_skeleton(spec, 6).to_empty(device="cpu")
    plan = make_plan(network, layer_table(spec, 6, 96), head_layers(spec), parse("bn+fc"))
    state = network.state_dict()
    assert len(save(state)) >= times * len(save({key: state[key] for key in plan.changing}))


@pytest.mark.parametrize(("strategy", "epoch"), [("bn+fc", "last"), ("conv@stage1+fc", "0"), ("scratch", "best")])
def test_an_export_loads_strictly_and_is_as_accurate_as_the_run_says(
    strategy: str, epoch: str, weights: Path, digits: Split, tmp_path: Path
) -> None:
    spec = small_run(weights, strategy, per_class=8, epochs=2)
    run = fine_tune(spec, digits, tmp_path, device="cpu")
    out = wdiv.export(run.path, epoch, tmp_path / "out.safetensors")
    network = models.mobilenet_v2(num_classes=5, **SMALL.args)
    network.load_state_dict(load_file(out), strict=True)
    with torch.inference_mode():
        answers = network.eval()(spec.inputs.prepare(torch.from_numpy(digits.test.pixels))).argmax(1).numpy()
    rows = run.history()
    row = {"last": rows[-1], "0": rows[0], "best": max(rows, key=lambda row: row["test_accuracy"])}[epoch]
    assert (answers == digits.test.labels).mean() == pytest.approx(row["test_accuracy"])


# --- what makes a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"strategy": "bm+fc"}, "did you mean 'bn+fc'"),
        ({"bn_mode": "frozn"}, "unknown BN mode 'frozn'; did you mean 'frozen'"),
        ({"seed": -1}, "seed: a whole number from 0, not -1"),
        ({"seed": 1.5}, "seed: a whole number from 0, not 1.5"),
        ({"seed": True}, "seed: a whole number from 0"),
        ({"per_class": 0}, "images per class: at least 1, or 'all', not 0"),
    ],
    ids=str,
)
def test_a_run_is_checked_when_it_is_made(wish: dict[str, Any], words: str) -> None:
    with pytest.raises(WdivError) as caught:
        small_run("random", **{"strategy": "fc", **wish})
    assert words in str(caught.value)


def test_the_id_says_what_sets_runs_apart() -> None:
    spec = tiny_run("random", "by-kind", per_class=None, bn_mode="frozen", seed=7)
    assert spec.id("my images/2") == "mobilenet_toy-width_mult=0.1-my-images-2-all-conv=1e-4,bn=1e-2,fc=1e-3-frozen-s7"
    assert spec.start == "random"


@pytest.mark.parametrize("name", ["gpu", "CPU", "", "cuda:0"])
def test_a_device_that_is_none_is_an_error(name: str) -> None:
    with pytest.raises(BadInput, match="device: auto, cpu or cuda"):
        choose_device(name)


def test_cuda_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    with pytest.raises(BadInput, match="no CUDA device here"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_a_schedule_too_long_for_a_later_phase_is_refused_before_the_first(digits: Split, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "made.pth", SMALL)
    how = {"epochs": 3, "batch_size": 64, "schedule": "one-cycle"}
    with pytest.raises(BadInput, match="schedule 'one-cycle': needs 2 steps"):
        fine_tune(small_run(weights, "fc for 2 then conv@stage2+fc", **how), digits, tmp_path / "out", device="cpu")
    with pytest.raises(BadInput, match="schedule 'one-cycle': needs 2 steps"):
        fine_tune(small_run(weights, "all+gradual", **how), digits, tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").rglob("run.json"))


def test_a_run_begun_with_other_rates_is_not_continued_with_them(digits: Split, tmp_path: Path) -> None:
    """As by a wdiv of before, whose layer-wise decay knew fewer blocks."""
    weights = write_weights(tmp_path / "made.pth", SMALL)
    spec = small_run(weights, "all=1e-3,decay=0.5", epochs=3)

    def stop(epoch: int, done: int) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec, digits, tmp_path, device="cpu", watcher=Watch(stop))
    file = tmp_path / "runs" / spec.id(digits.name) / "resume.pt"
    kept = torch.load(file, weights_only=True)
    kept["optimizer"]["param_groups"][0]["base"] *= 2
    seals.write_with_tail(file, lambda temporary: torch.save(kept, temporary))
    with pytest.raises(BadInput, match=r"begun with other rates or weight decay .*; give another --out, or delete it"):
        fine_tune(spec, digits, tmp_path, device="cpu")
