"""Results written to netCDF or zarr come back identical, and say of themselves what CF asks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import wdiv
from tests.fabric import base_state
from tests.measure.conftest import WEIGHT_METRICS
from wdiv.measure import Flag

OTHER = "toynet-toy-n2-conv+fc-auto-s0"
SOME = {"run": [1, 2, 6]}
REFERENCES = ["pretrained", 0, "previous", OTHER]


def through_netcdf(tree: xr.DataTree, file: Path) -> xr.DataTree:
    tree.to_netcdf(file)
    with xr.open_datatree(file) as back:
        return back.load()


def through_zarr(tree: xr.DataTree, folder: Path) -> xr.DataTree:
    pytest.importorskip("zarr")
    with warnings.catch_warnings():
        # zarr's own words about its strings: "does not have a Zarr V3 specification", true of every xarray result
        warnings.filterwarnings("ignore", message=".*(Zarr V3 specification|Zarr format 3 specification).*")
        tree.to_zarr(folder, consolidated=False)
        with xr.open_datatree(folder, engine="zarr", consolidated=False) as back:
            return back.load()


WAYS = {"netcdf": through_netcdf, "zarr": through_zarr}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
Way = Callable[[xr.DataTree, Path], xr.DataTree]
CASES: dict[str, Callable[[xr.DataTree], xr.DataTree]] = {
    **{f"reference {r}": lambda tree, r=r: wdiv.divergence(tree, reference=r) for r in REFERENCES},  # type: ignore[misc]
    "every metric": lambda tree: wdiv.divergence(tree, WEIGHT_METRICS),
    "filters": lambda tree: wdiv.divergence(tree, ["l2", "straightness"], reduction="filter"),
    "stages": lambda tree: wdiv.divergence(tree, ["l2", "straightness"], reduction="stage"),
    "pairs": wdiv.pairwise,
    "pairs of filters": lambda tree: wdiv.pairwise(tree, reduction="filter"),
    "diff": lambda tree: wdiv.diff(
        {**base_state(1), "extra.weight": np.ones((2, 5))},
        {key: value for key, value in base_state(2).items() if "bias" not in key},
        ["l2", "spectral_norm_change"],
    ),
}


@pytest.fixture(scope="module", params=CASES)
def result(request: pytest.FixtureRequest, grid: Path) -> xr.DataTree:
    """What each case measures, once for all that is asked of it."""
    return CASES[request.param](wdiv.open(grid).isel(SOME))


@every_way
def test_a_result_comes_back_identical(result: xr.DataTree, tmp_path: Path, way: Way) -> None:
    xr.testing.assert_identical(way(result, tmp_path / "kept"), result)


def test_a_lazy_result_can_be_written_as_it_is(grid: Path, tmp_path: Path) -> None:
    lazy = wdiv.divergence(xr.open_datatree(grid, engine="wdiv", chunks={}).isel(SOME), ["l2", "straightness"])
    xr.testing.assert_identical(through_netcdf(lazy, tmp_path / "kept.nc"), lazy.compute())


def test_the_weights_can_be_kept_as_netcdf_and_measured_from_there(tree: xr.DataTree, tmp_path: Path) -> None:
    again = through_netcdf(tree, tmp_path / "weights.nc")
    for reference in REFERENCES:
        xr.testing.assert_identical(
            wdiv.divergence(again, reference=reference), wdiv.divergence(tree, reference=reference)
        )
    xr.testing.assert_identical(wdiv.pairwise(again), wdiv.pairwise(tree))


def test_every_variable_says_what_cf_asks(result: xr.DataTree) -> None:
    assert result.attrs["Conventions"] == "CF-1.11"
    for node in result.children.values():
        flag = node["flag"]
        assert flag.attrs["flag_masks"] == [int(bit) for bit in Flag]
        assert len(flag.attrs["flag_meanings"].split()) == len(Flag)
        assert flag.attrs["long_name"]
        assert flag.dtype == np.int64
        for name, variable in node.data_vars.items():
            if name != "flag":
                assert variable.attrs["units"]
                assert variable.attrs["long_name"]
                assert variable.attrs["ancillary_variables"] == "flag"
                assert variable.dtype == np.float64
        if "row_size" in node.coords:
            assert node["row_size"].attrs["sample_dimension"] in node.dims
            assert node["layer_index"].attrs["instance_dimension"] == "layer"
