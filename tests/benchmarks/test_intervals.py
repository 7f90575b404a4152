"""The simulation of intervals, in small."""

from __future__ import annotations

import pytest

from benchmarks import intervals


def test_they_hold_where_the_bootstrap_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRUTHS": (0.98,), "IMAGES": (50,), "RUNS": 200, "DRAWS": 50, "GROUPS": (5,)}.items():
        monkeypatch.setattr(intervals, name, value)
    _, _, _, _, *rows = intervals.table()
    found = [(row.split(" | ")[0], float(row.split(" | ")[-1].rstrip(" |%"))) for row in rows]
    (ours, exact), (before, too_few), *others = found
    assert (ours, before) == ("| accuracy, one seed", "| the same by bootstrap")
    assert too_few < 65 < 90 < exact
    assert {what for what, _ in others} == {
        "| accuracy, mean over seeds", "| balanced accuracy", "| macro f1", "| accuracy, grouped",
    }  # fmt: skip
    assert all(share > 85 for _, share in others)
