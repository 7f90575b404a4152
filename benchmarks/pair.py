"""Two ResNet-50 checkpoints: wdiv's diff beside WeightWatcher's ``distances`` (raw). ``python -m benchmarks.pair``

From two files, and from two models that are loaded already. WeightWatcher compares models: building them and loading
the files is part of its work in the first row.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import sys
import time
import warnings
from typing import Any

from benchmarks.process import alone, best, peak
from benchmarks.series import make

WORK = "L2 of each layer, two ResNet-50 checkpoints"


def compare() -> list[dict[str, Any]]:
    """Two rows: from files, and from models."""
    folder = make()
    files = folder / "epoch_001.pth", folder / "epoch_100.pth"
    ours = alone("benchmarks.pair", "ours", *files)
    loaded = alone("benchmarks.pair", "loaded", *files)
    rows = [
        {
            "work": f"{WORK}, {what}",
            "theirs": "WeightWatcher, distances",
            "ours_s": side["seconds"],
            "ours_MB": side["MB"],
        }
        for what, side in (("from files", ours), ("from models", loaded))
    ]
    if importlib.util.find_spec("weightwatcher") is None:
        return [row | {"theirs_s": None, "ratio": None, "remark": "weightwatcher is not installed"} for row in rows]
    theirs = alone("benchmarks.pair", "theirs", *files)
    mine = [value for name, value in ours["l2"].items() if name in theirs["l2"]]
    off = max(abs(x - y) / y for x, y in zip(mine, theirs["l2"].values(), strict=True))
    remark = f"{ours['layers']} conv + BN layers against {theirs['layers']} rows; same L2 to {off:.0e} on {len(mine)}"
    times = theirs["seconds"], theirs["alone"]
    return [
        row | {"theirs_s": time, "theirs_MB": theirs["MB"], "ratio": time / row["ours_s"], "remark": remark}
        for row, time in zip(rows, times, strict=True)
    ]


def ours(a: str, b: str) -> dict[str, Any]:
    """wdiv, from the files."""
    import wdiv
    from wdiv.compare import open_weights

    wdiv.diff(a, a, "l2")  # what is set up once is nobody's cost
    open_weights  # noqa: B018
    seconds = best(lambda: wdiv.diff(a, b, "l2"), 3)
    tree = wdiv.diff(a, b, "l2")
    conv, bn = (tree[kind].to_dataset() for kind in ("conv", "bn"))
    weights = conv["l2"].sel(role="weight")
    l2 = dict(zip(map(str, conv["layer"].values), weights.values.tolist(), strict=True))
    fc = tree["fc"].to_dataset()
    l2 |= {"fc": float(fc["l2"].sel(role="weight").values[0])}
    return {"seconds": seconds, "MB": peak(), "layers": conv.sizes["layer"] + bn.sizes["layer"], "l2": l2}


def loaded(a: str, b: str) -> dict[str, Any]:
    """wdiv, from two models."""
    import wdiv

    models = _model(a), _model(b)
    wdiv.diff(*models, "l2")  # what is set up once is nobody's cost
    return {"seconds": best(lambda: wdiv.diff(*models, "l2"), 5), "MB": peak()}


def _model(file: str) -> Any:
    import torch
    from torchvision.models import resnet50

    network = resnet50()
    network.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    return network


def theirs(a: str, b: str) -> dict[str, Any]:
    """WeightWatcher, from the files."""
    warnings.simplefilter("ignore")
    import weightwatcher

    logging.disable(logging.CRITICAL)
    watcher, seconds, alone_s = weightwatcher.WeightWatcher(), [], []
    for _ in range(3):
        start = time.perf_counter()
        models = _model(a), _model(b)
        ready = time.perf_counter()
        *_, table = watcher.distances(*models)
        seconds.append(time.perf_counter() - start)
        alone_s.append(time.perf_counter() - ready)
    l2 = dict(zip(table["longname"], table["delta_W"].astype(float), strict=True))
    return {"seconds": min(seconds), "alone": min(alone_s), "MB": peak(), "layers": len(table), "l2": l2}


SIDES = {"ours": ours, "loaded": loaded, "theirs": theirs}

if __name__ == "__main__":
    print(json.dumps(SIDES[sys.argv[1]](*sys.argv[2:]) if sys.argv[1:] else compare()))  # noqa: T201
