"""``wdiv measure``, ``noise`` and ``plot`` on a store whose numbers are known."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import wdiv as library
from studies.report.finish import finish
from tests.conftest import ROOT
from tests.fabric import make_store, rewrite, shorten
from tests.studies.cli.test_cli import is_picture, strictly, wdiv
from wdiv.cache import formats
from wdiv.metrics import FAMILIES, METRICS, metric_names

BN = "toynet-toy-n2-bn+fc-auto-s0"


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    """Three seeds of two strategies."""
    return make_store(tmp_path / "seeds", ("fc", "bn+fc"), (0, 1, 2), epochs=2)


# --------------------------------------------------------------------------------------------------------- measure


def test_measure_twice_in_a_row_and_from_another_folder(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wdiv("measure", store)
    stamp = (store / "measures.nc").stat().st_mtime_ns
    assert wdiv("measure", store).stdout == first.stdout
    monkeypatch.chdir(store.parent)
    assert wdiv("measure", store.name).stdout == first.stdout
    monkeypatch.chdir(store)
    assert wdiv("measure", ".").stdout == first.stdout
    assert (store / "measures.nc").stat().st_mtime_ns == stamp
    assert "mean over the layers of a stage, metric(reference, run), reference pretrained" in first.stdout


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.of_weights])
def test_measure_takes_a_family(store: Path, family: str) -> None:
    found = strictly(wdiv("measure", store, "-m", family, "--json").stdout)
    names = {name for name, metric in METRICS.items() if metric.family == family}
    assert names <= set(found["stages"][0])
    assert not (set(METRICS) - names) & set(found["stages"][0])


def test_measure_takes_all_there_is(store: Path) -> None:
    found = strictly(wdiv("measure", store, "-m", "all", "--reference", "0", "--json").stdout)
    assert set(metric_names("all")) <= set(found["stages"][0])
    assert (found["reference"], found["epoch"], found["reduction"], found["not_finite"]) == ("0", "last", "layer", [])


@pytest.mark.parametrize("ending", [".nc", ".zarr"])
@pytest.mark.parametrize("reduction", ["layer", "filter", "stage"])
def test_measure_writes_what_divergence_gives(store: Path, tmp_path: Path, reduction: str, ending: str) -> None:
    if ending == ".zarr" and importlib.util.find_spec("zarr") is None:
        pytest.skip("needs zarr")
    out = tmp_path / f"new/m{ending}"
    for _ in range(2):
        said = wdiv("measure", store, "--reduction", reduction, "-m", "relative_l2", "-o", out).stdout
    assert said.endswith(f"wrote {out}\n")
    tree = library.open(store)
    xr.testing.assert_identical(formats.load(out), library.divergence(tree, "relative_l2", reduction=reduction))
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_measure_by_stage_prints_the_stage_s_own_value(store: Path) -> None:
    found = strictly(wdiv("measure", store, "--reduction", "stage", "-m", "l2", "--reference", "0", "--json").stdout)
    div = library.divergence(library.open(store), "l2", 0, reduction="stage")
    for row in found["stages"]:
        wanted = div[row["kind"]]["l2"].sel(run=row["run"], epoch=3, role=row["role"], stage=row["stage"])
        assert row["l2"] == float(wanted)
    assert "all weights of a stage as one tensor" in wdiv("measure", store, "--reduction", "stage").stdout


def test_measure_tells_of_inf_and_nan(store: Path) -> None:
    file = store / "runs" / BN / "epochs" / "0002.safetensors"
    rewrite(file, {"stem.bn.weight": lambda values: values * np.nan})
    said = wdiv("measure", store).stdout
    assert "inf or NaN: 1 tensors; the first epoch of each:" in said
    (row,) = strictly(wdiv("measure", store, "--json").stdout)["not_finite"]
    assert row == {"run": BN, "kind": "bn", "layer": "stem.bn", "role": "gamma", "epoch": 2}


@pytest.mark.parametrize(("reduction", "where"), [("stage", "stem"), ("filter", "stem.bn")])
def test_measure_tells_of_inf_and_nan_whatever_a_value_stands_for(
    store: Path, tmp_path: Path, reduction: str, where: str
) -> None:
    file = store / "runs" / BN / "epochs" / "0002.safetensors"
    rewrite(file, {"stem.bn.weight": lambda values: values * np.nan})
    said = wdiv("measure", store, "-m", "l2", "--reduction", reduction, "-o", tmp_path / "x.nc").stdout
    assert "inf or NaN: 1 tensors" in said
    assert said.strip().splitlines()[-2].split() == [BN, "bn", where, "gamma", "2"]


def test_measure_says_why_there_is_no_value(store: Path) -> None:
    said = wdiv("measure", store, "-m", "l2").stdout
    assert "no value: 8 tensors, it started at random, not from pretrained weights" in said


@pytest.mark.parametrize("reference", ["previous", BN])
def test_the_noise_floor_wants_a_start(store: Path, reference: str) -> None:
    said = wdiv("noise", store, "--reference", reference, code=2).stderr
    assert "movement is counted from a start" in said


def test_measures_over_the_kept_file_is_no_harm(store: Path) -> None:
    wdiv("measure", store, "-m", "l2", "-o", store / "measures.nc")
    wdiv("measure", store, "-m", "relative_l2")
    xr.testing.assert_identical(
        library.measured(store, "relative_l2"), library.divergence(library.open(store), "relative_l2")
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_while_measuring_leaves_no_part_of_a_file(store: Path) -> None:
    """The process stops in the midst of writing, which is where a part could be left."""
    code = (
        "import os, signal, sys, xarray as xr\n"
        "def half(self, path, **_):\n"
        "    path.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    import time; time.sleep(60)\n"
        "xr.DataTree.to_netcdf = half\n"
        "from studies.cli import main\n"
        "sys.argv = ['wdiv', 'measure', sys.argv[1]]\n"
        "main()\n"
    )
    before = sorted(store.rglob("*"))
    done = subprocess.run([sys.executable, "-c", code, str(store)], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.strip().startswith("Stopped.")
    assert sorted(store.rglob("*")) == before


# ----------------------------------------------------------------------------------------------------------- noise


def test_noise_says_which_layers_moved_more_than_seeds_differ(seeds: Path, tmp_path: Path) -> None:
    out = tmp_path / "new/noise.csv"
    said = wdiv("noise", seeds, "--reference", "0", "-o", out).stdout
    assert said.endswith(f"wrote {out}\n")
    found = strictly(wdiv("noise", seeds, "--reference", "0", "--json").stdout)
    assert (found["metric"], found["reference"], found["fdr"]) == ("l2", "0", 0.05)
    tree = library.open(seeds)
    table = library.summary.against_noise_floor(library.divergence(tree, "l2", 0), library.pairwise(tree, "l2"))
    assert len(found["layers"]) == len(table)
    for row, wanted in zip(found["layers"], table.to_dict("records"), strict=True):
        assert (row["layer"], row["role"], row["seeds"], row["strategy"]) == tuple(
            wanted[name] for name in ("layer", "role", "seeds", "strategy")
        )
        for name in ("moved", "apart", "ratio", "p", "p_adjusted"):
            assert row[name] == (None if np.isnan(wanted[name]) else wanted[name])
        assert row["moved_more"] is (None if pd.isna(wanted["moved_more"]) else bool(wanted["moved_more"]))
    tested = table["moved_more"].notna()
    assert 0 < tested.sum() < len(table), "some are frozen"
    assert f"{int(table['moved_more'].sum())} of {tested.sum()} tensors moved more" in said
    with out.open() as file:
        assert len(list(csv.DictReader(file))) == len(table)
    assert wdiv("noise", seeds, "--reference", "0", "-o", out).stdout == said, "twice in a row"


def test_noise_of_two_seeds_says_that_there_is_no_verdict(store: Path) -> None:
    said = wdiv("noise", store).stdout
    assert "with 2 seeds there is a ratio but no test, and no verdict; 3 or more give one" in said
    assert not [word for word in ("moved more than", "False", "p adjusted") if word in said]
    rows = strictly(wdiv("noise", store, "--json").stdout)["layers"]
    assert rows
    assert all(row["p"] is row["moved_more"] is None for row in rows)


def test_noise_says_that_seeds_ended_after_different_epochs(seeds: Path) -> None:
    assert "different epochs" not in wdiv("noise", seeds).stdout
    shorten(seeds, "toynet-toy-n2-bn+fc-auto-s2", 1, early=True)
    said = wdiv("noise", seeds).stdout
    assert "bn+fc: its seeds ended after different epochs, 1 to 2, each of which is taken as it is" in said
    found = strictly(wdiv("noise", seeds, "--json").stdout)["layers"]
    assert {(row["strategy"], row["epochs"]) for row in found} == {("fc", "2"), ("bn+fc", "1 to 2")}


# ------------------------------------------------------------------------------------------------------------ plot


def test_plot_of_a_run_epoch_by_epoch(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.png"
    said = wdiv("plot", store, "epochs", "--run", BN, "-o", out).stdout.splitlines()
    assert said[-1] == f"wrote {out}"
    assert said[0].startswith("note: output_change_proxy stands in for output_change: "), "of no network that there is"
    assert is_picture(out)
    assert "give --run" in wdiv("plot", store, "epochs", "-o", out, code=2).stderr


@pytest.mark.parametrize("name", ["measures.nc", "m.nc", "m.zarr"])
def test_plot_of_a_file_of_measures_even_the_one_that_is_kept(store: Path, tmp_path: Path, name: str) -> None:
    if name.endswith(".zarr") and importlib.util.find_spec("zarr") is None:
        pytest.skip("needs zarr")
    wdiv("measure", store, *(() if name == "measures.nc" else ("-o", store / name)))
    for figure in ("heatmap", "profile"):
        wdiv("plot", store / name, figure, "-o", tmp_path / f"{figure}.png")
        assert is_picture(tmp_path / f"{figure}.png")


def test_a_file_measured_by_stage_is_not_drawn(store: Path, tmp_path: Path) -> None:
    wdiv("measure", store, "--reduction", "stage", "-o", tmp_path / "s.nc")
    said = wdiv("plot", tmp_path / "s.nc", "heatmap", "-o", tmp_path / "x.png", code=2).stderr
    assert "measured one value a stage; tables and figures want one a layer" in said


# ---------------------------------------------------------------------------------------------------------- finish


def test_finish_leaves_the_measures_it_drew(store: Path) -> None:
    for _ in range(2):
        _, files = finish(store, ("relative_l2", "gaussian_kl"), "pretrained")
        assert [file.name for file in files] == ["measures.nc", "heatmap.png", "results.csv", "results.nc"]
    wanted = library.divergence(library.open(store), ("relative_l2", "gaussian_kl"))
    with xr.open_datatree(store / "measures.nc") as kept:
        for kind in ("conv", "bn", "fc"):
            for name in ("relative_l2", "gaussian_kl", "flag"):
                np.testing.assert_array_equal(kept[kind][name], wanted[kind][name])


# ------------------------------------------------------------------------------------------------------- catalogue


def test_show_of_a_metric_says_what_it_takes_and_what_one_value_is_for() -> None:
    found = strictly(wdiv("show", "relative_l2", "--json").stdout)
    assert (found["family"], found["takes"]) == ("paired", FAMILIES["paired"].takes)
    assert found["one_value_for"] == " or ".join(f"a {what}" for what in FAMILIES["paired"].reductions)
    assert strictly(wdiv("show", "linear_cka", "--json").stdout)["one_value_for"] == "a layer's features"
    for name, metric in METRICS.items():
        text = wdiv("show", name).stdout
        assert metric.long_name in text
        assert metric.source in text
