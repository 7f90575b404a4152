"""After the grid: measure it, draw it, write the tables beside the runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from baselines import trials
from studies.grid.conditions import begun, parts
from studies.grid.results import write_all, write_results
from studies.report.figures.measured import draw
from studies.report.stand_in import with_proxy
from studies.report.writing import write
from studies.spec.columns import HEADLINES, headline
from studies.spec.study import Study
from wdiv import summary
from wdiv.cache import formats
from wdiv.cache.measures import measured, places_of
from wdiv.errors import BadInput, BadStore, NoOutputs
from wdiv.registry import did_you_mean
from wdiv.store.engine import open_store
from wdiv.store.files import plain_name
from wdiv.store.reader import CheckpointStore, StoreLike, without_damaged

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from wdiv.outputs import Images

__all__ = ["conclude", "finish", "load_measures"]


def finish(out: StoreLike, metrics: Sequence[str], reference: str | int) -> tuple[pd.DataFrame, list[Path]]:
    """Write, for each architecture of the store, ``measures.nc``, ``outputs.nc`` and ``heatmap.png``, and of all
    ``results.csv`` and ``.nc``.

    Runs that are not finished are measured, and enter nothing else.

    Returns what moved and what it bought (:func:`wdiv.summary.outcomes`, its ``attrs["metric"]`` saying by which
    measure), the store's baselines among it, and the files. Runs that are damaged are left out.
    """
    store = CheckpointStore.open(out)
    return without_damaged([store], lambda: _finish(store, metrics, reference))


def _finish(store: CheckpointStore, metrics: Sequence[str], reference: str | int) -> tuple[pd.DataFrame, list[Path]]:
    import pandas as pd

    tables, found, files = [], [], []
    labels = list(store.by_label())
    shown = headline(metrics)
    for label in labels:
        tail = "" if len(labels) == 1 else "-" + plain_name(label)
        tree = open_store(store, label)
        div = summary.finished(measured(store, metrics, reference, label))
        files += places_of(store, tree, reference, metrics)
        tree = summary.finished(tree)
        if not tree.sizes["run"]:
            continue
        files.append(draw(div, "heatmap", store.path / f"heatmap{tail}.png", metric=shown))
        tables.append(summary.outcomes(tree, div, shown))
        found.append(summary.results(tree))
    if not found and not trials.load(store.path):
        raise BadStore(f"{store.path}: no run is finished; there is nothing to conclude")
    everything, written = write_results(store, found)
    bought = summary.accuracies(everything)
    baselines = set(everything["strategy"].iloc[sum(map(len, found)) :])  # what follows the runs
    tables.append(bought[bought["strategy"].isin(baselines)])
    table = pd.concat([one for one in tables if len(one)], ignore_index=True)
    table = table.sort_values(["model", "n_train"], kind="stable", ignore_index=True)
    table.attrs["metric"] = shown
    return table, [*files, *written]


def conclude(study: Study, out: Path) -> tuple[pd.DataFrame, list[Path]]:
    """Measure and draw every condition, and write the tables. Returns what moved and what it bought, and the files.

    Of the table, ``attrs["metric"]`` is by what it moved, and ``attrs["notes"]`` what there is to say of that.
    """
    import pandas as pd

    tables, files = [], []
    opened = begun(out)
    measured_as, notes = without_damaged(opened.values(), lambda: with_proxy(study, opened.values(), study.reference))
    for part in parts(study, out):
        table, written = finish(opened.get(part.condition, part.out), measured_as.metrics, study.reference)
        tables.append(table if not part.condition else table.assign(condition=part.condition))
        files += written
    whole = pd.concat(tables, ignore_index=True)
    whole.attrs |= tables[0].attrs | {"notes": notes}
    if study.conditions:
        files += write_all(out, opened)
    if study.claims or study.tables or study.figures:
        files += write(out, opened=opened)[1][:2]
    return whole, files


def load_measures(
    path: str | Path, metric: str | None, group: str | None = None, images: Images | None = None
) -> tuple[xr.DataTree, str, str]:
    """A divergence tree: read from what ``measure -o`` wrote, or measured from a store's folder (only what is new); the
    metric that it has, and what there is to say of it.

    metric: None for the one to show where one is shown; of a store ``output_change``, or where it has no images its
    proxy, and a line that says so.
    """
    path = Path(path)
    if path.is_dir() and path.suffix != ".zarr":
        wanted, note = metric or HEADLINES[0], ""
        try:
            return measured(path, wanted, "pretrained", group, images), wanted, note
        except NoOutputs as error:
            if metric is not None:
                raise
            wanted, note = HEADLINES[1], f"{HEADLINES[1]} stands in for {HEADLINES[0]}: {error}"
        return measured(path, wanted, "pretrained", group), wanted, note
    tree = formats.load(path)
    if "direction" not in tree.attrs:
        raise BadInput(f"{path}: not a file of measures; 'wdiv measure DIR -o FILE.nc' writes one")
    known = list(dict.fromkeys(str(n) for node in tree.children.values() for n in node.data_vars if n != "flag"))
    wanted = metric or headline(known)
    if wanted not in known:
        raise BadInput(f"{path}: metric {wanted!r} was not measured; {did_you_mean(wanted, known)}")
    return tree, wanted, ""
