"""What takes the room of a study's folder, and what pruning would give back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from baselines import trials
from studies.grid.pruning import would_prune
from studies.grid.verifying import verified
from wdiv.cache.measures import STEMS
from wdiv.errors import WdivError
from wdiv.store.keep import EXTEND

__all__ = ["disk_usage"]

KINDS = ("epochs", "bases", "predictions", "resume", "running metrics", "caches", "features", "figures", "other")
"""What a file is of: weights after epochs and before them, what networks gave images, what a run goes on from,
sums taken while training, measures, what frozen layers give, figures and reports."""
_OF_RUN = {
    "epochs": "epochs",
    "predictions": "predictions",
    "resume.pt": "resume",
    EXTEND: "resume",
    "live.jsonl": "running metrics",
}
_OF_STORE = {"bases": "bases", "features": "features", "images": "predictions", "report": "figures"}
_CACHES = (*STEMS.values(), "pairs")


def disk_usage(out: Path) -> dict[str, Any]:
    """Bytes of a study's folder, or of any store, as plain data: ``total``; ``kinds``, of :data:`KINDS`; ``runs``, a
    row each with its strategy; ``strategies``; and ``prune``, what 'wdiv prune' would give back.

    A file that has several names is counted once. Raises :class:`~wdiv.errors.BadStore` where there is no store.
    """
    pruned = {one.run: one.bytes for one in would_prune(out)}
    sizes = _sizes(out)
    kinds, of_runs = dict.fromkeys(KINDS, 0), dict[Path, int]()
    stores = verified(out)
    places = {store.path: name for name, store in stores.items()}
    for file, size in sizes.items():
        home = next(path for path in (*file.parents, out) if path in places or path == out)
        parts = file.relative_to(home).parts
        kinds[_kind(parts)] += size
        if parts[0] == "runs" and len(parts) > 2:
            folder = home.joinpath(*parts[:2])
            of_runs[folder] = of_runs.get(folder, 0) + size
    rows = [
        {"run": "/".join(filter(None, (name, run.path.name))), "strategy": _strategy(run), "bytes": of_runs[run.path]}
        for name, store in stores.items() for run in store.folders() if run.path in of_runs
    ]  # fmt: skip
    rows = [row | {"prune": pruned.get(str(row["run"]), 0)} for row in rows]
    return {
        "total": sum(sizes.values()),
        "kinds": {kind: size for kind, size in kinds.items() if size},
        "runs": rows,
        "strategies": _by_strategy(rows),
        "prune": sum(pruned.values()),
    }


def _sizes(out: Path) -> Mapping[Path, int]:
    found: dict[tuple[int, int], tuple[Path, int]] = {}
    for file in sorted(out.rglob("*")):
        if file.is_file() and not file.is_symlink():
            stat = file.stat()
            found.setdefault((stat.st_dev, stat.st_ino), (file, stat.st_size))
    return dict(found.values())


def _kind(parts: tuple[str, ...]) -> str:
    """Of a file, by its path from its store."""
    if parts[0] == "runs" and len(parts) > 2:
        return _OF_RUN.get(parts[2], "other")
    if len(parts) > 1:
        return "other" if parts[0] == trials.FOLDER else _OF_STORE.get(parts[0], "other")
    if parts[0].endswith(".nc") and parts[0].startswith(_CACHES):
        return "caches"
    return "figures" if parts[0].endswith(".png") else "other"


def _strategy(run: Any) -> str:
    try:
        return str(run.record.strategy)
    except WdivError:
        return ""


def _by_strategy(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        one = found.setdefault(row["strategy"], {"strategy": row["strategy"], "runs": 0, "bytes": 0, "prune": 0})
        for name, more in (("runs", 1), ("bytes", row["bytes"]), ("prune", row["prune"])):
            one[name] += more
    return sorted(found.values(), key=lambda one: -one["bytes"])
