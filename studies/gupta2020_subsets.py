"""What Gupta and Gupta (2020) left for others to try: all 32 subsets of the five blocks of VGG-16, unfrozen.

"One could explore 32 combinations" (Discussion). Everything else is as in :mod:`studies.gupta2020`. The paper claims
nothing of them, and so does this study: its table is the result.
"""

from dataclasses import replace
from itertools import combinations
from typing import Any

from studies import gupta2020
from studies.gupta2020 import BLOCKS, MINI, MINI_RATE, RATE, unfrozen
from studies.spec.table import Table


def _grid(rate: str) -> dict[str, Any]:
    """Every subset, from none to all of the blocks."""
    subsets = tuple(unfrozen(some, rate) for count in range(len(BLOCKS) + 1) for some in combinations(BLOCKS, count))
    labels = {"train_accuracy": "training", "accuracy": "validation"}
    table = Table(
        "subsets", "All subsets of the five blocks", rows=("model", "strategy"), columns=("measure",),
        where={"strategy": subsets}, measure=("train_accuracy", "accuracy"), labels=labels,
    )  # fmt: skip
    return {"strategies": subsets, "tables": (table,)}


STUDY = replace(
    gupta2020.STUDY,
    name="gupta2020-subsets",
    title="all 32 subsets of VGG-16's five blocks, unfrozen for a small set that is unlike ImageNet",
    claims=(),
    figures=(),
    **_grid(RATE),
    mini={**MINI, **_grid(MINI_RATE), "seeds": (0,), "steps_per_epoch": 8},
)
