"""The simulation of cross-validation, in small."""

from __future__ import annotations

from benchmarks.folds import coverage


def test_the_interval_holds_the_accuracy_of_the_folds_networks() -> None:
    found = coverage(60, 5, 1, draws=200)
    assert found["these networks"] > 0.9
    assert found["other networks"] > 0.9
    assert abs(found["found"] - found["true"]) < 0.02
