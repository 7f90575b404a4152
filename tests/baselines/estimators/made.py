"""Made features: what estimators are tried on."""

from __future__ import annotations

import numpy as np


def blobs(n: int = 60, d: int = 8, k: int = 3, *, apart: float = 2.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) features of very different scales, correlated, and (n,) labels 0 … k − 1, as many of each as can be."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    features = rng.normal(size=(k, d))[labels] * apart + rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) / np.sqrt(d)
    return features * np.geomspace(0.1, 30.0, d) + np.linspace(-5, 5, d), labels
