"""Classifiers on frozen features, to scikit-learn's contract, and the measure of their answers."""

from __future__ import annotations

from baselines.estimators.evaluate import Evaluation, evaluate
from baselines.estimators.layers import BestLayer
from baselines.estimators.record import BASELINES, Baseline
from baselines.estimators.svm import LinearSVM
from baselines.estimators.tuned import Tuned

__all__ = ["BASELINES", "Baseline", "BestLayer", "Evaluation", "LinearSVM", "Tuned", "evaluate"]
