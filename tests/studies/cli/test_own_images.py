"""Folders as people have them, by the command line: plates in several shots, classes of few images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies.grid.study_file import read_study
from tests import folders
from tests.studies.cli.test_cli import strictly, wdiv
from tests.tuning.tiny import MOBILENET
from wdiv.store.reader import CheckpointStore

NETWORK = ("--model", MOBILENET, "--weights", "random", "--image-size", 32)


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    return folders.plates(tmp_path / "steel", count=8)


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    return folders.imbalanced(tmp_path / "parts", few=3, solo=1, many=20)


@pytest.mark.parametrize("command", ["svm", "advise"])
def test_near_copies_are_told_and_the_group_that_is_suggested_ends_them(command: str, plates: Path) -> None:
    said = strictly(wdiv(command, plates, *NETWORK, "--json").stdout)
    (note,) = said["notes"]
    assert note.startswith("steel: 16 of 16 test images are nearly the same pictures")
    group = note.partition("--group '")[2].partition("'")[0]
    grouped = strictly(wdiv(command, plates, *NETWORK, "--group", group, "--json").stdout)
    assert grouped["notes"] == ["steel: 16 groups, of 4 images each: 12 to train on, 4 to test"]
    if command == "svm":
        accuracy, sound = (one["outcomes"][0]["scores"]["accuracy"]["value"] for one in (said, grouped))
        assert accuracy == 1
        assert sound < 0.8
    else:
        assert max(place["folds"] for place in said["findings"]["places"]) == 1
        assert max(place["folds"] for place in grouped["findings"]["places"]) < 0.8


def test_the_notes_stand_in_what_is_printed(plates: Path, unequal: Path) -> None:
    for command in ("svm", "advise"):
        assert "note: steel: 16 of 16 test images are nearly" in wdiv(command, plates, *NETWORK).stdout
        shown = wdiv(command, unequal, *NETWORK, "--small-classes", "keep").stdout
        assert "note: parts: the classes have from 1 to 20 images: many 20, few 3, solo 1;" in shown
        assert "note: parts: no test image is of class 'solo'" in shown
        assert "note: the smallest class has 1 image: it is held out in none, and in all to train on" in shown


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "class 'solo' has 1 image; setting 1 aside for the test leaves none to train on; --small-classes keep"),
        (("--group", "(", "--small-classes", "drop", "--least", 3), "--group: '(' is no regular expression"),
        (("--group", r"plate\d"), r"--group: 'plate\\d' finds no group in 24 of 24 names ('few/0.png', "),
        (
            ("--group", r"^\w+/", "--small-classes", "drop", "--least", 3),
            "class 'few': all its 3 images are of one group",
        ),
        (("--small-classes", "kep"), "unknown way with small classes 'kep'; did you mean 'keep'?"),
        (("--small-classes", "merge", "--least", 0), "least: a whole number of images, at least 1, not 0"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line(options: tuple[object, ...], words: str, unequal: Path) -> None:
    said = wdiv("svm", unequal, *NETWORK, *options, code=2).stderr
    assert words in said
    assert said.count("\n") == 1


def test_a_run_of_unequal_classes(unequal: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    how = ("--small-classes", "keep", "--class-weights", "balanced", "--sampling", "balanced", "--validation", 0.2)
    grid = ("--per-class", 9, "--strategy", "fc", "--seed", 0, "--epochs", 1, "--device", "cpu", "--out", out)
    said = wdiv("run", "quickstart", "--data", unequal, *NETWORK, *grid, *how, "--test-fraction", 0.25)
    assert "parts: fewer training images than the 9 asked for, all taken: few 2, solo 1" in said.output
    assert "parts: too few training images, to hold one out for validation: 'few' (2), 'solo' (1)" in said.output
    (run,) = CheckpointStore(out).folders()
    assert (run.record.n_train, run.record.small_classes) == (12, "keep")
    recipe = json.loads((run.path / "run.json").read_text())["recipe"]
    assert (recipe["class_weights"], recipe["sampling"]) == ("balanced", "balanced")
    assert read_study(out).small_classes == "keep"
    wdiv("measure", out, "-m", "output_change")
    refused = wdiv("run", "quickstart", "--data", unequal, *NETWORK, *grid, *how, "--least", 2, code=2)
    assert "holds this study with" in refused.stderr


def test_a_run_of_groups_says_so_and_is_measured_on_its_own_images(plates: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    grid = ("--per-class", "all", "--strategy", "fc", "--seed", 0, "--epochs", 1, "--device", "cpu", "--out", out)
    wdiv("run", "quickstart", "--data", plates, *NETWORK, *grid, "--test-fraction", 0.25, "--group", r"^\w/plate\d")
    (run,) = CheckpointStore(out).folders()
    assert run.record.grouping != "none"
    wdiv("measure", out, "-m", "output_change")
    assert read_study(out).group == r"^\w/plate\d"
