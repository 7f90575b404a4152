"""Each figure of a run is what its exported network comes to, to the last digit, by a script without wdiv."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from studies.cli import cli
from studies.grid.results import write_results
from studies.grid.runner import run_grid
from studies.spec.study import Study, override
from tests.studies import plain
from wdiv.store import predictions
from wdiv.store.reader import Run

DIGITS = 1e-14
"""Of a sum in float64, whose order is not laid down; a table prints 4 digits, and ``results.csv`` all."""


def assert_plain(store: Path, images: Path) -> None:
    """Every run of a store. images: the folder that its images are of."""
    table = pd.read_csv(store / "results.csv")
    rows = table[table["epochs"] > 0].to_dict("records")
    assert rows
    for row in rows:
        file, run = store / f"{row['run']}.safetensors", Run(store / "runs" / row["run"])
        command = ["export", str(run.path), str(run.final), "-o", str(file)]
        assert CliRunner().invoke(cli, command, catch_exceptions=False).exit_code == 0
        kept = predictions.of_run(run)
        assert kept is not None
        judged = plain.judge(file, [images / name for name in kept.images.names])
        labels = [judged.classes.index(Path(name).parent.name) for name in kept.images.names]
        assert np.array_equal(judged.logits, kept.logits), "bit for bit"
        found = plain.figures(judged.logits, labels)
        shares = {name: dict(zip(judged.classes, found.pop(name), strict=True)) for name in ("recall", "precision")}
        assert json.loads(row["confusion"]) == found.pop("confusion")
        for name, value in found.items():
            assert row[name] == pytest.approx(value, rel=DIGITS, abs=DIGITS), name
        for name, of in shares.items():
            assert {one: None if pd.isna(row[f"{name}_{one}"]) else row[f"{name}_{one}"] for one in of} == of, name


@pytest.mark.parametrize("classes", [{"ferrous": 45, "oxide": 20}, {"a": 20, "b": 30, "c": 20}], ids=["two", "three"])
def test_figures_are_those_of_the_exported_network(
    small: Study, folder: Callable[..., Path], tmp_path: Path, classes: dict[str, int]
) -> None:
    """With and without a prefix that is kept, and in batches that do not fill."""
    images = folder(**classes)
    strategies = ["fc", "bn+fc"]
    study = override(small, {"data": str(images), "per_class": [3], "test_count": 17, "strategies": strategies})
    store, _ = run_grid(study, tmp_path / "store", device="cpu")
    write_results(store)
    assert_plain(store, images)
