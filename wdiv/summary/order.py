"""In which order rows are shown, and what they are called."""

from __future__ import annotations

import pandas as pd

__all__ = ["in_order", "labels", "order"]


def labels(table: pd.DataFrame) -> pd.Series:
    """A short name for each row: its strategy, and whatever else is not the same in all rows."""
    parts = [table["strategy"].astype(str)]
    for name, spell in (("n_train", "n={}"), ("bn_mode", "{}"), ("model", "{}")):
        if name in table and table[name].nunique() > 1:
            parts.append(table[name].map(spell.format))
    return parts[0].str.cat(parts[1:], sep="  ")


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by architecture, data size, BN mode, and strategy from the one that changes least; then by depth."""
    keys = [name for name in ("model", "n_train", "bn_mode", "strategy", "depth") if name in table]
    return table.sort_values(keys, key=order, kind="stable")


_RANK = {"scratch": 0, "fc": 1, "bn@stage4+fc": 2, "bn@stage3-4+fc": 3, "bn@stage2-4+fc": 4, "bn+fc": 5, "conv+fc": 6}


def order(column: pd.Series) -> pd.Series:
    """Strategies from the one that changes least; everything else by value."""
    if column.name != "strategy":
        return column
    return column.map(lambda name: (f"{_RANK.get(name, 9)}", name)).astype(object)
