"""100 full ResNet-50 checkpoints, every Gaussian and paired metric of every layer. ``python -m benchmarks.series``

From the page cache: wdiv (an imported folder of ``.pth`` files, nothing copied); the plain way (``torch.load``, then
NumPy in float64, layer by layer), once with a function for each metric and once with sums and moments shared by hand;
and merely reading the bytes of the same files into one buffer. The checkpoints (10 GB) are made once under
``WDIV_BENCH`` (default: a temporary folder) and kept there.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import alone, best, peak, timed

EPOCHS = 100
PLAIN = 5
"""Epochs that the plain way is timed on; its time is proportional to them."""
METRICS = ("gaussian", "paired")


def compare() -> list[dict[str, Any]]:
    """Rows: beside the plain way, written in two ways, and beside reading."""
    folder = make()
    with tempfile.TemporaryDirectory() as store:  # imported once before, as it is in use, in a process of its own
        entered = alone("benchmarks.series", "import", folder, store)
        ours = alone("benchmarks.series", "wdiv", store)
    plain, shared, read = (alone("benchmarks.series", side, folder) for side in ("plain", "shared", "read"))
    work = f"{EPOCHS} ResNet-50 checkpoints, 16 metrics"
    row = {"work": work, "ours_s": ours["seconds"], "ours_MB": ours["MB"]}
    off = max(_off(ours["sample"], side["sample"]) for side in (plain, shared))
    remark = f"asked: 20; timed on {PLAIN} of them; values agree to {off:.0e}"
    once = f"timed on {PLAIN} of them; the import took {entered['seconds']:.1f} s, once"
    speed = f"asked: 0.5, and under 1000 MB; {read['GB'] / read['seconds']:.1f} GB/s, 1 thread, 1 buffer"
    return [
        row | {"theirs": name, "theirs_s": seconds, "theirs_MB": side["MB"], "ratio": seconds / ours["seconds"],
               "remark": words}
        for name, side, seconds, words in (
            ("torch.load, NumPy, a function a metric", plain, plain["seconds"] / PLAIN * EPOCHS, remark),
            ("torch.load, NumPy, shared sums", shared, shared["seconds"] / PLAIN * EPOCHS, once),
            ("reading the bytes", read, read["seconds"], speed),
        )
    ]  # fmt: skip


def make() -> Path:
    """The folder of checkpoints: ResNet-50 with random weights, each epoch a little farther away."""
    root = Path(os.environ.get("WDIV_BENCH", Path(tempfile.gettempdir()) / "wdiv-bench")) / "resnet50"
    root.mkdir(parents=True, exist_ok=True)
    missing = [e for e in range(EPOCHS + 1) if not (root / f"epoch_{e:03d}.pth").exists()]
    if missing:
        import torch
        from torchvision.models import resnet50

        torch.manual_seed(0)
        start = {k: v + 0.1 * torch.rand_like(v) if v.dim() == 1 else v for k, v in resnet50().state_dict().items()}
        way = {k: torch.randn_like(v) * v.std() for k, v in start.items() if v.dim()}
        for e in missing:
            state = {k: v + way[k] * (1e-3 * e) if k in way else v for k, v in start.items()}
            partial = root / "partial"
            torch.save({"state_dict": state}, partial)
            partial.rename(root / f"epoch_{e:03d}.pth")
    return root


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch_*.pth"))


def enter(folder: Path, store: Path) -> dict[str, Any]:
    """``wdiv import``: note where each tensor lies."""
    from wdiv.store.imports import import_run

    return {"seconds": timed(lambda: import_run(folder, "epoch_{epoch}.pth", base=_files(folder)[0], out=store))}


def ours(store: Path) -> dict[str, Any]:
    """wdiv; opening the store is part of the time, loading compiled code is not."""
    import wdiv
    from wdiv.measure import compare as once

    once(np.ones((1, 3), np.float32), np.zeros((1, 3), np.float32), ["l2"])

    def work() -> Any:
        return wdiv.divergence(wdiv.open(store).isel(epoch=slice(1, None)), METRICS)

    seconds = best(work, 3)
    found = work()
    conv = found["conv"].to_dataset().isel(run=0, epoch=PLAIN - 1).sel(role="weight")
    sample = {str(n): conv[n].values.tolist() for n in conv.data_vars if n != "flag"}
    return {"seconds": seconds, "MB": peak(), "sample": sample}


def plain(folder: Path) -> dict[str, Any]:
    """Load, then for each layer and tensor each metric by its own textbook formula."""
    return _by_hand(folder, lambda a, b: {name: function(a, b) for name, function in TEXTBOOK.items()})


def shared(folder: Path) -> dict[str, Any]:
    """The same, each mean, norm and difference computed once."""
    return _by_hand(folder, _shared)


def _by_hand(folder: Path, metrics: Callable[[np.ndarray, np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    import torch

    files = _files(folder)
    sample: dict[str, list[float]] = {}

    def state(file: Path) -> dict[str, Any]:
        return dict(torch.load(file, weights_only=True)["state_dict"])

    def work() -> None:
        before = {k: v.numpy().astype(np.float64).ravel() for k, v in state(files[0]).items() if v.dim()}
        for file in files[1 : PLAIN + 1]:
            sample.clear()
            for key, tensor in state(file).items():
                if tensor.dim() and not key.startswith("fc"):
                    values = metrics(before[key], tensor.numpy().astype(np.float64).ravel())
                    if tensor.dim() == 4:
                        for name, value in values.items():
                            sample.setdefault(name, []).append(float(value))

    return {"seconds": timed(work), "MB": peak(), "sample": dict(sample)}


def _kl(a: np.ndarray, b: np.ndarray) -> Any:
    return np.log(b.std() / a.std()) + (a.var() + (a.mean() - b.mean()) ** 2) / (2 * b.var()) - 0.5


def _overlap(a: np.ndarray, b: np.ndarray) -> Any:
    va, vb = a.var(), b.var()
    return 0.25 * (a.mean() - b.mean()) ** 2 / (va + vb) + 0.5 * np.log((va + vb) / (2 * np.sqrt(va * vb)))


TEXTBOOK: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "gaussian_kl": _kl,
    "gaussian_kl_reverse": lambda a, b: _kl(b, a),
    "gaussian_kl_peng2020": lambda a, b: _kl(a, b) + 0.5,
    "jeffreys": lambda a, b: _kl(a, b) + _kl(b, a),
    "wasserstein2_gaussian": lambda a, b: np.hypot(a.mean() - b.mean(), a.std() - b.std()),
    "hellinger": lambda a, b: np.sqrt(1 - np.exp(-_overlap(a, b))),
    "bhattacharyya": _overlap,
    "mean_shift": lambda a, b: (b.mean() - a.mean()) / a.std(),
    "log_std_ratio": lambda a, b: np.log(b.std() / a.std()),
    "l2": lambda a, b: np.linalg.norm(a - b),
    "relative_l2": lambda a, b: np.linalg.norm(a - b) / np.linalg.norm(a),
    "cosine_distance": lambda a, b: 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)),
    "pearson_distance": lambda a, b: 1 - np.corrcoef(a, b)[0, 1],
    "max_abs": lambda a, b: np.abs(a - b).max(),
    "sign_flips": lambda a, b: (a * b < 0).mean(),
    "mean_abs": lambda a, b: np.abs(a - b).mean(),
}


def _shared(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    ma, mb, sa, sb = a.mean(), b.mean(), a.std(), b.std()
    d, na, nb = a - b, np.linalg.norm(a), np.linalg.norm(b)
    far, size, dot = np.linalg.norm(d), np.abs(d), a @ b
    kl = np.log(sb / sa) + (sa**2 + (ma - mb) ** 2) / (2 * sb**2) - 0.5
    back = np.log(sa / sb) + (sb**2 + (ma - mb) ** 2) / (2 * sa**2) - 0.5
    overlap = 0.25 * (ma - mb) ** 2 / (sa**2 + sb**2) + 0.5 * np.log((sa**2 + sb**2) / (2 * sa * sb))
    return {
        "gaussian_kl": kl, "gaussian_kl_reverse": back, "gaussian_kl_peng2020": kl + 0.5, "jeffreys": kl + back,
        "wasserstein2_gaussian": np.hypot(ma - mb, sa - sb), "hellinger": np.sqrt(1 - np.exp(-overlap)),
        "bhattacharyya": overlap, "mean_shift": (mb - ma) / sa, "log_std_ratio": np.log(sb / sa), "l2": far,
        "relative_l2": far / na, "cosine_distance": 1 - dot / (na * nb),
        "pearson_distance": 1 - (dot / a.size - ma * mb) / (sa * sb), "max_abs": size.max(),
        "sign_flips": (a * b < 0).mean(), "mean_abs": size.mean(),
    }  # fmt: skip


def read(folder: Path) -> dict[str, Any]:
    """Every byte of every file, into one buffer."""
    files = _files(folder)[1:]
    buffer = bytearray(max(file.stat().st_size for file in files))

    def work() -> None:
        for file in files:
            with file.open("rb", buffering=0) as handle:
                handle.readinto(buffer)

    return {"seconds": best(work, 3), "MB": peak(), "GB": sum(file.stat().st_size for file in files) / 1e9}


def _off(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> float:
    """The largest difference, relative to 1e-6 or more: the textbook forms lose the digits of what is smaller."""
    if set(ours) != set(theirs):
        raise AssertionError(f"not the same metrics: {sorted(set(ours) ^ set(theirs))}")
    pairs = [pair for name in ours for pair in zip(ours[name], theirs[name], strict=True)]
    return max(abs(x - y) / max(abs(y), 1e-6) for x, y in pairs)


SIDES = {"import": enter, "wdiv": ours, "plain": plain, "shared": shared, "read": read}

if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](*map(Path, sys.argv[2:])) if sys.argv[1:] else compare()))  # noqa: T201
