"""What can go wrong, said in one line: what, where, what is allowed, what came.

The command line prints the line and exits with code 2; nothing else in wdiv turns an error into text.
"""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "BadData", "BadInput", "BadStore", "BadWeights", "Damaged", "FreezeBroken", "LeftOut", "NoOutputs", "UnknownName",
    "WdivError",
]  # fmt: skip


class WdivError(Exception):
    """Base of every error wdiv raises on purpose."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnknownName(WdivError, KeyError):
    """A name that no registry holds. The message carries the nearest names."""


class BadInput(WdivError, ValueError):
    """An option or field whose value is not allowed."""


class BadData(WdivError):
    """Images that are missing, unreadable or too few."""


class BadWeights(WdivError):
    """A checkpoint that cannot be read, is unsafe to read, or is for another architecture."""


class BadStore(WdivError):
    """A store that is missing, incomplete, damaged or in use."""


class Damaged(BadStore):
    """A file of a store that is not what was written."""

    def __init__(self, path: Path, what: str = "not what was written") -> None:
        super().__init__(f"{path}: damaged: {what}")
        self.path, self.what = path, what

    def __reduce__(self) -> tuple[type[Damaged], tuple[Path, str]]:
        return Damaged, (self.path, self.what)


class NoOutputs(WdivError):
    """What layers give out cannot be had: there are no images, or no network to show them to."""


class LeftOut(UserWarning):
    """A run of a store is damaged, and everything goes on without it."""


class FreezeBroken(WdivError):
    """A tensor declared frozen has changed. The epoch in which that happened is not saved."""
