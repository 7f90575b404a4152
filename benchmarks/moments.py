"""Moments of 1 GiB of float32, in float64 accuracy, beside reading it. ``python -m benchmarks.moments``

Reading is a compiled float32 sum over the same memory, on as many threads: what the machine can do, and no less work
than touching every byte.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.process import alone, best

BYTES = 1 << 30
WORK = "moments of 1 GiB of float32"


def compare() -> list[dict[str, Any]]:
    """One row a peer: seconds, and the share of the bandwidth that wdiv reaches."""
    found = alone("benchmarks.moments", "measure")
    share = found["read"] / found["wdiv"]
    accuracy = f"{share:.0%} of the bandwidth (asked: 70 %); off by {found['off']:.0e} from exact summation (1e-12)"
    rows = [{"work": WORK, "theirs": "reading it", "theirs_s": found["read"], "remark": accuracy}]
    rows += [{"work": WORK, "theirs": name, "theirs_s": found[name], "remark": ""} for name in PEERS]
    return [{"ours_s": found["wdiv"], "ratio": row["theirs_s"] / found["wdiv"], **row} for row in rows]


def _chunked(rows: np.ndarray) -> None:
    for row in rows:
        for start in range(0, row.size, 1 << 16):
            part = row[start : start + (1 << 16)].astype(np.float64)
            part.mean()
            part.var()


def _torch(rows: np.ndarray) -> None:
    import torch

    torch.var_mean(torch.from_numpy(rows), dim=1, correction=0)


PEERS: dict[str, Callable[[np.ndarray], object]] = {
    "NumPy, np.var(dtype=float64)": lambda rows: [row.var(dtype=np.float64) for row in rows],
    "NumPy, in chunks of 64k": _chunked,
    "PyTorch, var_mean (float32 sums)": _torch,
}


def measure() -> dict[str, Any]:
    """Seconds of each, and the largest relative error of ours."""
    from numba import njit

    from wdiv import numerics

    @njit(nogil=True, fastmath=True)
    def read(row: Any) -> Any:
        total = np.float32(0)
        for i in range(row.size):
            total += row[i]
        return total

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rows = np.random.default_rng(0).standard_normal(BYTES // 4, dtype=np.float32).reshape(cores, -1)
    with ThreadPoolExecutor(cores) as pool:
        found = {
            "read": best(lambda: list(pool.map(read, rows))),
            "wdiv": best(lambda: list(pool.map(numerics.moments, rows))),
        }
    found |= {name: best(lambda peer=peer: peer(rows), 2) for name, peer in PEERS.items()}  # type: ignore[misc]
    return found | {"off": max(_off(scale, shift) for scale in (1.0, 1e-3) for shift in (0.0, 0.01, 5.0))}


def _off(scale: float, shift: float) -> float:
    """The larger relative error of mean and standard deviation, against exactly rounded sums."""
    from wdiv import numerics

    row = (np.random.default_rng(1).standard_normal(1 << 20) * scale + shift + scale / 3).astype(np.float32)
    values = row.astype(np.float64).tolist()
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values))
    ours = numerics.moments(row)
    return max(abs(float(ours.mean) - mean) / abs(mean), abs(float(ours.std) - std) / std)


if __name__ == "__main__":
    print(json.dumps(measure()) if sys.argv[1:] else json.dumps(compare(), indent=1))  # noqa: T201
