"""At what rates strategies train, so that a comparison of two can say which rates differ by design."""

from __future__ import annotations

from studies.spec.columns import strategy_name
from wdiv.errors import BadInput
from wdiv.store.stages import BESIDE
from wdiv.tuning.strategy.spelling import parse
from wdiv.tuning.strategy.strategies import EVERYTHING, TERMS

__all__ = ["rate_ratios", "rates"]

OF_LAYERS = tuple(term for term in TERMS if term not in (EVERYTHING, BESIDE))
"""What ``all`` gives its rate to. The network beside comes by its own name alone."""


def rates(strategy: str) -> dict[str, float]:
    """Kind of layer -> the rate that a strategy trains it at, before any method or schedule; without those that it
    leaves frozen, and empty for a baseline, which has no rates.

    Where a kind has several, by stage or by phase, its highest. ``all`` gives its rate to every kind that is not named
    in the same phase. Raises :class:`~wdiv.errors.BadInput` for what is neither a strategy nor a baseline.

    >>> rates("by-kind"), rates("fc=1e-3 for 0.5 then fc=1e-4+conv@stage4=1e-5"), rates("svm@stage3")
    ({'conv': 0.0001, 'bn': 0.01, 'fc': 0.001}, {'conv': 1e-05, 'fc': 0.001}, {})
    >>> rates("all=1e-4,bn=1e-2")["bn"], rates("all=1e-4,bn=1e-2")["conv"]
    (0.01, 0.0001)
    """
    name, found = strategy_name(strategy), dict[str, float]()
    try:
        phases = parse(name).phases
    except BadInput:
        return {}  # a baseline: strategy_name knows it
    for phase in phases:
        named = {term.kind for term in phase.terms} - {EVERYTHING}
        for term in phase.terms:
            for kind in [k for k in OF_LAYERS if k not in named] if term.kind == EVERYTHING else [term.kind]:
                found[kind] = max(found.get(kind, 0.0), term.lr)
    return {kind: found[kind] for kind in TERMS if kind in found}


def rate_ratios(left: str, right: str) -> dict[str, float]:
    """Kind of layer -> left's rate over right's, of the kinds that both strategies train; empty beside a baseline.

    To set one kind beside another, divide what :func:`rates` gives: gamma under ``bn+fc`` trains at a hundred times the
    rate of kernels under ``conv+fc``.

    >>> rate_ratios("conv+bn+fc", "by-kind"), rate_ratios("bn+fc", "svm")
    ({'conv': 1.0, 'bn': 0.01, 'fc': 0.1}, {})
    >>> rates("bn+fc")["bn"] / rates("conv+fc")["conv"]
    100.0
    """
    ours, theirs = rates(left), rates(right)
    return {kind: float(f"{ours[kind] / theirs[kind]:.12g}") for kind in ours if kind in theirs}
