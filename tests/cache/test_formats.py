"""Results on disk: what is read is what was written, and what is in the way is left alone."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
import xarray as xr

import wdiv
from tests.fabric import make_store
from wdiv.cache import formats
from wdiv.errors import BadInput, BadStore

ZARR = pytest.param(".zarr", marks=pytest.mark.skipif(importlib.util.find_spec("zarr") is None, reason="needs zarr"))
ENDINGS = pytest.mark.parametrize("ending", [".nc", ZARR])
MADE = {
    **{
        reduction: lambda tree, reduction=reduction: wdiv.divergence(
            tree, ["relative_l2", "gaussian"], 0, reduction=reduction
        )
        for reduction in ("layer", "filter", "stage")
    },
    "pairwise": lambda tree: wdiv.pairwise(tree, "relative_l2"),
    "path": lambda tree: wdiv.divergence(tree, "trajectory"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> xr.DataTree:
    return wdiv.open(make_store(tmp_path_factory.mktemp("formats") / "store", ("bn+fc", "scratch"), epochs=1))


@pytest.fixture
def result(tree: xr.DataTree) -> xr.DataTree:
    return wdiv.divergence(tree, "relative_l2")


@ENDINGS
@pytest.mark.parametrize("what", MADE)
def test_a_result_comes_back_identical(tree: xr.DataTree, tmp_path: Path, what: str, ending: str) -> None:
    wanted = MADE[what](tree)
    out = tmp_path / f"new folder/{what}{ending}"
    assert formats.save(wanted, out) == out
    found = formats.load(out)
    xr.testing.assert_identical(found, wanted)
    formats.save(found, out)
    xr.testing.assert_identical(wdiv.load(str(out)), wanted)


@pytest.mark.parametrize("first", [".nc", ZARR])
@ENDINGS
def test_what_was_read_can_be_written_in_either_form(
    result: xr.DataTree, tmp_path: Path, first: str, ending: str
) -> None:
    found = formats.load(formats.save(result, tmp_path / f"first{first}"))
    assert {variable.dtype.kind for variable in found["bn"].to_dataset().variables.values()} <= set("Oif")
    xr.testing.assert_identical(formats.load(formats.save(found, tmp_path / f"second{ending}")), result)


@ENDINGS
def test_a_diff_comes_back_identical(tree: xr.DataTree, tmp_path: Path, ending: str) -> None:
    state = {"conv.weight": tree["weights/stem.conv/weight"].values[0, 1], "norm.weight": tree["bn/gamma"].values[0, 1]}
    wanted = wdiv.diff(state, state | {"conv.weight": state["conv.weight"] * 2, "head.weight": state["norm.weight"]})
    xr.testing.assert_identical(formats.load(formats.save(wanted, tmp_path / f"d{ending}")), wanted)


@ENDINGS
def test_what_was_there_is_replaced_and_nothing_is_left_beside_it(
    tree: xr.DataTree, result: xr.DataTree, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"m{ending}"
    formats.save(wdiv.divergence(tree, "all"), out)
    formats.save(result, out)
    xr.testing.assert_identical(formats.load(out), result)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@ENDINGS
def test_a_write_that_fails_leaves_what_was_there(
    result: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    out = formats.save(result, tmp_path / f"m{ending}")

    def half(self: xr.DataTree, path: Path, **_: object) -> None:
        if ending == ".zarr":
            path.mkdir()
            path /= "zarr.json"
        path.write_text("half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.DataTree, "to_netcdf" if ending == ".nc" else "to_zarr", half)
    with pytest.raises(KeyboardInterrupt):
        formats.save(result, out)
    monkeypatch.undo()
    xr.testing.assert_identical(formats.load(out), result)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("name", ["m.csv", "m", "m.nc4", ".nc", "m.NC"])
def test_another_ending_is_refused(result: xr.DataTree, tmp_path: Path, name: str) -> None:
    for refuse in (formats.check, lambda out: formats.save(result, out)):
        with pytest.raises(BadInput, match=r"the name must end in \.nc or \.zarr"):
            refuse(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_zarr_without_the_package_is_refused(
    result: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"m\.zarr: writing zarr needs the package zarr \(pip install zarr\)"):
        formats.save(result, tmp_path / "m.zarr")
    formats.save(result, tmp_path / "m.nc")


@ENDINGS
def test_a_folder_that_is_something_else_is_left_alone(result: xr.DataTree, tmp_path: Path, ending: str) -> None:
    folder = tmp_path / f"photos{ending}"
    folder.mkdir()
    (folder / "a.png").write_text("dear")
    with pytest.raises(BadInput, match=r"is a folder|is there and is no zarr group; it is left alone"):
        formats.save(result, folder)
    assert (folder / "a.png").read_text() == "dear"
    assert [path.name for path in tmp_path.rglob("*")] == [folder.name, "a.png"]


@ENDINGS
def test_a_damaged_file_is_told_in_one_line(result: xr.DataTree, tmp_path: Path, ending: str) -> None:
    out = formats.save(result, tmp_path / f"m{ending}")
    for spoil in (lambda data: b"", lambda data: b"\xff" * len(data), lambda data: data[: len(data) // 2]):
        copy = tmp_path / f"copy{ending}"
        if ending == ".nc":
            copy.write_bytes(spoil(out.read_bytes()))
        else:
            shutil.copytree(out, copy, dirs_exist_ok=True)
            (chunk,) = (path for path in (out / "bn" / "relative_l2").rglob("0") if path.is_file())
            (copy / chunk.relative_to(out)).write_bytes(spoil(chunk.read_bytes()))
        with pytest.raises(BadStore, match=rf"copy{ending}: not a (netCDF file|zarr group)") as caught:
            formats.load(copy)
        assert "\n" not in str(caught.value)


@ENDINGS
def test_what_is_not_there_or_is_another_thing_is_told(tmp_path: Path, ending: str) -> None:
    with pytest.raises(BadStore, match="no such file or folder"):
        formats.load(tmp_path / f"gone{ending}")
    (tmp_path / f"text{ending}").write_text("a text")
    with pytest.raises(BadStore, match="not a "):
        formats.load(tmp_path / f"text{ending}")
    (tmp_path / f"folder{ending}").mkdir()
    with pytest.raises(BadStore, match="not a "):
        formats.load(tmp_path / f"folder{ending}")
