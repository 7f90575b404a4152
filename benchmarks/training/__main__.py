"""``python -m benchmarks.training [NAME …] [--scale S] [--fraction F] [--weights W]``: print the table.

NAME is a task (``fc``, ``conv+bn+fc:bf16`` …) or ``grid``; none: all. ``--scale 0.1`` trains a tenth of the epochs,
``--fraction 0.1`` about a tenth of the grid's runs; ``--weights`` starts ResNet-50 from other weights than random ones.
"""

from __future__ import annotations

import argparse

from benchmarks.__main__ import TITLE, line, machine
from benchmarks.training.table import rows
from benchmarks.training.tasks import TASKS

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.training")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*(t.name for t in TASKS), "grid"]))
    parser.add_argument("--scale", type=float, default=1.0, help="of the epochs")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the grid")
    parser.add_argument("--weights", help="ResNet-50's, as in wdiv's --weights")
    chosen = parser.parse_args()
    print("\n".join([machine(), "", *TITLE]))  # noqa: T201
    for row in rows(chosen.names, scale=chosen.scale, fraction=chosen.fraction, weights=chosen.weights):
        print(line(row), flush=True)  # noqa: T201
