"""Methods: what a strategy does besides naming who trains. Data; each a word that joins the kinds with ``+``."""

from __future__ import annotations

from dataclasses import dataclass

from wdiv.registry import Registry

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True)
class Method:
    """A word of a strategy.

    default  its number where none is given; None: it takes none
    above, upto  what the number must be
    """

    name: str
    long_name: str
    source: str
    default: float | None = None
    above: float = 0.0
    upto: float = float("inf")

    def takes(self, number: float) -> bool:
        return self.above < number <= self.upto


METHODS: Registry[Method] = Registry(
    "method",
    [
        Method(
            "random",
            "starts from random weights, not from the source's",
            "Frankle, Schwab and Morcos (2021)",
        ),
        Method(
            "gradual",
            "the classifier first, then one stage more at a time, from the last to the first",
            "Howard and Ruder (2018), section 3.3",
        ),
        Method(
            "decay",
            "each block's rate is this factor of the next one's, the classifier's the given",
            "Clark et al. (2020); timm's layer_decay",
            0.75,
            upto=1.0,
        ),
        Method(
            "spread",
            "the first stage's rate is this many times below the classifier's, geometric between",
            "Howard and Ruder (2018), section 3.1; fastai's slice of rates",
            100.0,
            above=1.0,
        ),
        Method(
            "l2sp",
            "decay to the source's weights at this strength, and of new ones to 0 at 0.01; in place of weight decay",
            "Li, Grandvalet and Davoine (2018)",
            0.1,
        ),
        Method(
            "rgn",
            "each tensor's rate in proportion to its gradient's norm over its own, anew every epoch",
            "Lee et al. (2023), Auto-RGN",
        ),
    ],
)
