"""``wdiv advise`` prints what runs: the command as it stands, and the file, for the folders that people have."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click import Command, Context
from rich.console import Console

from baselines.advice import Gain
from studies.cli import cli
from studies.cli.options import given
from studies.cli.run import run
from studies.spec.registry import load, named_in
from tests import folders
from tests.conftest import once
from tests.studies.cli.test_cli import strictly, wdiv
from tests.tuning.tiny import MOBILENET

NETWORK = ("--model", MOBILENET, "--weights", "random", "--image-size", "32", "--device", "cpu")


def noise(count: int) -> Callable[[Path], Path]:
    """Two classes that nothing tells apart, so that something has to be trained."""
    return lambda root: folders.plates(root, count=count, shots=1)


def unequal(**classes: int) -> Callable[[Path], Path]:
    """Classes that anything tells apart, so that nothing has."""
    return lambda root: folders.imbalanced(root, **classes)


def its_own_test(root: Path) -> Path:
    for part, count in (("train", 5), ("test", 2)):
        folders.plates(root / part, count=count, shots=1)
    return root


CASES: dict[str, tuple[str, Callable[[Path], Path] | None, tuple[object, ...]]] = {
    "three of a class": ("tiny", noise(3), ()),
    "unequal": ("parts", unequal(few=3, some=12, many=60), ()),
    "one of a class": ("one", unequal(few=3, solo=1, many=12), ("--small-classes", "keep")),
    "dropped": ("drop", unequal(few=3, solo=1, many=12), ("--small-classes", "drop", "--least", 3)),
    "groups": ("plates", lambda root: folders.plates(root, count=4, shots=3), ("--group", r"^(\w/plate\d)")),
    "its own test folder": ("own", its_own_test, ("--seed", 0, "--skip-bad-images")),
    "a blank and a quote": ("my parent's photos", noise(9), ("--per-class", 6)),
    "called like a study": ("quickstart", noise(5), ("--test-count", 1)),
    "called like an option": ("-o", noise(5), ("--test-fraction", 0.4)),
    "a name": ("digits-0-4", None, ("--per-class", 3)),
}
"""What is asked of -> its name in the folder that one is in, what makes it, and what is asked."""
TRAINED = {*CASES} - {"unequal", "one of a class", "dropped"}
"""Where something is to be trained."""


def parsed(command: Command, words: list[str]) -> tuple[str, dict[str, Any]]:
    """The study and the fields that a line gives ``wdiv run``."""
    with Context(cli, **cli.context_settings) as root:  # a command keeps the help option that it is first asked with
        told = command.make_context("run", [*words], root).params
    fields = {"out", "scale", "passes", "minutes", "curve", "device", "jobs", "dry_run", "as_json"}
    return told.pop("study"), given({name: value for name, value in told.items() if name not in fields})


@once
@pytest.mark.parametrize("case", CASES)
def test_what_is_printed_runs_and_is_what_is_written(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name, make, asked = CASES[case]
    if make is not None:
        make(tmp_path / name)
    told = strictly(wdiv("advise", *NETWORK, *asked, "-o", "advised.toml", "--json", "--", name).stdout)
    _, command, *words = shlex.split(told["command"])
    _, _, *check = shlex.split(told["check"])
    assert command == ("run" if case in TRAINED else "svm")
    if command == "svm":
        assert strictly(wdiv(command, *words, "--json").stdout)["outcomes"]
        words = check
    else:
        assert len({*check} - {*words}) == 2, "--out, and where"
    data, fields = parsed(run, words)
    assert load(data, values=fields) == load("advised.toml")
    assert {"data", *fields} == {*named_in("advised.toml")}, "what is settled is settled alike"
    plan = strictly(wdiv("run", *words, "--dry-run", "--json").stdout)
    assert plan["runs"]
    if told["cost"] is not None:
        assert told["cost"]["runs"] == len(plan["runs"])
        assert plan["runs"][0]["n_train"] == told["findings"]["images"]


def test_what_is_advised_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    noise(4)(tmp_path / "my photos")
    text = wdiv("advise", "my photos", *NETWORK, "--seed", 0, "-o", "my advice.toml").stdout
    (command,) = [line for line in text.splitlines() if line.startswith("wdiv run") and "--strategy" in line]
    _, *words = shlex.split(command)
    quick = ("--epochs", 1, "--steps-per-epoch", 2)
    wdiv(*words, *quick)
    (line,) = [line for line in text.splitlines() if line.startswith("wrote ")]
    _, *words = shlex.split(line.partition("run it with: ")[2])
    planned = strictly(wdiv(*words, *quick, "--out", "runs/my-photos", "--dry-run", "--json").stdout)
    assert (planned["finished"], planned["runs"]) == (1, [])


def test_everything_reads_well_at_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("studies.cli.console._console_on", lambda stream: Console(file=stream, width=80))
    folders.imbalanced(tmp_path / "parts", few=3, some=12, many=30)
    text = wdiv("advise", "parts", *NETWORK).stdout
    wide = [line for line in text.splitlines() if len(line) > 80 and not line.startswith("wdiv ")]
    assert wide == []


def test_findings_say_which_classes_are_hard_and_what_the_test_will_decide(tmp_path: Path) -> None:
    parts = folders.imbalanced(tmp_path / "x", few=3, some=12, many=30)
    found = strictly(wdiv("advise", parts, *NETWORK, "--json").stdout)["findings"]
    assert [one["images"] for one in found["by_class"]] == [2, 22, 9]
    assert sum(one["held_out"] for one in found["by_class"]) == found["held_out"]
    assert {gain["of"] for gain in found["outlook"]} == {"pixels", "images"}
    text = wdiv("advise", parts, *NETWORK).stdout
    for words in ("Balanced accuracy", "the largest class always", "To decide between two networks 5 points apart",
                  "To check it, with what else could be trained"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(("asked", "size"), [((), 128), (("--image-size", 64), 64)], ids=["open", "given"])
def test_larger_images_are_taken_where_they_pay_and_no_size_was_given(
    asked: tuple[object, ...], size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gain = Gain("pixels", ((64, 0.81), (128, 0.89)), 128, 0.08, 0.04, 0.12, 200)
    monkeypatch.setattr("studies.grid.advising.larger_images", lambda *_, **__: gain)
    text = wdiv("advise", noise(5)(tmp_path / "x"), *NETWORK[:4], *asked, "--device", "cpu").stdout
    assert "Images of 128 pixels instead of 64: 81 → 89 %, +8 [4, 12]." in text
    assert ("--image-size 64 was given" in text) == bool(asked)
    assert [line.count(f"--image-size {size}") for line in text.splitlines() if line.startswith("wdiv run")] == [1, 1]
