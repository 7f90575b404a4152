"""Metrics of paired elements: the same weight before and after."""

from __future__ import annotations

import numpy as np

from wdiv.metrics.record import metric
from wdiv.numerics import PairSums

__all__ = ["cosine_distance", "relative_l2"]


@metric(
    takes="pairs",
    long_name="L2 distance relative to the reference, ‖A − B‖ / ‖A‖",
    formula="‖A − B‖₂ / ‖A‖₂",
    source="as in Neyshabur, Sedghi and Zhang (2020), there unnormalised",
)
def relative_l2(sums: PairSums) -> np.ndarray:
    """How far B lies from A (the reference), in lengths of A. NaN where A is zero and B is not.

    >>> from wdiv.numerics import pair_sums
    >>> float(relative_l2(pair_sums([3.0, 4.0], [3.0, 4.5])))
    0.1
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(sums.squared_distance) / np.sqrt(sums.squared_a)
    ratio = np.where(sums.squared_a == 0, np.nan, ratio)
    return np.where(sums.squared_distance == 0, 0.0, ratio)


@metric(
    takes="pairs",
    long_name="cosine distance, 1 − cos(A, B)",
    formula="1 − A·B / (‖A‖₂ ‖B‖₂)",
    source="textbook; computed as (‖A−B‖² − (‖A‖−‖B‖)²) / (2‖A‖‖B‖)",
    upper=2.0,
    symmetric=True,
)
def cosine_distance(sums: PairSums) -> np.ndarray:
    """How far B has turned from A. NaN where one of them is zero and the other is not.

    The textbook form loses every digit for small turns; this one keeps them.

    >>> from wdiv.numerics import pair_sums
    >>> float(cosine_distance(pair_sums([1.0, 0.0], [0.0, 2.0])))
    1.0
    >>> f"{float(cosine_distance(pair_sums([1.0, 0.0], [1.0, 1e-9]))):.3g}"
    '5e-19'
    """
    length_a, length_b = np.sqrt(sums.squared_a), np.sqrt(sums.squared_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        radial = sums.difference / (length_a + length_b)
        turn = (sums.squared_distance - radial * radial) / (2.0 * length_a * length_b)
    turn = np.where((length_a == 0) | (length_b == 0), np.nan, np.clip(turn, 0.0, 2.0))
    return np.where(sums.squared_distance == 0, 0.0, turn)
