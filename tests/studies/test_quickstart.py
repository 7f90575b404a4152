"""The quickstart, shrunk: the same path from digits to figures, with one epoch of everything."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

import wdiv
from studies.grid.runner import run_grid
from studies.report.finish import finish
from studies.spec.registry import load
from studies.spec.study import override


def test_the_quickstart_ends_with_a_figure_and_tables(tmp_path: Path) -> None:
    study = load("quickstart")
    assert study.pretrain is not None
    how = replace(study.pretrain, epochs=1, batch_size=64)
    study = override(
        study, {"pretrain": how, "strategies": ["fc", "conv+bn+fc"], "seeds": 0, "per_class": 5, "epochs": 1}
    )
    out, diverged = run_grid(study, tmp_path / "out", device="cpu")
    table, files = finish(out, study.metrics, study.reference)
    assert diverged == []
    assert [file.name for file in files] == ["measures.nc", "outputs.nc", "heatmap.png", "results.csv", "results.nc"]

    with Image.open(out / "heatmap.png") as image:
        image.verify()
    with Image.open(out / "heatmap.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50

    with xr.open_datatree(out / "measures.nc") as div:
        assert set(div.children) == {"conv", "bn", "fc"}
        assert div["conv"].sizes == {"run": 2, "epoch": 2, "layer": 20, "role": 1}
        moved = div["conv/relative_l2"].sel(role="weight")
        runs = {str(name): i for i, name in enumerate(div["strategy"].values)}
        assert (moved.isel(run=runs["fc"]) == 0).all(), "frozen, and so exactly zero"
        assert (moved.isel(run=runs["conv+bn+fc"], epoch=1) > 0).all()
        assert (moved.isel(epoch=0) == 0).all(), "the reference is the start"
        assert set(study.metrics) <= {*div["bn"].data_vars, "output_change"}
    with xr.open_datatree(out / "outputs.nc") as div:
        assert div["bn"].sizes == {"run": 2, "epoch": 2, "layer": 20, "role": 2}
        assert (div["bn/output_change"].isel(run=runs["conv+bn+fc"], epoch=1) > 0).all()
        assert (div["bn/output_change"].isel(run=runs["fc"]) == 0).all()

    results = pd.read_csv(out / "results.csv")
    assert set(results["strategy"]) == set(table["strategy"]) == {"fc", "conv+bn+fc"}
    assert set(results["source"]) == {"digits-0-4 (resnet18)"}
    assert results["last"].between(0, 1).all()
    assert (results["low"].lt(results["last"]) & results["last"].le(results["high"])).all(), "with their intervals"
    assert (results["n_train"] == 25).all()
    rows = table.set_index("strategy")
    assert rows.loc["fc", ["conv", "affine"]].tolist() == [0, 0]
    assert rows.loc["conv+bn+fc", "affine"] > 0
    assert math.isnan(rows.loc["fc", "spread"]), "one seed has no spread"
    assert rows.loc["conv+bn+fc", "over_fc"] == pytest.approx(rows.loc["conv+bn+fc", "last"] - rows.loc["fc", "last"])

    assert all(verdict.problems == () for store in (out, out / "source") for verdict in wdiv.verify(store))
