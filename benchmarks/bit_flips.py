"""``python -m benchmarks.bit_flips STORE [-n 500] [--seed 0]``: is any single bit that flips in a store believed?

STORE is copied. One bit at a time is flipped, in a file of each kind in turn, at a place drawn at random, and put back.
Believed means: ``verify`` finds nothing, or what is measured, told or gone on from is other than before and nobody
says so. Prints a row for each kind of file.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from studies.grid.conditions import begun
from studies.grid.results import results
from studies.grid.verifying import files_at_fault
from wdiv.errors import LeftOut, WdivError
from wdiv.measure import divergence
from wdiv.store.engine import open_store
from wdiv.store.reader import CheckpointStore, without_damaged
from wdiv.store.verify import verify

__all__ = ["KINDS", "flips", "problems"]

KINDS = {
    "base": "bases/*.safetensors", "epoch": "runs/*/epochs/*.safetensors", "run.json": "runs/*/run.json",
    "history": "runs/*/history.jsonl", "live": "runs/*/live.jsonl", "resume": "runs/*/resume.pt",
    "diverged": "runs/*/diverged.txt", "predictions": "runs/*/predictions/*", "foreign": "runs/*/foreign.json",
    "images": "images/*.json", "study.json": "study.json", "baseline": "baselines/*.json",
    "baseline's answers": "baselines/*.safetensors", "measures": "measures*.nc", "pairs": "pairs*.nc",
    "results.nc": "results.nc", "results.csv": "results.csv", "distance": "distance.json",
}  # fmt: skip
"""Kind of file -> where those are in a store."""


def problems(store: Path) -> list[str]:
    """What ``wdiv verify`` would name."""
    found = [problem for one in verify(store) for problem in one.problems]
    return [*found, *files_at_fault(store).values()]


def seen(path: Path) -> Mapping[str, Any]:
    """What a store says of each run that it does not leave out: its values, and what it came to."""
    store = CheckpointStore.open(path)

    def look() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for label in store.by_label():
            tree = divergence(open_store(store, label), ["l2", "gaussian_kl"])
            for kind, node in tree.children.items():
                for number, run in enumerate(tree.to_dataset()["run"].values.tolist()):
                    for name in ("l2", "gaussian_kl"):
                        found[f"{run} {kind} {name}"] = node[name].values[number].tobytes()
        for row in results(store).to_dict("records"):
            told = ((name, value) for name, value in row.items() if value is not None and value == value)
            found |= {f"{row['run']} {name}": value for name, value in told}  # what is missing is not told
        return found

    return without_damaged([store], look)


def flips(
    source: Path, number: int, seed: int, check: Callable[[Path], Mapping[str, Any]] | None = seen
) -> Iterator[tuple[str, Path, int, str]]:
    """(kind, file, bit, what went wrong) for each flip; the last is empty where nothing did.

    check  what is read besides verifying, if anything; run by run or file by file, under names
    """
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as place:
        store = Path(shutil.copytree(source, Path(place) / "store"))
        files = {kind: sorted(store.glob(pattern)) for kind, pattern in KINDS.items()}
        kinds = [kind for kind, found in files.items() if found]
        if problems(store):
            raise SystemExit(f"{source}: is damaged already: {problems(store)[0]}")
        before = check(store) if check else {}
        for count in range(number):
            kind = kinds[count % len(kinds)]
            file = files[kind][rng.integers(len(files[kind]))]
            content = file.read_bytes()
            bit = int(rng.integers(8 * len(content)))
            file.write_bytes(flipped(content, bit))
            yield kind, file.relative_to(store), bit, _judged(store, check, before)
            file.write_bytes(content)


def flipped(content: bytes, bit: int) -> bytes:
    """The same bytes but for one bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _judged(store: Path, check: Callable[[Path], Mapping[str, Any]] | None, before: Mapping[str, Any]) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeftOut)
        if not problems(store):
            return "verify found nothing"
        try:
            after = check(store) if check else {}
        except WdivError:
            return ""
    other = [name for name in after if name in before and after[name] != before[name]]
    return f"{other[0]} is other than it was" if other else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("-n", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if not begun(given.store):
        raise SystemExit(f"{given.store}: no store of runs")
    began, rows = time.perf_counter(), dict[str, list[str]]()
    for kind, file, bit, what in flips(given.store, given.n, given.seed):
        rows.setdefault(kind, []).append(what)
        if what:
            sys.stdout.write(f"{file}, bit {bit}: {what}\n")
    sys.stdout.write("| file | bits flipped | believed |\n| --- | ---: | ---: |\n")
    for kind, found in rows.items():
        sys.stdout.write(f"| {kind} | {len(found)} | {sum(map(bool, found))} |\n")
    sys.stdout.write(f"{given.n} flips in {time.perf_counter() - began:.0f} s\n")
    return int(any(what for found in rows.values() for what in found))


if __name__ == "__main__":
    raise SystemExit(main())
