"""Advice as fields of a study, and as a file of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baselines.advice.rules import Advice
from wdiv.store.files import as_toml

__all__ = ["advised_fields", "as_study"]


def advised_fields(advice: Advice, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a study that trains what is advised.

    given  those that its user has chosen: ``data``, ``weights`` …

    Where training nothing is advised, they leave open what is trained: it is all compared, with the SVM beside it.

    >>> advised_fields(Advice("conv+fc", "frozen", ()), {"data": "photos"})
    {'data': 'photos', 'strategies': ['conv+fc'], 'bn_modes': ['frozen']}
    """
    if not advice.trains:
        return dict(given)
    return {**given, "strategies": [advice.strategy], "bn_modes": [advice.bn_mode]}


def as_study(advice: Advice, given: Mapping[str, Any], base: str) -> str:
    """A TOML file for ``wdiv run``: :func:`advised_fields` in place of those of the study ``base``.

    >>> print(as_study(Advice("conv+fc", "frozen", ()), {"data": "photos"}, "compare-strategies"))
    # Advised: conv+fc, BatchNorm statistics frozen.
    # Run it with: wdiv run FILE.toml
    base = "compare-strategies"
    data = "photos"
    strategies = ["conv+fc"]
    bn_modes = ["frozen"]
    """
    what = f"{advice.strategy}, BatchNorm statistics {advice.bn_mode}"
    if not advice.trains:
        what = f"{advice.strategy}, and nothing trained; this compares it with what could be"
    fields = as_toml({"base": base, **advised_fields(advice, given)})
    return f"# Advised: {what}.\n# Run it with: wdiv run FILE.toml\n{fields}"
