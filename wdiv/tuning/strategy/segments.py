"""When each phase of a strategy trains: epochs, numbered through, and the stages that are open by then."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from wdiv.errors import BadInput
from wdiv.layers import LayerTable
from wdiv.store.stages import OUTSIDE
from wdiv.tuning.strategy.strategies import Phase, Strategy

__all__ = ["Segment", "phase_lengths", "segments"]


@dataclass(frozen=True)
class Segment:
    """Epochs ``first`` to ``last`` of a run, trained as one.

    stages  those that are open; None: all
    """

    phase: Phase
    first: int
    last: int
    stages: frozenset[str] | None = None

    def opens(self, stage: str) -> bool:
        return self.stages is None or stage in self.stages


def phase_lengths(strategy: Strategy, epochs: int) -> tuple[int, ...]:
    """Epochs of each phase; they add up to ``epochs``.

    A share is rounded, to at least one epoch; phases without a length divide the rest, earlier ones taking what is
    over. Raises :class:`~wdiv.errors.BadInput` if an epoch for each cannot be had.

    >>> from wdiv.tuning.strategy.spelling import parse
    >>> phase_lengths(parse("fc for 0.3 then bn+fc then conv+bn+fc"), 10)
    (3, 4, 3)
    """
    asked = [_length(phase, epochs) for phase in strategy.phases]
    rest, open_ended = epochs - sum(n for n in asked if n is not None), asked.count(None)
    if rest < open_ended:
        raise BadInput(f"strategy {strategy.name!r}: {epochs} epochs are too few for its {len(asked)} phases")
    each, over = divmod(rest, open_ended)
    parts = iter([each + (i < over) for i in range(open_ended)])
    return tuple(next(parts) if n is None else n for n in asked)


def _length(phase: Phase, epochs: int) -> int | None:
    if phase.length is None:
        return None
    return max(1, round(phase.length * epochs)) if phase.length < 1 else int(phase.length)


def segments(strategy: Strategy, table: LayerTable, head: frozenset[str], epochs: int) -> tuple[Segment, ...]:
    """The run's epochs, 1 to ``epochs``, without gap or overlap."""
    found: list[Segment] = []
    first = 1
    for phase, length in zip(strategy.phases, phase_lengths(strategy, epochs), strict=True):
        found += (
            _opening(phase, table, head, first, length)
            if phase.has("gradual")
            else [Segment(phase, first, first + length - 1)]
        )
        first += length
    return tuple(found)


def _opening(phase: Phase, table: LayerTable, head: frozenset[str], first: int, length: int) -> Iterator[Segment]:
    """The classifier, then a stage more at a time; several at once where there are fewer epochs than stages."""
    steps = _steps([stage for stage in table.stages if _trains(phase, table, head, stage)])

    def opened(epoch: int) -> int:
        return math.ceil((epoch - first + 1) * len(steps) / length)

    for count, group in groupby(range(first, first + length), key=opened):
        epochs = list(group)
        stages = None if count == len(steps) else frozenset().union(*steps[:count])
        yield Segment(phase, epochs[0], epochs[-1], stages)


def _trains(phase: Phase, table: LayerTable, head: frozenset[str], stage: str) -> bool:
    return any(layer.stage == stage and phase.lr(layer, head) is not None for layer in table)


def _steps(stages: Sequence[str]) -> list[frozenset[str]]:
    ends = frozenset(stage for stage in stages if stage in OUTSIDE)  # what is new opens first
    return [*([ends] if ends else []), *(frozenset({s}) for s in reversed(stages) if s not in OUTSIDE)]
