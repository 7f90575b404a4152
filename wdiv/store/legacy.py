"""What stores of before tell by names alone, made when their files did not say it. Nothing else is read off a name."""

from __future__ import annotations

import re

__all__ = ["kinds", "per_class"]

_NAME = re.compile(r"(?P<before>.+?)-(?P<size>n\d+|all)-(?P<how>.+)-s\d+")


def per_class(name: str, label: str, dataset: str, strategy: str, bn_mode: str, seed: int) -> int | None:
    """Training images of each class, from the name of a run or a baseline; None where it tells of none, or of all.

    >>> per_class("lenet-my-photos-n20-bn+fc-auto-s0", "lenet", "my photos", "bn+fc", "auto", 0)
    20
    >>> per_class("somebody's run", "lenet", "my photos", "bn+fc", "auto", 0)
    """
    before, after = ("-".join(map(_plain, parts)) for parts in ((label, dataset), (strategy, bn_mode, f"s{seed}")))
    found = re.fullmatch(re.escape(before) + r"-n(\d+)-" + re.escape(after), str(name))
    return int(found[1]) if found else None


def kinds(name: str) -> tuple[tuple[str, ...], ...]:
    """What a planned run has in common with others: all but the seed; strategy and BN mode.

    >>> kinds("lenet-digits-n20-bn+fc-auto-s0")
    (('lenet-digits', 'n20', 'bn+fc-auto'), ('bn+fc-auto',))
    """
    found = _NAME.fullmatch(name)
    return () if found is None else ((found["before"], found["size"], found["how"]), (found["how"],))


def _plain(part: object) -> str:
    return re.sub(r"[^\w.+@=,]+", "-", str(part)).strip("-")
