"""Damage of every sort, and whether it is noticed. A store that was damaged is always reported, never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests import fabric
from tests.fabric import CHANGES, KEYS, make_store
from wdiv.errors import BadStore
from wdiv.store.files import sha256
from wdiv.store.verify import verify

STRATEGY = "bn+fc"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("verify") / "store", (STRATEGY,), (0, 1))


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    """A copy to damage; its first run is the victim."""
    return Path(shutil.copytree(sound, tmp_path / "store"))


def victim(store: Path) -> Path:
    return sorted(store.glob("runs/*"))[0]


def epoch(store: Path, number: int = 2) -> Path:
    return victim(store) / "epochs" / f"{number:04d}.safetensors"


def base(store: Path) -> Path:
    (file,) = store.glob("bases/*")
    return file


def flip(file: Path, place: int, bit: int = 1) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= bit
    file.write_bytes(content)


def edit_rows(store: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    fabric.edit_rows(victim(store), change)


def edit_record(store: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    fabric.edit_record(victim(store), change)


def edit_text(file: Path, old: str, new: str) -> None:
    """What an editor does."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def swap_epochs(store: Path) -> None:
    one, two = epoch(store, 1).read_bytes(), epoch(store, 2).read_bytes()
    epoch(store, 1).write_bytes(two)
    epoch(store, 2).write_bytes(one)


def rewrite_epoch(store: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """Another file in an epoch's place, and the history made to agree with it."""
    held = load_file(epoch(store))
    change(held)
    save_file(held, epoch(store))
    edit_rows(store, lambda rows: rows[2].update(sha256=sha256(epoch(store))))


def other_base(store: Path, change: Callable[[dict[str, np.ndarray]], Any]) -> None:
    """A base of other weights under its own, true name, and the run pointed at it."""
    held = load_file(base(store))
    change(held)
    save_file(held, store / "new")
    digest = sha256(store / "new")
    (store / "new").rename(store / "bases" / f"{digest}.safetensors")
    edit_record(store, lambda record: record.update(base=digest))


def test_a_sound_store(sound: Path) -> None:
    verdicts = verify(sound)
    assert [v.run for v in verdicts] == sorted(p.name for p in sound.glob("runs/*"))
    frozen = len(KEYS) - len(CHANGES[STRATEGY])
    assert {(v.epochs, v.planned, v.frozen, v.problems) for v in verdicts} == {(3, 3, frozen, ())}


def test_a_store_in_the_making_is_sound(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("fc",), (0,), epochs=1, planned=5)
    (victim(store) / "epochs" / "0002.safetensors").write_bytes(b"half")  # being written: no row yet
    assert [(v.epochs, v.planned, v.problems) for v in verify(store)] == [(1, 5, ())]


ONE_RUN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bit in an epoch": (lambda s: flip(epoch(s), -1), "0002.safetensors: not the file that was written"),
    "bit in an epoch's header": (lambda s: flip(epoch(s), 3), "0002.safetensors: not the file that was written"),
    "epoch cut short": (lambda s: truncate(epoch(s)), "0002.safetensors: not the file that was written"),
    "epoch emptied": (lambda s: epoch(s).write_bytes(b""), "0002.safetensors: not the file that was written"),
    "epoch deleted": (lambda s: epoch(s).unlink(), "0002.safetensors: missing"),
    "epoch 0 deleted": (lambda s: epoch(s, 0).unlink(), "0000.safetensors: missing"),
    "last epoch deleted": (lambda s: epoch(s, 3).unlink(), "0003.safetensors: missing"),
    "two epochs swapped": (swap_epochs, "0001.safetensors: not the file that was written"),
    "tensor taken out": (
        lambda s: rewrite_epoch(s, lambda held: held.pop("stem.bn.weight")),
        "0002.safetensors: does not hold the tensors it should",
    ),
    "tensor put in": (
        lambda s: rewrite_epoch(s, lambda held: held.update(x=np.zeros(1))),
        "0002.safetensors: does not hold the tensors it should",
    ),
    "history: digest": (
        lambda s: edit_rows(s, lambda rows: rows[2].update(sha256="0" * 64)),
        "0002.safetensors: not the file that was written",
    ),
    "history: no digest": (
        lambda s: edit_rows(s, lambda rows: rows[2].pop("sha256")),
        "0002.safetensors: not the file that was written",
    ),
    "history: unchecked": (
        lambda s: edit_rows(s, lambda rows: rows[2].update(frozen_intact=False)),
        "0002.safetensors: saved without the frozen tensors having been checked",
    ),
    "history: line removed": (
        lambda s: edit_rows(s, lambda rows: rows.pop(1)),
        "epoch 1 is missing from history.jsonl",
    ),
    "history: first line removed": (
        lambda s: edit_rows(s, lambda rows: rows.pop(0)),
        "epoch 0 is missing from history.jsonl",
    ),
    "history: line twice": (
        lambda s: edit_rows(s, lambda rows: rows.insert(2, rows[2])),
        "epoch 3 is missing from history.jsonl",
    ),
    "history: renumbered": (
        lambda s: edit_rows(s, lambda rows: rows[3].update(epoch=4)),
        "epoch 3 is missing from history.jsonl",
    ),
    "history: no JSON": (
        lambda s: (victim(s) / "history.jsonl").write_text('{"epoch": 0'),
        "history.jsonl: damaged",
    ),
    "history: no rows": (lambda s: (victim(s) / "history.jsonl").write_text("3\n"), "history.jsonl: damaged"),
    "record: no JSON": (lambda s: truncate(victim(s) / "run.json"), "run.json: damaged JSON"),
    "record: no record": (lambda s: (victim(s) / "run.json").write_text("[]"), "run.json: damaged"),
    "record: edited": (lambda s: edit_text(victim(s) / "run.json", '"seed": 0', '"seed": 1'), "run.json: damaged"),
    "record: unsealed": (lambda s: edit_text(victim(s) / "run.json", '"digest"', '"digests"'), "run.json: damaged"),
    "history: edited": (
        lambda s: edit_text(victim(s) / "history.jsonl", '"test_accuracy": 0.3', '"test_accuracy": 0.9'),
        "history.jsonl: damaged",
    ),
    "record: field lost": (lambda s: edit_record(s, lambda r: r.pop("frozen")), "run.json: lacks frozen"),
    "record: epochs lost": (lambda s: edit_record(s, lambda r: r["recipe"].clear()), "run.json: damaged"),
    "record: table lost": (lambda s: edit_record(s, lambda r: r.update(table={})), "run.json: damaged"),
    "record: frozen digest": (
        lambda s: edit_record(s, lambda r: r["frozen"].update({"stem.conv.weight": "0" * 64})),
        "frozen stem.conv.weight: is not what it was",
    ),
    "record: frozen tensor unknown": (
        lambda s: edit_record(s, lambda r: r["frozen"].update(x="0" * 64)),
        "frozen x: cannot be read",
    ),
    "record: other base": (
        lambda s: other_base(s, lambda held: held["stage.conv.bias"].__setitem__(0, 7.0)),
        "'stage.conv.bias' is not what was written",
    ),
    "record: base of other number types": (
        lambda s: other_base(s, lambda held: held.update({"stage.conv.bias": held["stage.conv.bias"].view(np.int32)})),
        "'stage.conv.bias' is not what was written",
    ),
    "record: base of other shapes": (
        lambda s: other_base(s, lambda held: held.update({"stage.conv.bias": held["stage.conv.bias"].reshape(2, 3)})),
        "'stage.conv.bias' is not what was written",
    ),
    "record: base without a frozen tensor": (
        lambda s: other_base(s, lambda held: held.pop("stage.conv.bias")),
        "frozen stage.conv.bias: cannot be read",
    ),
    "record: base that is not there": (
        lambda s: edit_record(s, lambda r: r.update(base="0" * 64)),
        f"{'0' * 64}.safetensors: missing",
    ),
}


