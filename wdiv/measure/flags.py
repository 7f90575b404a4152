"""Why a value is NaN."""

from __future__ import annotations

import enum
from collections.abc import Mapping

__all__ = ["INCOMPARABLE", "REASONS", "UNDEFINED", "Flag", "why"]


class Flag(enum.IntFlag):
    """Bits of the variable ``flag``, 0 where there is nothing to say."""

    NOT_SAVED = 1
    ABSENT = 2
    NO_START = 4
    NO_PARTNER = 8
    OTHER_SHAPE = 16
    ZERO_SPREAD = 32
    ZERO_NORM = 64
    NOT_FINITE = 128
    FIRST_EPOCH = 256
    EMPTY = 512
    NO_MATRIX = 1024
    NOT_MOVED = 2048
    OTHER_ROLE = 4096
    ZERO_OUTPUT = 8192
    NOT_RUN = 16384
    COMPLEX = 32768


REASONS: Mapping[Flag, str] = {
    Flag.NOT_SAVED: "this epoch is not saved",
    Flag.ABSENT: "the layer has no such tensor",
    Flag.NO_START: "it started at random, not from pretrained weights",
    Flag.NO_PARTNER: "nothing in the other network corresponds to it",
    Flag.OTHER_SHAPE: "the two have different shapes",
    Flag.ZERO_SPREAD: "all values of one are equal, so there is no spread",
    Flag.ZERO_NORM: "one of them is all zeros",
    Flag.NOT_FINITE: "it holds inf or NaN, or numbers too large to add up",
    Flag.FIRST_EPOCH: "the epoch before it is not saved, or there is none",
    Flag.EMPTY: "it has no elements",
    Flag.NO_MATRIX: "a vector has no spectrum",
    Flag.NOT_MOVED: "it has not moved, so its path has no direction",
    Flag.OTHER_ROLE: "the metric has its value at another role",
    Flag.ZERO_OUTPUT: "on these images the start gives out nothing but 0 there",
    Flag.NOT_RUN: "the network does not run it in eval mode",
    Flag.COMPLEX: "it holds complex numbers, which no metric compares",
}
INCOMPARABLE = (
    Flag.NOT_SAVED | Flag.ABSENT | Flag.NO_START | Flag.NO_PARTNER | Flag.OTHER_SHAPE | Flag.FIRST_EPOCH | Flag.COMPLEX
)
UNDEFINED: Mapping[str, Flag] = {
    "spread": Flag.ZERO_SPREAD, "norm": Flag.ZERO_NORM, "path": Flag.NOT_MOVED, "output": Flag.ZERO_OUTPUT,
}  # fmt: skip
"""What a metric's record calls undefined -> the flag that says so."""


def why(flag: int) -> str:
    """A flag in words.

    >>> why(16)
    'the two have different shapes'
    >>> why(0)
    ''
    """
    return "; ".join(REASONS[bit] for bit in Flag(int(flag)))
