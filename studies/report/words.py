"""Cells in words: where a claim holds, and where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["cell_in_words", "cells_in_words"]

Where = Mapping[str, str]
"""Column -> value."""


def cells_in_words(cells: Sequence[tuple[Where, str]]) -> str:
    """What is said of each cell, one part a word, each as short as it can be told; empty of none.

    >>> cells = [({"bn_mode": mode, "per_class": size}, "holds" if mode == "batch" and size != "20" else "fails")
    ...          for mode in ("batch", "frozen") for size in ("5", "10", "20")]
    >>> cells_in_words(cells)
    'holds with batch statistics and 5 or 10 images a class; fails with frozen statistics, and 20 images a class'
    >>> cells_in_words([({"model": "a"}, "holds"), ({"model": "b"}, "holds")])
    'holds in each of 2 cells'
    """
    everywhere = [where for where, _ in cells]
    found: list[str] = []
    for word in dict.fromkeys(word for _, word in cells):
        ours = [where for where, one in cells if one == word]
        if len(ours) == len(cells):
            return f"{word} in each of {len(cells)} cells"
        found.append(f"{word} with {', and '.join(_boxes(ours, everywhere))}")
    return "; ".join(found)


def cell_in_words(where: Where) -> str:
    """All of one cell.

    >>> cell_in_words({"bn_mode": "frozen", "per_class": "all"})
    'frozen statistics and all images'
    """
    return " and ".join(_value(column, (value,)) for column, value in where.items())


def _boxes(cells: Sequence[Where], everywhere: Sequence[Where]) -> list[str]:
    """The cells as few boxes (a set of values in each column), largest first; together they are these cells alone."""
    left, found = list(cells), []
    while left:
        box = max((_grown(cell, order, cells) for cell in left for order in _orders(cell)), key=len)
        found.append(_box(box, everywhere))
        left = [cell for cell in left if cell not in box]
    return found


def _orders(cell: Where) -> list[list[str]]:
    columns = list(cell)
    return [columns[k:] + columns[:k] for k in range(len(columns))] or [[]]


def _grown(cell: Where, order: Sequence[str], cells: Sequence[Where]) -> list[Where]:
    """The box around a cell that holds only ``cells``, let wide in one column after another."""
    box = {column: {value} for column, value in cell.items()}
    for column in order:
        for value in dict.fromkeys(one[column] for one in cells):
            wider = box | {column: box[column] | {value}}
            size = 1
            for values in wider.values():
                size *= len(values)
            if sum(_inside(one, wider) for one in cells) == size:
                box = wider
    return [one for one in cells if _inside(one, box)]


def _inside(cell: Where, box: Mapping[str, set[str]]) -> bool:
    return all(cell[column] in values for column, values in box.items())


def _box(cells: Sequence[Where], everywhere: Sequence[Where]) -> str:
    found = []
    for column in cells[0]:
        ours = list(dict.fromkeys(cell[column] for cell in cells))
        if len(ours) < len({cell[column] for cell in everywhere}):
            found.append(_value(column, ours))
    return " and ".join(found)


def _value(column: str, values: Sequence[str]) -> str:
    if column == "per_class":
        numbers = [value for value in values if value != "all"]
        words = ([f"{' or '.join(numbers)} images a class"] if numbers else []) + ["all images"] * ("all" in values)
        return " or ".join(words)
    joined = " or ".join(value or "none" for value in values)
    return {"bn_mode": f"{joined} statistics", "condition": f"condition {joined}"}.get(column, joined)
