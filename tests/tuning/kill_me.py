"""A process whose children are killed: for each line it reads it forks one, which finds all it needs ready.

Line: the name of a run of HARD, and the store's folder. Answer: the child's process id at its start, then how it ended
(0 or minus the signal). The first time a name comes, the process trains that run itself, and answers 0 and 0.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from tests.tuning.tiny import HARD, hard_run
from wdiv.tuning import run as tuning
from wdiv.tuning.datasets import open_split


def main(weights: str) -> None:
    torch.set_num_threads(1)
    tuning.COMMIT_EVERY = 0.03  # several epochs at once, in the background, and yet a few commits a second
    split = open_split("digits-5-9", 32, test_count=2)
    specs = {name: hard_run(weights, name) for name in HARD}
    trained = set()
    for line in sys.stdin:
        name, folder = line.split()
        if name not in trained:  # what is found out about networks is remembered, by its children too
            trained.add(name)
            tuning.fine_tune(specs[name], split, Path(folder), device="cpu")
            print("0\n0", flush=True)  # noqa: T201
            continue
        child = os.fork()
        if child == 0:
            tuning.fine_tune(specs[name], split, Path(folder), device="cpu")
            os._exit(0)
        print(child, flush=True)  # noqa: T201 - the answer
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
