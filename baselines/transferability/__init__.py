"""Transferability scores: how well a frozen network fits new images, told from one pass over them, without training.

:data:`SCORES` names them all; ``takes`` of its records says what each is called with.
"""

from __future__ import annotations

from baselines.transferability.distance import frechet_diagonal, frechet_distance, mmd
from baselines.transferability.evidence import logme
from baselines.transferability.likelihood import leep, nce
from baselines.transferability.record import SCORES, TAKES, Score, score
from baselines.transferability.scatter import h_score, h_score_shrunk

__all__ = [
    "SCORES", "TAKES", "Score", "frechet_diagonal", "frechet_distance", "h_score", "h_score_shrunk", "leep", "logme",
    "mmd", "nce", "score",
]  # fmt: skip
