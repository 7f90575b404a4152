"""The simulation of the noise floor, in small."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import noise


def test_it_tells_noise_from_movement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "TENSORS", 300)
    monkeypatch.setattr(noise, "AT_ONCE", 20_000)
    monkeypatch.setattr(noise, "SEEDS", (5,))
    monkeypatch.setattr(noise, "VALUES", (64,))
    *_, head, _, row = noise.table()
    found = dict(zip(head.split(" | "), row.split(" | "), strict=True))
    assert (found["| metric"], found["seeds"], found["values"]) == ("| l2", "5", "64")
    assert float(found["normal"].rstrip("%")) < 8
    assert found["3 σ in common"] == "100.0%"
    assert float(found["ratio |"].rstrip(" |")) == pytest.approx(np.sqrt(0.5), abs=0.02)
