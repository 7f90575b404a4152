"""Real images, real weights, real checkpoints: what wdiv is for. Skipped where the files are absent."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import wdiv
from studies.cli import cli
from tests.conftest import once
from tests.studies.test_plain import assert_plain
from wdiv.cache.measures import measured

pytestmark = once


def run_wdiv(*args: object) -> str:
    result = CliRunner().invoke(cli, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def steel(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict]:
    """Steel surfaces, 20 a class, on real ImageNet weights: the store, and what the command said."""
    out = tmp_path_factory.mktemp("steel") / "store"
    weights = shared / "weights" / "mobilenet_v2_w035.toml"
    said = run_wdiv(
        "run", "peng2020", "--data", shared / "data" / "neu", "--weights", weights, "--out", out, "--json",
        "--per-class", 20, "--test-count", 40, "--strategy", "fc", "--strategy", "conv+fc", "--image-size", 64,
        "--epochs", 8, "--passes", "--bn-mode", "auto", "--seed", 0,
    )  # fmt: skip
    return out, json.loads(said)


def test_few_images_and_real_weights_give_a_good_classifier(steel: tuple[Path, dict]) -> None:
    _, said = steel
    rows = {row["strategy"]: row for row in said["outcomes"]}
    assert rows["fc"]["last"] >= 0.85, "0.92 when this was written, 0.17 by chance"
    assert rows["conv+fc"]["last"] >= 0.88, "0.95"
    assert rows["fc"]["conv"] == rows["fc"]["affine"] == rows["conv+fc"]["affine"] == 0
    assert 0 < rows["conv+fc"]["conv"] < 0.05, "0.007: very little moved"
    assert rows["conv+fc"]["n_train"] == 120


def test_the_tree_holds_every_layer_in_the_order_of_execution(steel: tuple[Path, dict]) -> None:
    out, _ = steel
    with xr.open_datatree(out, engine="wdiv") as tree:
        assert tree.attrs["layer_order"] == "execution"
        assert tree["bn"].sizes["layer"] == tree["conv"].sizes["layer"] == 52
        assert tree.sizes["epoch"] == 9
        depth = {kind: tree[kind]["depth"].values for kind in ("conv", "bn")}
        assert depth["conv"].tolist() == list(range(0, 104, 2)), "each convolution before its BatchNorm"
        assert depth["bn"].tolist() == list(range(1, 104, 2))
        stages = list(dict.fromkeys(tree["bn"]["stage"].values))
        assert stages == ["stem", "stage1", "stage2", "stage3", "stage4"]
        assert set(tree["fc"]["stage"].values) == {"head"}
        assert set(tree["source"].values) == {"mobilenet_v2_w035"}
        assert tree["bn"]["frozen"].sel(role="running_mean").all()
        accuracy = tree["history"]["test_accuracy"].values
        assert (accuracy[:, -1] > accuracy[:, 0] + 0.2).all()
    assert all(verdict.problems == () for verdict in wdiv.verify(out))


def test_convolutions_move_and_batchnorms_stay(steel: tuple[Path, dict]) -> None:
    out, _ = steel
    with xr.open_datatree(out / "measures.nc") as div:
        tuned = [i for i, name in enumerate(div["run"].values) if "conv+fc" in str(name)]
        values = div["conv/relative_l2"].sel(role="weight").isel(run=tuned[0]).values
        assert (np.diff(values.mean(axis=1)) > 0).all(), "farther with every epoch"
        assert (div["bn/relative_l2"] == 0).all()
    div = measured(out, ("relative_l2",), "pretrained")
    assert (div["fc"]["flag"] > 0).all(), "a new head of six classes has no partner among 1000"
    assert div["fc/relative_l2"].isnull().all()


def test_every_figure_is_what_the_exported_network_comes_to(steel: tuple[Path, dict], shared: Path) -> None:
    assert_plain(steel[0], shared / "data" / "neu")


def test_a_series_of_checkpoints_that_others_wrote(shared: Path) -> None:
    folder = shared / "checkpoints"
    epochs = [folder / f"mobilenet0.25_epoch_{n}.pth" for n in (10, 40, 140, 245)]
    start = folder / "mobilenet_v1_x025_imagenet.pth.tar"
    distances = []
    for epoch in epochs:
        found = json.loads(run_wdiv("diff", start, epoch, "-m", "relative_l2", "--json"))
        assert "in A for 'body.' in B" in found["summary"]["matched"]
        kinds = found["summary"]["kinds"]
        assert (kinds["conv"]["comparable"], kinds["bn"]["comparable"]) == (27, 27)
        backbone = [row for row in found["layers"] if row["comparable"]]
        assert {row["side"] for row in backbone} == {"both"}
        assert all(row["why"] for row in found["layers"] if not row["comparable"])
        distances.append(kinds["conv"]["relative_l2"])
    assert distances == sorted(distances), "ever farther from where it began"
    between = json.loads(run_wdiv("diff", epochs[0], epochs[-1], "-m", "relative_l2", "--json"))
    assert between["summary"]["matched"] == "by name"
    assert all(row["comparable"] for row in between["layers"]), "heads and all: they are one network"
    itself = json.loads(run_wdiv("diff", epochs[0], epochs[0], "--json"))
    values = [row[m] for row in itself["layers"] for m in ("relative_l2", "gaussian_kl") if row[m] is not None]
    assert len(values) > 100
    assert set(values) == {0.0}