@pytest.mark.parametrize("sort", ONE_RUN)
def test_damage_to_one_run_is_reported_there_and_nowhere_else(damaged: Path, sort: str) -> None:
    damage, message = ONE_RUN[sort]
    damage(damaged)
    first, second = verify(damaged)
    assert any(message in problem for problem in first.problems), first.problems
    assert not any("\n" in problem for problem in first.problems)
    assert second.problems == ()


def other_content(store: Path) -> None:
    held = load_file(base(store))
    held["stem.conv.weight"] *= 2
    save_file(held, base(store))


@pytest.mark.parametrize(
    ("damage", "messages"),
    [
        (lambda s: flip(base(s), -1), ["its SHA-256 is not its name"]),
        (lambda s: flip(base(s), 9), ["its SHA-256 is not its name", "cannot be read"]),
        (lambda s: truncate(base(s)), ["its SHA-256 is not its name", "cannot be read"]),
        (lambda s: base(s).unlink(), ["missing", "cannot be read"]),
        (other_content, ["its SHA-256 is not its name", "'stem.conv.weight' is not what was written"]),
    ],
    ids=["bit", "bit in the header", "cut short", "deleted", "swapped"],
)
def test_damage_to_the_base_is_reported_for_every_run(
    damaged: Path, damage: Callable[[Path], Any], messages: list[str]
) -> None:
    damage(damaged)
    verdicts = verify(damaged)
    assert len(verdicts) == 2
    for verdict in verdicts:
        for message in messages:
            assert any(message in problem for problem in verdict.problems), verdict.problems


def test_no_bit_of_a_tensor_file_can_change_unnoticed(damaged: Path) -> None:
    rng = np.random.default_rng(0)
    files = [*damaged.glob("bases/*"), *victim(damaged).glob("epochs/*")]
    assert len(files) == 5
    for file in files:
        sound = file.read_bytes()
        for _ in range(12):
            flip(file, int(rng.integers(len(sound))), 1 << int(rng.integers(8)))
            assert verify(damaged)[0].problems, file
            file.write_bytes(sound)
    assert not verify(damaged)[0].problems


@pytest.mark.parametrize("name", ["run.json", "history.jsonl"])
def test_no_bit_of_a_record_can_change_unnoticed(damaged: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    file = victim(damaged) / name
    sound = file.read_bytes()
    for _ in range(100):
        flip(file, int(rng.integers(len(sound) - 1)), 1 << int(rng.integers(8)))  # its last byte ends the line
        first, second = verify(damaged)
        assert first.problems
        assert second.problems == ()
        file.write_bytes(sound)


def test_where_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(BadStore, match="no runs in it"):
        verify(tmp_path)
    with pytest.raises(BadStore, match="no such folder"):
        verify(tmp_path / "none")
