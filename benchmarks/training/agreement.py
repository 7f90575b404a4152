"""Whether two contenders did the same work: by the mean training loss of the first epoch."""

from __future__ import annotations

__all__ = ["TOLERANCE", "disagreement"]

TOLERANCE = {"fp32": 0.005, "bf16": 0.05}
"""The most that two losses may differ, by precision."""


def disagreement(ours: float, theirs: float) -> float:
    """Of two losses, relative to ours."""
    return abs(theirs - ours) / abs(ours)
