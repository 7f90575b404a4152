"""Arrays in, arrays out.

LAW: this room imports numpy, scipy and numba, and nothing of wdiv above it. It knows no layer, no run, no label.
"""

from wdiv.numerics.gaussian import gaussian_kl, t_minus_log1p
from wdiv.numerics.reduce import Moments, PairSums, moments, pair_sums

__all__ = ["Moments", "PairSums", "gaussian_kl", "moments", "pair_sums", "t_minus_log1p"]
