"""The images of a run, found again where its store says, and nowhere else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fabric import edit_record
from tests.inference.conftest import write_images
from wdiv.errors import BadData, BadStore
from wdiv.store.reader import CheckpointStore, Run
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.training.own_images import own_split


def told(store: Path, text: str) -> Run:
    """A run of the store, whose study.json now says this."""
    (store / "study.json").write_text(text)
    return next(iter(CheckpointStore.open(store)))


def test_found_where_the_study_says_or_where_one_says_they_are_now(store: Path, tmp_path: Path) -> None:
    """By a study.json of before files had formats, too."""
    images = write_images(tmp_path / "images", 4)
    wanted = open_split(str(images), 8, test_count=1)
    for run in (store / "runs").iterdir():
        edit_record(run, lambda record: record.update(data_digest=wanted.digest))
    run = told(store, json.dumps({"study": {"data": str(images), "test_count": 1}}))
    assert own_split(run, 8).digest == wanted.digest
    moved = images.rename(tmp_path / "moved")
    with pytest.raises(BadData, match="its images cannot be opened"):
        own_split(run, 8)
    assert own_split(run, 8, str(moved)).digest == wanted.digest
    (moved / "dark" / "0.png").unlink()
    with pytest.raises(BadData, match=f"the images of {moved} are not those that it was trained on"):
        own_split(run, 8, str(moved))


def test_what_is_not_known(store: Path) -> None:
    with pytest.raises(BadData, match="does not say where its images are"):
        own_split(told(store, "{}"), 8)
    with pytest.raises(BadStore, match=r"study\.json: damaged"):
        own_split(told(store, "{"), 8)
