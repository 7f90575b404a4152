"""Made observations, whose answers are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from studies.spec.claim import Claim
from studies.spec.columns import COLUMNS

PLAIN = {
    "condition": "", "model": "net", "source": "src", "dataset": "data", "per_class": "all", "n_train": 100,
    "strategy": "fc", "bn_mode": "auto", "seed": 0, "measure": "accuracy", "against": "", "layers": "", "part": "",
}  # fmt: skip


def row(value: float, **columns: Any) -> dict[str, Any]:
    found = {**PLAIN, **columns}
    run = "-".join(str(found[name]) for name in ("model", "dataset", "per_class", "strategy", "bn_mode", "seed"))
    return {"run": run, **found, "value": value}


def table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=list(COLUMNS))


def two(left: Iterable[float], right: Iterable[float], **columns: Any) -> pd.DataFrame:
    """Strategies ``a`` and ``b``, a value a seed."""
    sides = {"bn+fc": left, "fc": right}
    return table(
        row(value, strategy=name, seed=seed, **columns)
        for name, values in sides.items()
        for seed, value in enumerate(values)
    )


def claim(direction: str = "more", **fields: Any) -> Claim:
    """``a`` against ``b``, if nothing else is said."""
    sides = {"left": {"strategy": "bn+fc"}, "right": {"strategy": "fc"}}
    return Claim(
        **{"name": "made", "text": "a beats b.", "where": "nowhere", "direction": direction, **sides, **fields}
    )
