"""When a run stops before its last epoch, and which epoch counts then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["best_epoch", "final_epoch"]


def best_epoch(rows: Sequence[Mapping[str, Any]], first: int) -> int | None:
    """The epoch that counts if the run ends now: of the lowest validation loss, the earliest of equals.

    Rows and ``first`` as of :func:`final_epoch`; None where no epoch can count yet.
    """
    losses = {row["epoch"]: row["val_loss"] for row in rows if row["epoch"] >= first}
    return min(losses, key=lambda epoch: (losses[epoch], epoch), default=None)


def final_epoch(rows: Sequence[Mapping[str, Any]], first: int, last: int, patience: int) -> int | None:
    """The epoch of the lowest validation loss, the earliest of equals, once the run is over; None: it goes on.

    It is over when ``patience`` epochs in a row were no better, or with epoch ``last``. Rows of a history come with
    their ``epoch`` and ``val_loss``; only those from epoch ``first`` on can count.

    >>> rows = [{"epoch": epoch, "val_loss": loss} for epoch, loss in enumerate([2.0, 1.0, 1.5, 1.0], start=1)]
    >>> final_epoch(rows, first=1, last=9, patience=2), final_epoch(rows[:3], first=1, last=9, patience=2)
    (2, None)
    >>> final_epoch(rows, first=3, last=4, patience=2)
    4
    """
    best = best_epoch(rows, first)
    if best is None:
        return None
    now = max(row["epoch"] for row in rows)
    return best if now - best >= patience or now == last else None
