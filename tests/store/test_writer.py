"""Writing a run: what an epoch's file holds, who may write, what a kill leaves, and the proof of what was frozen."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.fabric import CHANGES, HEAD, KEYS, base_state, run_record, run_states, source_state
from wdiv.errors import BadInput, BadStore, FreezeBroken
from wdiv.store import predictions, seals
from wdiv.store import writer as module
from wdiv.store.engine import open_store
from wdiv.store.files import sha256, write_atomically
from wdiv.store.keep import ALL, Keep
from wdiv.store.reader import Run, is_being_written
from wdiv.store.verify import verify
from wdiv.store.writer import Logits, RunWriter, check_same, clear, write_base

torch = pytest.importorskip("torch")
LAST = 2


def live(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {key: torch.from_numpy(value.copy()) for key, value in state.items()}


def row(epoch: int) -> dict[str, Any]:
    return {"epoch": epoch, "train_loss": None if epoch == 0 else 0.5, "test_accuracy": 0.5, "lr": {"fc": 0.01}}


def kept(epoch: int) -> dict[str, Any]:
    """What the next epoch would need: an optimizer's state."""
    return {"optimizer": {"state": {0: {"step": torch.tensor(float(epoch))}}, "param_groups": [{"lr": 0.1}]}}


def writer_of(root: Path, strategy: str = "bn+fc", seed: int = 0, planned: int = LAST, keep: Keep = ALL) -> RunWriter:
    base = write_base(root, live(source_state()))
    record = run_record(strategy, seed, planned, base, run_states(strategy, seed, 0)[0])
    return RunWriter(root, record, keep=keep, extendable="resume" in keep.words)


def train(writer: RunWriter, first: int = 0, last: int = LAST) -> None:
    states = run_states(writer.record.strategy, writer.record.seed, last)
    for epoch in range(first, last + 1):
        writer.commit(live(states[epoch]), row(epoch), kept(epoch))


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("strategy", ["fc", "bn+fc", "conv+fc"])
def test_an_epoch_holds_what_it_may_change_and_gives_the_whole_network_back(tmp_path: Path, strategy: str) -> None:
    with writer_of(tmp_path, strategy) as writer:
        train(writer)
    run = writer.run
    for epoch, state in enumerate(run_states(strategy, 0, LAST)):
        held = load_file(run.epoch_file(epoch))
        assert set(held) == set(HEAD if epoch == 0 else CHANGES[strategy])
        whole = run.state_dict(epoch)
        assert tuple(whole) == KEYS
        assert all(whole[key].tobytes() == state[key].tobytes() for key in KEYS)
    assert run.finished
    assert [r["sha256"] for r in run.history()] == [sha256(run.epoch_file(e)) for e in range(LAST + 1)]
    assert [v.problems for v in verify(tmp_path)] == [()]


def test_starting_weights_are_stored_once(tmp_path: Path) -> None:
    writers = [writer_of(tmp_path, strategy, seed) for strategy in ("fc", "bn+fc") for seed in (0, 1)]
    (base,) = (tmp_path / "bases").iterdir()
    assert {w.record.base for w in writers} == {base.stem} == {sha256(base)}
    before = base.stat().st_mtime_ns
    assert write_base(tmp_path, live(source_state())) == base.stem
    assert base.stat().st_mtime_ns == before
    write_base(tmp_path, live(base_state(1)))
    assert len(list((tmp_path / "bases").iterdir())) == 2


def test_equal_tensors_make_equal_files_however_they_lie_in_memory(tmp_path: Path) -> None:
    state = live(source_state())
    kernel = state["stage.conv.weight"]
    state["stage.bn.bias"] = state["stage.bn.weight"].clone()
    odd = {**state, "stage.conv.weight": kernel.to(memory_format=torch.channels_last).requires_grad_()}
    odd["stage.bn.bias"] = odd["stage.bn.weight"]  # one tensor under two names
    assert write_base(tmp_path, odd) == write_base(tmp_path, state)


