"""Tidy tables: one row a thing, plain columns, ready for pandas, seaborn or a spreadsheet.

LAW: this room imports :mod:`wdiv.measure` and what lies below it. It reads trees; it computes no metric.
"""

from wdiv.summary.answered import answers, by_class, confusions_in_words, one_class_notes
from wdiv.summary.best import Best, Candidate, best
from wdiv.summary.bought import accuracies, outcomes
from wdiv.summary.diffs import diff_rows, diff_summary
from wdiv.summary.folds import joined, wholes_of
from wdiv.summary.moved import comparable, epoch_grid, layer_grid, layers, not_finite, stage_profile, without_value
from wdiv.summary.noise import against_noise_floor, noise_floor
from wdiv.summary.order import in_order, labels
from wdiv.summary.runs import CELL, finished, results
from wdiv.summary.trained import FITTED, fitted, has_trained, learned, untrained_notes

__all__ = [
    "CELL", "FITTED", "Best", "Candidate", "accuracies", "against_noise_floor", "answers", "best", "by_class",
    "comparable", "confusions_in_words", "diff_rows", "diff_summary", "epoch_grid", "finished", "fitted", "has_trained",
    "in_order", "joined", "labels", "layer_grid", "layers", "learned", "noise_floor", "not_finite", "one_class_notes",
    "outcomes", "results", "stage_profile", "untrained_notes", "wholes_of", "without_value",
]  # fmt: skip
