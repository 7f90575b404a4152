"""Many tests at once: p values adjusted for their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["false_discovery"]


def false_discovery(p: ArrayLike) -> NDArray[np.float64]:
    """p values adjusted for their number, so that those below q have a false discovery rate of q; NaN stays NaN.

    Of n known values, the i-th least becomes min over j ≥ i of n/j · p₍ⱼ₎: Benjamini and Hochberg (1995). What is NaN
    was not tested and does not count. Tests may be independent or positively dependent.

    >>> false_discovery([0.01, 0.04, float("nan")]).round(3).tolist()
    [0.02, 0.04, nan]
    """
    from scipy.stats import false_discovery_control

    p = np.array(p, dtype=np.float64)
    known = ~np.isnan(p)
    if known.any():
        p[known] = false_discovery_control(p[known])
    return p
