"""Asking a network is timed beside the loop, on the same pixels, with the same answers."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from benchmarks import predicting
from tests.tuning.tiny import MOBILENET


def test_both_sides_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "ROUNDS", 1)
    found = predicting.measure(MOBILENET, 32, 10)
    assert found["alike"]
    assert all(found[side] > 0 for side in ("loop", "asked", "decoding", "files"))
