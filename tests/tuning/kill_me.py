"""A process to be killed: it imports everything once, then forks a child for each line it reads.

Line: the store's folder. Answer: the child's process id at its start, then how it ended (0 or minus the signal).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import filelock  # noqa: F401 - so that no child has to import it
import safetensors.torch  # noqa: F401
import torch

from tests.tuning.tiny import tiny_run
from wdiv.tuning.datasets import open_split
from wdiv.tuning.models import layer_table
from wdiv.tuning.run import fine_tune

RUN = {"strategy": "bn+fc", "per_class": 4, "bn_mode": "adapt", "epochs": 12, "batch_size": 10, "optimizer": "adam"}


def main(weights: str) -> None:
    torch.set_num_threads(1)
    split = open_split("digits-5-9", 32, test_count=2)
    spec = tiny_run(weights, **RUN)  # type: ignore[arg-type]
    layer_table(spec.model, 5, 32)  # what every child would have to look up again
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            fine_tune(spec, split, Path(line.strip()), device="cpu")
            os._exit(0)
        print(child, flush=True)  # noqa: T201 - the answer
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
