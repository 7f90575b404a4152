"""Arrays in, arrays out: sums in one pass (``reduce.py``), Gaussian KL and its kin (``gaussian.py``), spectra.

LAW: this room imports numpy, scipy and numba, and nothing of wdiv above it. It knows no layer, no run, no label.
"""

from wdiv.numerics.classification import ClassificationScores, classification_scores, scores_of_confusion
from wdiv.numerics.discovery import false_discovery
from wdiv.numerics.displacement import NoiseTest, common_displacement
from wdiv.numerics.empirical import histograms, largest_gap, mean_quantile_distance
from wdiv.numerics.gaussian import bhattacharyya, gaussian_kl, log_ratio, t_minus_log1p
from wdiv.numerics.proportion import Share, grouped_interval, share_interval, wilson
from wdiv.numerics.reduce import Moments, PairSums, moments, pair_sums
from wdiv.numerics.spectral import Spectrum, spectrum

__all__ = [
    "ClassificationScores", "Moments", "NoiseTest", "PairSums", "Share", "Spectrum", "bhattacharyya",
    "classification_scores", "common_displacement", "false_discovery", "gaussian_kl", "grouped_interval", "histograms",
    "largest_gap", "log_ratio", "mean_quantile_distance", "moments", "pair_sums", "scores_of_confusion",
    "share_interval", "spectrum", "t_minus_log1p", "wilson",
]  # fmt: skip
