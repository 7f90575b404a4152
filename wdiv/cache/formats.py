"""Results on disk: netCDF and zarr, identical on the way back."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

import xarray as xr

from wdiv.errors import BadInput, BadStore
from wdiv.store.files import write_atomically

__all__ = ["ENDINGS", "check", "load", "save"]

ENDINGS = (".nc", ".zarr")


def check(out: str | Path) -> Path:
    """Raise what :func:`save` would raise for this name, before anything is measured."""
    out = Path(out)
    if out.suffix not in ENDINGS:
        raise BadInput(f"{out}: the name must end in {' or '.join(ENDINGS)}")
    if out.suffix == ".zarr":
        if find_spec("zarr") is None:
            raise BadInput(f"{out}: writing zarr needs the package zarr (pip install zarr); .nc needs nothing more")
        if out.exists() and not (out / "zarr.json").is_file():
            raise BadInput(f"{out}: is there and is no zarr group; it is left alone")
    elif out.is_dir():
        raise BadInput(f"{out}: is a folder")
    return out


def save(tree: xr.DataTree, out: str | Path) -> Path:
    """Write a tree to ``FILE.nc`` or ``FOLDER.zarr`` (replaced if it is there), so that :func:`load` gives it back.

    Raises :class:`~wdiv.errors.BadInput` for another ending, or where zarr is not installed.
    """
    out = check(out)
    if out.suffix == ".nc":
        return write_atomically(out, lambda temporary: tree.to_netcdf(temporary))
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary, aside = (out.with_name(f".{out.name}.{os.getpid()}.{word}") for word in ("tmp", "old"))
    try:
        tree.to_zarr(temporary, consolidated=False)  # format 3 has no standard for consolidated metadata
        if out.exists():  # a folder cannot be replaced in one step: for a moment the old one stands aside
            os.rename(out, aside)
        try:
            os.replace(temporary, out)
        except OSError:
            if aside.exists():
                os.rename(aside, out)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)
    return out


def load(path: str | Path) -> xr.DataTree:
    """Read what :func:`save` wrote, into memory. Raises :class:`~wdiv.errors.BadStore`."""
    path = Path(path)
    if not path.exists():
        raise BadStore(f"{path}: no such file or folder")
    try:
        if path.suffix == ".zarr":
            with xr.open_datatree(path, engine="zarr", consolidated=False) as tree:
                return _with_text(tree.load())
        with xr.open_datatree(path) as tree:
            return _with_text(tree.load())
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0][:80]
        raise BadStore(f"{path}: not a {'zarr group' if path.suffix == '.zarr' else 'netCDF file'} ({words})") from None


def _with_text(tree: xr.DataTree) -> xr.DataTree:
    """Strings as Python objects, as results have them: zarr has no lasting way to write those of a fixed length."""
    nodes = {node.path: node.to_dataset(inherit=False) for node in tree.subtree}
    for path, data in nodes.items():
        fixed = {name: value.astype(object) for name, value in data.variables.items() if value.dtype.kind in "UT"}
        nodes[path] = data.assign(fixed)
    return xr.DataTree.from_dict(nodes)
