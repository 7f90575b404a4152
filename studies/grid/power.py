"""What the seeds of a study can decide, before any of them is trained."""

from __future__ import annotations

import math

from studies.spec.claim import LEVEL
from studies.spec.study import Study
from wdiv.numerics.comparison import power, smallest_effect

__all__ = ["power_in_words"]

LARGE = 4.0
"""Standard deviations between seeds: an effect that one would not like to miss."""


def power_in_words(study: Study) -> list[str]:
    """How large an effect must be for a claim of the study to be decided, in standard deviations between seeds.

    The p value of the only claim that is true must be below level / claims, that of the last of many true ones below
    the level (Benjamini and Hochberg); what claims have lies between. Nothing for a study that claims nothing.

    >>> from studies.spec.registry import load
    >>> power_in_words(load("li2020", "mini"))[0][:88]
    '3 seeds and 14 claims: found in 4 of 5 cases is an effect of 3.3 (many others are true) '
    """
    claims, seeds = len(study.claims), len(study.drawn_seeds)
    if not claims:
        return []
    if seeds < 2:
        return ["one seed decides no claim; give two or more"]
    error, freedom, levels = 1.0 / math.sqrt(seeds), seeds - 1.0, (LEVEL, LEVEL / claims)
    easiest, hardest = (smallest_effect(error, freedom, level) for level in levels)
    most, least = (power(LARGE, error, freedom, level) for level in levels)
    return [
        f"{seeds} seeds and {claims} claims: found in 4 of 5 cases is an effect of {easiest:.1f} (many others are "
        f"true) to {hardest:.1f} (no other is) standard deviations between seeds; one of {LARGE:g} in "
        f"{100 * most:.0f} to {100 * least:.0f} %"
    ]
