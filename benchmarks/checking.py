"""What it costs to believe no damaged file. ``python -m benchmarks.checking``

Every tensor of an epoch of a ResNet-50, 102 MB, is read once: proven by its XXH3 as wdiv does, beside reading it
unproven, beside the SHA-256 of the whole file, as in stores of before; and once more in the same process.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.process import alone, peak

ROUNDS = 5
WORK = "read an epoch of a ResNet-50 (102 MB)"


def compare() -> list[dict[str, Any]]:
    """One row a way to be sure, or not."""
    found = alone("benchmarks.checking", "measure")
    again = f"again in the same process: {found['again'] * 1e3:.0f} ms"
    return [
        {"work": WORK, "ours_s": found["proven"], "ours_MB": found["MB"], "theirs": name, "theirs_s": found[side],
         "ratio": found[side] / found["proven"], "remark": remark}
        for name, side, remark in (("unproven", "unproven", again), ("SHA-256 of the file", "whole", ""))
    ]  # fmt: skip


def measure() -> dict[str, Any]:
    """Seconds of each, the best of some rounds, the file being in memory."""
    from safetensors.torch import save_file
    from torchvision.models import resnet50

    from wdiv.store import tensors
    from wdiv.store.files import sha256
    from wdiv.store.seals import fast_digest
    from wdiv.store.tensors import Proof, read

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "epoch.safetensors"
        state = resnet50().state_dict()
        save_file(state, file)
        proofs = {key: Proof(fast_digest(value.numpy())) for key, value in state.items()}
        whole = Proof(sha256=sha256(file))

        def seconds(proof: Callable[[str], Proof | None]) -> float:
            began = time.perf_counter()
            for key in state:
                read(file, key, proof=proof(key))
            return time.perf_counter() - began

        def first(proof: Callable[[str], Proof | None]) -> float:
            best = float("inf")
            for _ in range(ROUNDS):
                tensors._files.clear()  # as in a process that has not seen the file
                best = min(best, seconds(proof))
            return best

        found = {"unproven": first(lambda key: None), "whole": first(lambda key: whole), "proven": first(proofs.get)}
        return {**found, "again": seconds(proofs.get), "MB": peak()}


if __name__ == "__main__":
    print(json.dumps(measure() if sys.argv[1:] else compare()))  # noqa: T201