HOLD = """
import json, sys
from pathlib import Path
from wdiv.store.record import RunRecord
from wdiv.store.writer import RunWriter
root, file = map(Path, sys.argv[1:])
with RunWriter(root, RunRecord.from_json(json.loads(file.read_text()), file)):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process_writing(writer: RunWriter) -> Iterator[None]:
    """Another process that writes the run until it is killed with -9."""
    file = writer.run.path / "run.json"
    command = [sys.executable, "-c", HOLD, str(writer.run.root), str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_one_writer_at_a_time_and_a_killed_one_does_not_count(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        train(writer, last=1)
        assert is_being_written(writer.run)
        with pytest.raises(BadStore, match="another process is writing this run"), writer_of(tmp_path):
            pass
    assert not is_being_written(writer.run)
    before = files_of(tmp_path)
    with another_process_writing(writer):
        assert is_being_written(writer.run)
        with pytest.raises(BadStore, match="another process is writing this run"), writer_of(tmp_path):
            pass
        with writer_of(tmp_path, seed=1):  # another run of the store is free
            pass
        assert open_store(tmp_path).sizes["epoch"] == 2  # and so are readers
    assert not is_being_written(writer.run)
    with writer_of(tmp_path) as again:
        assert again.resume() is not None
        train(again, first=2)
    assert before.items() - files_of(tmp_path).items() == {
        (name, content) for name, content in before.items() if name.endswith(("history.jsonl", "resume.pt"))
    }


def flip_one_bit(tensor: Any) -> None:
    tensor.view(torch.int32).view(-1)[-1] ^= 1


@pytest.mark.parametrize(
    ("strategy", "key"),
    [
        ("fc", "stem.conv.weight"),
        ("fc", "stage.conv.bias"),
        ("fc", "stem.bn.weight"),
        ("fc", "stage.bn.running_mean"),
        ("conv+fc", "stem.bn.running_var"),
        ("bn+fc", "stage.conv.weight"),
    ],
)
@pytest.mark.parametrize("damage", ["bit", "lost"])
def test_a_frozen_tensor_that_moved_is_never_saved(tmp_path: Path, strategy: str, key: str, damage: str) -> None:
    with writer_of(tmp_path, strategy) as writer:
        train(writer, last=1)
        state = live(run_states(strategy, 0, LAST)[LAST])
        if damage == "bit":
            flip_one_bit(state[key])
        else:
            del state[key]
        before = files_of(tmp_path)
        with pytest.raises(FreezeBroken) as caught:
            writer.commit(state, row(LAST), kept(LAST))
        assert f"1 tensors declared frozen by {strategy!r} have changed, first {key}" in str(caught.value)
        assert files_of(tmp_path) == before
        train(writer, first=LAST)  # and the run is none the worse for it


def test_what_is_not_frozen_may_move_by_one_bit(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        train(writer, last=0)
        state = live(run_states("bn+fc", 0, 1)[1])
        flip_one_bit(state["stem.bn.running_mean"])
        writer.commit(state, row(1), kept(1))
    assert writer.run.state_dict(1)["stem.bn.running_mean"].tobytes() == state["stem.bn.running_mean"].numpy().tobytes()


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def crash_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    done: list[Path] = []

    def write(path: Path, fill: Any) -> Path:
        write_atomically(path, fill)
        done.append(path)
        if len(done) == steps:
            raise Killed
        return path

    for place in (module, seals, predictions):
        monkeypatch.setattr(place, "write_atomically", write)


def epochs_seen(root: Path) -> list[int]:
    """The epochs that a reader is shown."""
    if any(root.glob("runs/*/history.jsonl")):
        return open_store(root).epoch.values.tolist()
    with pytest.raises(BadStore, match="no run has saved an epoch yet"):
        open_store(root)
    return []


@pytest.mark.parametrize(
    ("epoch", "steps", "seen", "kept_epoch"),
    [
        (0, 1, [], None),
        (0, 2, [], 0),
        (0, 3, [0], 0),
        (1, 1, [0], 0),
        (1, 2, [0], 1),
        (1, 3, [0, 1], 1),
        (2, 1, [0, 1], 1),
        (2, 2, [0, 1, 2], None),  # the last epoch has no next one: its history row comes second
    ],
)
def test_a_kill_between_the_steps_of_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, steps: int, seen: list[int], kept_epoch: int | None
) -> None:
    with writer_of(tmp_path / "whole") as whole:
        train(whole)
    root = tmp_path / "killed"
    with writer_of(root) as writer:
        train(writer, last=epoch - 1)
        crash_after(monkeypatch, steps)
        with pytest.raises(Killed):
            train(writer, first=epoch, last=epoch)
    monkeypatch.undo()
    assert epochs_seen(root) == seen
    with writer_of(root) as writer:
        resumed = writer.resume()
        if kept_epoch is None:
            assert resumed is None
            assert epochs_seen(root) == seen
        else:
            assert resumed is not None
            assert resumed["row"]["epoch"] == kept_epoch
            assert resumed["optimizer"]["state"][0]["step"] == kept_epoch
            assert epochs_seen(root) == list(range(kept_epoch + 1))
        if not writer.run.finished:
            train(writer, first=0 if kept_epoch is None else kept_epoch + 1)
    after, wanted = files_of(root), files_of(tmp_path / "whole")
    after.pop(f"runs/{writer.record.id}/resume.pt", None)  # of a run killed just before its last act
    assert after == wanted
    assert [v.problems for v in verify(root)] == [()]


@contextmanager
def killed_before(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[list[int]]:
    """Die before the rename, or the removal of a file, of this number. Yields how many were left to go."""
    left = [number]

    def dies(do: Any) -> Any:
        def instead(*paths: Any, **how: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                raise Killed
            return do(*paths, **how)

        return instead

    with monkeypatch.context() as patched, suppress(Killed):
        patched.setattr(os, "replace", dies(os.replace))
        patched.setattr(Path, "unlink", dies(Path.unlink))
        yield left


@pytest.mark.parametrize("keep", ["first", "every 2"])
def test_a_kill_at_any_step_of_a_run_that_keeps_few_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    """Before each rename and each removal in turn; what is resumed from is always there, and the end is the same."""
    last, words = 4, Keep(keep)
    with writer_of(tmp_path / "whole", planned=last, keep=words) as whole:
        train(whole, last=last)
    stay = {0, last, *(words.epochs([{"epoch": epoch} for epoch in range(last + 1)]))}
    assert {*whole.run.epochs()} == stay == {int(file.stem) for file in (whole.run.path / "epochs").iterdir()}
    for number in range(1, 60):
        root = tmp_path / str(number)
        with killed_before(monkeypatch, number) as left, writer_of(root, planned=last, keep=words) as writer:
            train(writer, last=last)
        if left[0] > 0:
            break
        with writer_of(root, planned=last, keep=words) as writer:
            resumed = writer.resume()
            first = 0 if resumed is None else resumed["row"]["epoch"] + 1
            if resumed is not None:
                writer.run.state_dict(resumed["row"]["epoch"])
            if not writer.run.finished:
                train(writer, first=first, last=last)
            clear(writer.run)
        assert files_of(root) == files_of(tmp_path / "whole")
        assert [v.problems for v in verify(root)] == [()]
    assert number > 3 * last


def test_a_reader_during_a_commit_sees_the_epochs_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[tuple[str, list[int]]] = []

    def write(path: Path, fill: Any) -> Path:
        looks.append((path.name, epochs_seen(tmp_path)))
        return write_atomically(path, fill)

    with writer_of(tmp_path) as writer:
        train(writer, last=0)
        for place in (module, seals):
            monkeypatch.setattr(place, "write_atomically", write)
        train(writer, first=1)
    names = ("0001.safetensors", "resume.pt", "history.jsonl", "0002.safetensors", "history.jsonl")
    assert looks == list(zip(names, ([0], [0], [0], [0, 1], [0, 1]), strict=True))
    assert epochs_seen(tmp_path) == [0, 1, 2]


# --- predictions ---------------------------------------------------------------------------------------------------


def given(writer: RunWriter, epoch: int) -> dict[str, Logits]:
    images = predictions.write_images(writer.run.root, ("a.png", "b.png"), np.array([0, 1]), np.array([0, 1]))
    values = np.random.default_rng(epoch).normal(size=(2, 3)).astype(np.float32)
    return {"test": Logits(images, values)}


def predict(writer: RunWriter, first: int = 0, last: int = LAST, best: Mapping[int, int] | None = None) -> None:
    states = run_states(writer.record.strategy, writer.record.seed, last)
    for epoch in range(first, last + 1):
        counts = None if best is None else best[epoch]
        writer.commit(live(states[epoch]), row(epoch), kept(epoch), given(writer, epoch), counts)


def predicted(writer: RunWriter) -> dict[int, bytes]:
    """Epoch -> the predictions that are read back, of those that are kept."""
    found = {epoch: predictions.of_run(writer.run, epoch) for epoch in writer.run.epochs()}
    return {epoch: one.logits.tobytes() for epoch, one in found.items() if one is not None}


def epochs_predicted(writer: RunWriter) -> list[int]:
    """Those of which there is a file."""
    return sorted(int(file.stem) for file in (writer.run.path / "predictions").glob("*.safetensors"))


def test_predictions_of_every_epoch_are_kept_where_they_are_small(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        predict(writer, best={0: 0, 1: 1, 2: 1})
        wanted = {epoch: given(writer, epoch)["test"].values.tobytes() for epoch in range(LAST + 1)}
    assert predicted(writer) == wanted
    found = predictions.of_run(writer.run)
    assert found is not None
    assert (found.images.names, found.images.labels.tolist()) == (("a.png", "b.png"), [0, 1])
    assert (found.classes, found.probabilities) == (("a", "b", "c"), "softmax")
    assert predictions.of_run(writer.run, LAST, "validation") is None
    assert [v.problems for v in verify(tmp_path)] == [()]


@pytest.mark.parametrize("every", [0.0, 1e9])
@pytest.mark.parametrize(("best", "left"), [(None, [2]), ({0: 0, 1: 1, 2: 1}, [1, 2]), ({0: 0, 1: 0, 2: 0}, [0, 2])])
def test_of_large_ones_the_last_stay_and_those_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: Mapping[int, int] | None, left: list[int], every: float
) -> None:
    """However many epochs are committed at a time: one, or all."""
    monkeypatch.setattr(module, "ALL_PREDICTIONS", 2 * 3 * 4 * (LAST + 1) - 1)
    with writer_of(tmp_path) as writer:
        writer.every = every
        predict(writer, best=best)
    assert epochs_predicted(writer) == left == sorted(predicted(writer))
    assert [row["epoch"] for row in writer.run.history() if "predictions" in row] == left
    assert [v.problems for v in verify(tmp_path)] == [()]


@pytest.mark.parametrize("bound", [module.ALL_PREDICTIONS, 0])
@pytest.mark.parametrize(("epoch", "steps"), [*product((0, 1), (1, 2, 3, 4)), *product((2,), (1, 2, 3))])
def test_a_kill_at_any_instant_leaves_the_predictions_of_all_epochs_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, steps: int, bound: int
) -> None:
    monkeypatch.setattr(module, "ALL_PREDICTIONS", bound)
    best = {0: 0, 1: 0, 2: 1}
    with writer_of(tmp_path / "whole") as whole:
        predict(whole, best=best)
    root = tmp_path / "killed"
    with writer_of(root) as writer:
        predict(writer, last=epoch - 1, best=best)
        given(writer, 0)  # lists of images are there before a run has an epoch
        with monkeypatch.context() as patch:
            crash_after(patch, steps)
            with pytest.raises(Killed):
                predict(writer, first=epoch, last=epoch, best=best)
    counting = [row["epoch"] for row in writer.run.history() if "predictions" in row]
    assert counting == sorted(predicted(writer)), "what the history tells of is there, and right"
    assert not bound or counting == writer.run.epochs()
    with writer_of(root) as writer:
        resumed = writer.resume()
        if writer.run.finished:
            clear(writer.run)
        else:
            predict(writer, first=0 if resumed is None else resumed["row"]["epoch"] + 1, best=best)
    after = files_of(root)
    after.pop(f"runs/{writer.record.id}/resume.pt", None)
    assert after == files_of(tmp_path / "whole")


def test_predictions_that_are_not_those_that_were_written_are_not_believed(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        predict(writer)
    run, (images,) = writer.run, (tmp_path / "images").iterdir()
    for file, said in (
        (predictions.file_of(run, 1), "'test' is not what was written"),
        (images, "its SHA-256 is not its name"),
    ):
        content = file.read_bytes()
        file.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
        with pytest.raises(BadStore, match=f"{re.escape(str(file))}: damaged: {said}"):
            predictions.of_run(run, 1)
        (found,) = verify(tmp_path)
        assert any(problem == f"{file}: damaged: {said}" for problem in found.problems)
        file.write_bytes(content)
    assert predictions.of_run(run, 1) is not None
    predictions.file_of(run, 1).unlink()
    with pytest.raises(BadStore, match="no such file"):
        predictions.of_run(run, 1)
    assert verify(tmp_path)[0].problems == (f"{predictions.file_of(run, 1)}: damaged: no such file",)


def test_resuming_what_is_fresh_finished_or_damaged(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        assert writer.resume() is None
        train(writer, last=1)
        file = writer.run.path / "resume.pt"
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(BadStore, match=r"resume.pt: damaged"):
            writer.resume()
        train(writer, first=2)
        assert writer.resume() is None
        assert not file.exists()


def test_a_run_made_in_another_way_is_left_alone(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        train(writer)
    before = files_of(tmp_path)
    record = writer.record
    for other, message in (
        (
            replace(record, base="f" * 64),
            f"another SHA-256 of its starting weights ({record.base[:12]}…, now {'f' * 12}…); give another --out",
        ),
        (
            replace(record, changing=HEAD),
            f"another set of tensors that train ({len(record.changing)} entries, now 2, or others)",
        ),
    ):
        with pytest.raises(BadInput) as caught, RunWriter(tmp_path, other):
            pass
        assert message in str(caught.value)
        assert not is_being_written(writer.run)  # the refused writer gave the lock back
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"strategy": "fc"}, "another strategy (bn+fc, now fc)"),
        ({"seed": 1}, "another seed (0, now 1)"),
        ({"n_train": 6, "data_digest": "1" * 64}, f"another SHA-256 of its images ({'0' * 12}…, now {'1' * 12}…)"),
        ({"recipe": {"epochs": 9, "optimizer": "adam"}}, "another recipe (epochs 2, now 9)"),
        (
            {"recipe": {"epochs": 2, "momentum": 0.9}},
            "another recipe (momentum None, now 0.9, optimizer 'adam', now None)",
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, facts: dict[str, Any], message: str) -> None:
    with writer_of(tmp_path) as writer:
        pass
    check_same(writer.run, {name: getattr(writer.record, name) for name in ("strategy", "seed", "recipe", "changing")})
    with pytest.raises(BadInput) as caught:
        check_same(writer.run, facts)
    assert str(caught.value) == f"{writer.run.path}: already made with {message}; give another --out"


def test_the_record_comes_back_from_disk(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        pass
    assert Run(writer.run.path).record == writer.record


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o002])
def test_files_have_the_ordinary_permissions(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with writer_of(tmp_path) as writer:
            train(writer, last=1)
    finally:
        os.umask(before)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"}
    assert {"run.json", "history.jsonl", "resume.pt", "0000.safetensors", "0001.safetensors"} <= set(modes)
    assert len(modes) == 6
    assert set(modes.values()) == {0o666 & ~mask}


def test_history_is_strict_json(tmp_path: Path) -> None:
    with writer_of(tmp_path) as writer:
        train(writer, last=0)
        with pytest.raises(ValueError, match="not JSON compliant"):
            writer.commit(live(run_states("bn+fc", 0, 1)[1]), {**row(1), "train_loss": float("nan")}, kept(1))
        lines = (writer.run.path / "history.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [0]


def go_on(root: Path, planned: int, keep: Keep) -> Run:
    """Train a run to its end, from wherever it is, as a session does."""
    with writer_of(root, planned=planned, keep=keep) as writer:
        if writer.extends and writer.is_over:
            writer.conclude()
        elif not writer.run.finished or writer.extends:
            resumed = writer.resume()
            first = 0 if resumed is None else resumed["row"]["epoch"] + 1
            assert resumed is None or resumed["optimizer"]["state"][0]["step"] == first - 1
            writer.run.state_dict(max(0, first - 1)) if resumed else None
            train(writer, first=first, last=planned)
        else:
            clear(writer.run)
    return Run(writer.run.path)


@pytest.mark.parametrize("keep", ["all,resume", "first,resume"])
def test_a_kill_at_any_step_of_an_extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str) -> None:
    """What counted counts until the run is over, and it ends as if it had been asked for as many epochs at first."""
    words = Keep(keep)
    go_on(tmp_path / "whole", 4, words)
    wanted = {name: content for name, content in files_of(tmp_path / "whole").items() if "extend.pt" not in name}
    for number in range(1, 60):
        root = tmp_path / str(number)
        run = go_on(root, 2, words)
        with killed_before(monkeypatch, number) as left:
            go_on(root, 4, words)
        if left[0] > 0:
            break
        now = Run(run.path)
        assert (now.finished, now.final) == (True, now.record.recipe["epochs"])
        now.state_dict(now.final)
        assert [v.problems for v in verify(root)] == [()]
        go_on(root, 4, words)
        assert {name: content for name, content in files_of(root).items() if "extend.pt" not in name} == wanted
    assert number > 8
