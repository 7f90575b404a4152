"""After the grid: measure it, draw it, write the tables beside the runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from studies.figures import draw
from wdiv import measure, summary
from wdiv.errors import BadInput, BadStore
from wdiv.registry import did_you_mean
from wdiv.store.engine import open_store
from wdiv.store.files import write_atomically
from wdiv.store.reader import CheckpointStore

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["finish", "load_measures", "measure_store", "write_netcdf"]


def finish(out: Path, metrics: Sequence[str], reference: str | int) -> tuple[pd.DataFrame, list[Path]]:
    """Write, for each architecture of the store, ``measures.nc`` and ``heatmap.png``, and ``results.csv`` for all.

    Returns what moved and what it bought (:func:`wdiv.summary.outcomes`), and the files.
    """
    import pandas as pd

    tables, results, files = [], [], []
    labels = list(CheckpointStore.open(out).by_label())
    for label in labels:
        tail = "" if len(labels) == 1 else "-" + re.sub(r"[^\w.=]+", "-", label)
        tree = open_store(out, label)
        div = measure.divergence(tree, metrics, reference)
        files.append(write_netcdf(div, out / f"measures{tail}.nc"))
        shown = "relative_l2" if "relative_l2" in metrics else metrics[0]
        files.append(draw(div, "heatmap", out / f"heatmap{tail}.png", metric=shown))
        tables.append(summary.outcomes(tree, div, shown))
        results.append(summary.results(tree))
    everything = pd.concat(results, ignore_index=True)
    csv = write_atomically(out / "results.csv", lambda temporary: everything.to_csv(temporary, index=False))
    return pd.concat(tables, ignore_index=True), [*files, csv]


def measure_store(path: Path, metrics: Sequence[str], reference: str | int, group: str | None = None) -> xr.DataTree:
    """The divergence of one architecture of a store."""
    return measure.divergence(open_store(path, group), metrics, reference)


def load_measures(path: str | Path, metrics: Sequence[str], group: str | None = None) -> xr.DataTree:
    """A divergence tree: read from a ``.nc`` file that ``measure`` wrote, or measured from a store's folder."""
    import xarray as xr

    path = Path(path)
    if path.is_dir():
        return measure_store(path, metrics, "pretrained", group)
    if not path.exists():
        raise BadStore(f"{path}: no such file or folder")
    try:
        tree = xr.open_datatree(path).load()
    except (OSError, ValueError) as error:
        raise BadStore(f"{path}: not a netCDF file ({str(error).splitlines()[0][:80]})") from None
    if "direction" not in tree.attrs:
        raise BadInput(f"{path}: not a file of measures; 'wdiv measure DIR -o FILE.nc' writes one")
    missing = [m for m in metrics if not any(m in node.data_vars for node in tree.children.values())]
    if missing:
        known = {str(n) for node in tree.children.values() for n in node.data_vars if n != "flag"}
        raise BadInput(f"{path}: metric {missing[0]!r} was not measured; {did_you_mean(missing[0], known)}")
    return tree


def write_netcdf(tree: xr.DataTree, out: str | Path) -> Path:
    """Write a tree so that reading it back gives an identical one."""
    out = Path(out)
    if out.suffix != ".nc":
        raise BadInput(f"{out}: the file's name must end in .nc")
    return write_atomically(out, lambda temporary: tree.to_netcdf(temporary))
