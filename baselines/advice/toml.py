"""Advice as a study ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from baselines.advice.rules import Advice
from wdiv.store.files import as_toml

__all__ = ["as_study"]


def as_study(advice: Advice, given: Mapping[str, Any]) -> str:
    """A TOML file for ``wdiv run``: the advised strategy beside training the classifier alone, over three seeds.

    given  fields of the study that its user has chosen: ``data``, ``weights`` …

    Where a baseline is advised, the study is what it would have to be compared with.

    >>> from baselines.advice.rules import Advice
    >>> print(as_study(Advice("conv+fc", "frozen", ()), {"data": "photos", "per_class": [20, "all"]}))
    # Advised: conv+fc, BatchNorm statistics frozen.
    # Run it with: wdiv run FILE.toml
    data = "photos"
    per_class = [20, "all"]
    strategies = ["fc", "conv+fc"]
    bn_modes = ["frozen"]
    seeds = [0, 1, 2]
    epochs = 30
    """
    fields = {
        **given,
        "strategies": ["fc", advice.strategy] if advice.trains else ["fc", "conv+fc"],
        "bn_modes": [advice.bn_mode],
        "seeds": given.get("seeds", [0, 1, 2]),
        "epochs": 30,
    }
    what = f"{advice.strategy}, BatchNorm statistics {advice.bn_mode}" if advice.trains else advice.strategy
    return "\n".join([f"# Advised: {what}.", "# Run it with: wdiv run FILE.toml", as_toml(fields)])
