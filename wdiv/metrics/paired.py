"""Metrics of paired elements: the same weight before and after."""

from __future__ import annotations

import numpy as np

from wdiv.metrics.record import family
from wdiv.numerics import PairSums

__all__ = [
    "cosine_distance", "l2", "max_abs", "mean_abs", "pearson_distance", "relative_l2", "sign_flips",
]  # fmt: skip

paired = family("paired", takes="one PairSums, of A with B")


@paired(
    long_name="L2 distance, ‖A − B‖",
    formula="‖A − B‖₂",
    source="as in Neyshabur, Sedghi and Zhang (2020)",
    units="weight",
    symmetric=True,
    scale_free=False,
    euclidean=True,
    fits=False,
)
def l2(sums: PairSums) -> np.ndarray:
    """How far B lies from A, in units of the weights. It grows with the number of weights.

    >>> from wdiv.numerics import pair_sums
    >>> float(l2(pair_sums([0.0, 0.0], [3.0, 4.0])))
    5.0
    """
    return np.sqrt(sums.squared_distance)


@paired(
    long_name="L2 distance relative to the reference, ‖A − B‖ / ‖A‖",
    formula="‖A − B‖₂ / ‖A‖₂",
    source="as in Neyshabur, Sedghi and Zhang (2020), there unnormalised",
    undefined="norm",
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


@paired(
    long_name="cosine distance, 1 − cos(A, B)",
    formula="1 − A·B / (‖A‖₂ ‖B‖₂)",
    source="textbook; computed as (‖A−B‖² − (‖A‖−‖B‖)²) / (2‖A‖‖B‖)",
    upper=2.0,
    symmetric=True,
    undefined="norm",
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
    return _turn(sums.squared_distance, sums.difference, sums.squared_a, sums.squared_b)


@paired(
    long_name="Pearson distance, 1 − r(A, B)",
    formula="1 − (A−Ā)·(B−B̄) / (‖A−Ā‖₂ ‖B−B̄‖₂)",
    source="Pearson (1895); computed as the cosine distance of what remains without the means",
    upper=2.0,
    symmetric=True,
    undefined="spread",
)
def pearson_distance(sums: PairSums) -> np.ndarray:
    """1 less the correlation of the weights before and after: blind to a common shift and to a common factor.

    >>> from wdiv.numerics import pair_sums
    >>> round(float(pearson_distance(pair_sums([1.0, 2.0, 3.0], [5.0, 7.0, 9.0]))), 12)
    0.0
    """
    turn = _turn(sums.central_d, sums.central_difference, sums.central_a, sums.central_b)
    # without a spread on both sides there is no correlation, unless the two are the same
    spread = (sums.central_a > 0) & (sums.central_b > 0)
    return np.where(sums.squared_distance == 0, 0.0, np.where(spread, turn, np.nan))


def _turn(distance: np.ndarray, difference: np.ndarray, square_a: np.ndarray, square_b: np.ndarray) -> np.ndarray:
    """1 − cos from ‖a−b‖², ‖a‖² − ‖b‖², ‖a‖², ‖b‖²."""
    length_a, length_b = np.sqrt(square_a), np.sqrt(square_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        radial = difference / (length_a + length_b)
        turn = (distance - radial * radial) / (2.0 * length_a * length_b)
    turn = np.where((length_a == 0) | (length_b == 0), np.nan, np.clip(turn, 0.0, 2.0))
    return np.where(distance == 0, 0.0, turn)


@paired(
    long_name="largest change of one weight",
    formula="max |A − B|",
    source="textbook, the maximum norm",
    units="weight",
    symmetric=True,
    scale_free=False,
    fits=False,
)
def max_abs(sums: PairSums) -> np.ndarray:
    """How far the weight that moved farthest has moved.

    >>> from wdiv.numerics import pair_sums
    >>> float(max_abs(pair_sums([0.0, 1.0], [0.5, -1.0])))
    2.0
    """
    return np.asarray(sums.largest)


@paired(
    long_name="share of weights that changed sign",
    formula="#{A·B < 0} / n",
    source="Zhou et al. (2019), on signs and masks",
    upper=1.0,
    symmetric=True,
    fits=False,
)
def sign_flips(sums: PairSums) -> np.ndarray:
    """The share of weights that are negative on one side and positive on the other; zero has no sign.

    >>> from wdiv.numerics import pair_sums
    >>> float(sign_flips(pair_sums([1.0, 1.0, 0.0, -1.0], [-1.0, 2.0, 1.0, -3.0])))
    0.25
    """
    with np.errstate(invalid="ignore"):
        return sums.flips / np.float64(sums.n)


@paired(
    long_name="mean change of a weight",
    formula="mean |A − B|",
    source="textbook",
    units="weight",
    symmetric=True,
    scale_free=False,
    fits=False,
)
def mean_abs(sums: PairSums) -> np.ndarray:
    """How far a weight has moved on average.

    >>> from wdiv.numerics import pair_sums
    >>> float(mean_abs(pair_sums([0.0, 1.0], [0.5, -1.0])))
    1.25
    """
    with np.errstate(invalid="ignore"):
        return sums.absolute / np.float64(sums.n)
