"""One contender in this process: ``python -m benchmarks.training.side CONTENDER WORK``. Prints JSON."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.process import peak

__all__ = ["CONTENDERS", "Contender", "installed"]


class Contender(NamedTuple):
    """``same`` False: what it does is not quite the same work, so its losses are not held to wdiv's."""

    package: str
    options: dict[str, bool]
    same: bool = True


CONTENDERS = {
    "wdiv": Contender("wdiv", {}),
    "wdiv, nothing saved": Contender("wdiv", {"save": False}),
    "torchvision": Contender("torchvision", {}),
    "torchvision, channels_last": Contender("torchvision", {"channels_last": True}),
    "torchvision, fp32": Contender("torchvision", {"fp32": True}),
    "torchvision, model.train()": Contender("torchvision", {"held": False}, same=False),
    "timm": Contender("timm", {}),
    "fastai": Contender("fastai", {}),
    "lightning": Contender("lightning", {}),
}


def installed(name: str) -> bool:
    return importlib.util.find_spec(CONTENDERS[name].package) is not None


def run(name: str, file: Path) -> dict[str, Any]:
    """Seconds from images in memory and weights on disk to the last epoch; imports are no part of them."""
    import torch

    contender = CONTENDERS[name]
    module = importlib.import_module(f"benchmarks.training.{contender.package}_loop")
    work = pickle.loads(file.read_bytes())
    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    start = time.perf_counter()
    rows = module.train(work, **contender.options)
    seconds = time.perf_counter() - start
    losses, accuracies = ([float(row[i]) for row in rows] for i in (0, 1))
    return {"seconds": seconds, "MB": peak(), "losses": losses, "accuracies": accuracies}


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], Path(sys.argv[2]))))  # noqa: T201
