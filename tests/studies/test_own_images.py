"""A folder of images in, an answer out: the whole way, on a tiny network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.studies.cli.test_cli import wdiv
from tests.tuning.tiny import MOBILENET

Folder = Callable[..., Path]


@pytest.fixture(scope="module")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 images in three classes that anyone tells apart."""
    root = tmp_path_factory.mktemp("own") / "my shades"
    for name, level in (("dark", 10), ("grey", 120), ("light", 230)):
        (root / name).mkdir(parents=True)
        for i in range(12):
            Image.new("RGB", (20, 20), (level + i % 4, level, level + i // 2)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def answered(shades: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The store of a run of those, and the command that made it."""
    out = tmp_path_factory.mktemp("runs") / "out"
    command = [
        "run", str(shades), "--model", MOBILENET, "--weights", str(weights), "--image-size", "32", "--steps", "60",
        "--epochs", "2", "--batch-size", "9", "--strategy", "bn+fc", "--strategy", "all=3e-3", "--bn-mode",
        "batch", "--seed", "0", "--seed", "1", "--out", str(out),
    ]  # fmt: skip
    return out, command


def test_a_folder_gives_an_answer(answered: tuple[Path, list[str]]) -> None:
    out, command = answered
    said = " ".join(wdiv(*command).output.split())
    results = pd.read_csv(out / "results.csv")
    assert set(results["strategy"]) == {"svm", "bn+fc", "all=3e-3"}
    assert set(results["seed"]) == {0, 1}
    assert (results["n_test"] == 9).all(), "a quarter of each class"
    ours = next(results[results["strategy"] == name] for name in ("bn+fc", "all=3e-3") if f"({name}): " in said)
    assert f"({ours['strategy'].iloc[0]}): {100 * ours['last'].mean():.0f} % [" in said
    assert "of 9 test images right, the mean of 2 seeds" in said
    assert "To train nothing (svm on frozen features) has" in said
    assert f"wdiv predict {out} IMAGES -o predictions.csv" in said
    report = (out / "report" / "report.md").read_text()
    assert "## What to do" in report
    assert "of 9 test images right, the mean of 2 seeds" in report
    epochs = [file.name for file in (out / "runs").glob("*/epochs/*")]
    assert "0001.safetensors" not in epochs, "the last one stays"
    assert "0002.safetensors" in epochs


def test_other_images_are_labelled_by_it(answered: tuple[Path, list[str]], shades: Path, tmp_path: Path) -> None:
    out, command = answered
    if not out.exists():
        wdiv(*command)
    wdiv("predict", str(out), str(shades / "dark"), "-o", str(tmp_path / "predictions.csv"))
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == 12
