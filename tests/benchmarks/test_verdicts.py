"""The simulation of verdicts, in small."""

from __future__ import annotations

import pytest

from benchmarks import verdicts


def test_it_finds_what_is_there_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SEEDS": (5,), "REPORTS": 3, "DRAWS": 60, "TABLES": 6, "IMAGES": (200,)}.items():
        monkeypatch.setattr(verdicts, name, value)
    rows = [line.strip("| ").split(" | ") for line in verdicts.table() if line.startswith("| ") and line[2].isdigit()]
    (claims,) = (list(map(float, row)) for row in rows if len(row) == 8)
    assert claims[0] == 5
    assert claims[7] == 0, "opposite effects hold or fail nowhere as one"
    assert min(claims[4], claims[6]) > 90
    covered = [float(row[3]) for row in rows if len(row) == 5]
    assert len(covered) == 4
    assert min(covered) > 85
    ((_, permuted, naive),) = (map(float, row) for row in rows if len(row) == 3)
    assert permuted <= naive
