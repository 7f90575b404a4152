"""From a store to a table of what its network makes of new images, by the commands that one types."""

from __future__ import annotations

import json
import shlex
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.inference.conftest import CLASSES, write_images
from tests.studies.cli.test_cli import wdiv
from wdiv.inference.choice import best_of
from wdiv.inference.network import Network


def told(*args: object) -> Any:
    return json.loads(wdiv(*args, "--json").stdout)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """Images that no run has seen, one of which cannot be read."""
    folder = write_images(tmp_path / "new", 4, first=40)
    (folder / "dark" / "41.png").write_bytes(b"half of a")
    return folder


def test_the_command_that_best_prints_is_one_that_runs(used: Path, new: Path, tmp_path: Path) -> None:
    best = best_of(used)
    text = wdiv("best", used).stdout
    assert f"best by validation loss: {best.chosen.name}" in text
    assert f"{best.run} after epoch {best.epoch}" in text
    command = shlex.split(text.splitlines()[-1].replace("IMAGES", str(new)).replace("predictions", f"{tmp_path}/p"))
    assert command[:2] == ["wdiv", "predict"]
    result = wdiv(*command[1:])
    table = pd.read_csv(tmp_path / "p.csv")
    assert list(table) == ["file", "class", "probability", *CLASSES]
    assert len(table) == 11
    assert "cannot be read:" in result.stderr
    assert "1 of 12 files cannot be read" in result.stderr
    as_json = told("best", used)
    assert (as_json["run"], as_json["chosen"]["strategy"], as_json["optimistic"]) == (
        best.run, best.chosen.strategy, False,
    )  # fmt: skip


def test_predictions_on_the_console_and_as_json(used: Path, new: Path) -> None:
    found = told("predict", used, new, "--average", "seeds")
    assert found["network"].endswith("and 1 other seeds, probabilities averaged")
    assert list(found["unreadable"]) == [str(new / "dark" / "41.png")]
    assert sum(found["counts"].values()) == len(found["images"]) == 11
    for row in found["images"]:
        assert row["probability"] == max(row["probabilities"].values()) == row["probabilities"][row["class"]]
        assert sum(row["probabilities"].values()) == pytest.approx(1)
    text = wdiv("predict", used, new / "dark" / "40.png", new / "bright").stdout
    assert text.splitlines()[1].split() == ["file", "class", "probability"]
    assert text.splitlines()[-1].startswith("5 images: ")
    assert json.loads(wdiv("predict", used, new / "bright", "-o", new / "p.csv", "--json").stdout)["file"]


def test_evaluation(used: Path, new: Path, tmp_path: Path) -> None:
    found = told("evaluate", used, new, "-o", tmp_path / "e.csv")
    table = pd.read_csv(tmp_path / "e.csv")
    assert found["accuracy"] == pytest.approx(table["right"].mean())
    assert found["images"] == len(table) == 11
    assert found["recall"]["dark"] == pytest.approx(table[table["label"] == "dark"]["right"].mean())
    text = wdiv("evaluate", used, new).stdout
    low, high = (f"{100 * found[end]:.1f}" for end in ("low", "high"))
    assert f"({low} to {high}) of 11 images" in text
    assert "true class by row, predicted by column" in text
    wrong = table[~table["right"]]
    pair = wrong.groupby(["label", "class"]).size()
    for label, answer in pair.index[:1]:
        assert f"{label!r} is taken for {answer!r}: {pair[label, answer]} of " in text


def test_mistakes_as_a_table_and_as_a_sheet(used: Path, images: Path, tmp_path: Path) -> None:
    found = told("errors", used, "-o", tmp_path / "errors.png")
    assert found["networks"] == 2
    assert found["files"] == [str(tmp_path / "errors.png")]
    assert (tmp_path / "errors.png").stat().st_size > 10_000
    text = wdiv("errors", used).stdout
    for one in found["found"]:
        assert one["file"] in text
    assert f"{len(found['found'])} of 18 test images are answered wrongly by at least one of 2 networks" in text
    moved = Path(shutil.copytree(images, tmp_path / "three"))
    wdiv("errors", used, "--data", moved, "--most", 1, "-o", tmp_path / "one.svg")
    assert "1 of them" in (tmp_path / "one.svg").read_text() or len(found["found"]) == 1


def test_export_of_a_store(used: Path, tmp_path: Path) -> None:
    wdiv("export", used, "-o", tmp_path / "x.safetensors", "--average", "last2")
    assert wdiv("export", used, "last", "-o", tmp_path / "y.safetensors").stdout.startswith("wrote ")


def test_interrupted_it_leaves_no_half_table(
    used: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = Network.logits

    def interrupted(network: Network, pixels: np.ndarray) -> np.ndarray:
        asked.append(len(pixels))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return real(network, pixels)

    monkeypatch.setattr(Network, "logits", interrupted)
    before = threading.active_count()
    result = wdiv("predict", used, images, "-o", tmp_path / "p.csv", code=1)
    assert "Aborted" in result.output
    assert len(asked) == 2, "in the middle of it"
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
