"""Opening a store of 1,000 epochs, and how many tensors that reads. ``python -m benchmarks.opening``

One run of wdiv's own (delta epochs) and one imported folder of 1,000 files; a ResNet-18 whose tensors have one element
each in the files of the imported run, because what they hold is not read.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.process import alone, best, peak

EPOCHS = 1000


def compare() -> list[dict[str, Any]]:
    """One row a kind of store."""
    rows = []
    for side, words in (("native", "a run of wdiv's"), ("imported", "an imported folder")):
        found = alone("benchmarks.opening", side)
        remark = f"asked: 1 s, no read; {found['reads']} tensors read"
        rows.append(
            {"work": f"open {EPOCHS} epochs, {words}", "theirs": "", "ours_s": found["seconds"], "ours_MB": found["MB"],
             "theirs_s": None, "ratio": None, "remark": remark}
        )  # fmt: skip
    return rows


def measure(side: str) -> dict[str, Any]:
    """Seconds to open, the store being on disk; and reads, counted at the one door."""
    import wdiv
    from wdiv.store import tensors

    with tempfile.TemporaryDirectory() as folder:
        store = (_native if side == "native" else _imported)(Path(folder))
        reads = 0
        read = tensors.read

        def counting(*args: Any, **kwargs: Any) -> Any:
            nonlocal reads
            reads += 1
            return read(*args, **kwargs)

        tensors.read = counting  # type: ignore[assignment]
        wdiv.open(store)
        seconds = best(lambda: wdiv.open(store), 3)
        if wdiv.open(store).sizes["epoch"] < EPOCHS:
            raise AssertionError("not all epochs are there")
    return {"seconds": seconds, "MB": peak(), "reads": reads}


def _native(folder: Path) -> Path:
    from tests.fabric import make_store

    return make_store(folder / "store", ("bn+fc",), (0,), EPOCHS)


def _imported(folder: Path) -> Path:
    import shutil

    import numpy as np
    from safetensors.numpy import save_file
    from torchvision.models import resnet18

    from wdiv.store.imports import import_run

    state = {k: np.zeros(tuple(v.shape), np.float32) for k, v in resnet18().state_dict().items() if v.dim()}
    (folder / "epochs").mkdir()
    first = folder / "epochs" / "epoch_0001.safetensors"
    save_file(state, first)
    for epoch in range(2, EPOCHS + 1):  # links: the bytes are there once
        (folder / "epochs" / f"epoch_{epoch:04d}.safetensors").hardlink_to(first)
    import_run(folder / "epochs", "epoch_{epoch}.safetensors", out=folder / "store")
    shutil.rmtree(folder / "epochs")  # opening reads no tensor: it does not even need them
    return folder / "store"


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1]) if sys.argv[1:] else compare()))  # noqa: T201
