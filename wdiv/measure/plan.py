"""What is to be measured, and against what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdiv.measure.reference import FIRST, STEP, Reference
from wdiv.metrics import METRICS

__all__ = ["PATH", "Pass", "MeasurePlan", "stored_names"]

PATH = {"epoch_step": STEP, "displacement": FIRST}
"""The two distances that every metric of a path is made of."""


def stored_names(names: Sequence[str]) -> tuple[str, ...]:
    """What has to be measured so that these can be had: metrics of a path follow from its two distances.

    >>> stored_names(["relative_l2", "straightness"])
    ('relative_l2', 'epoch_step', 'displacement')
    """
    direct = [name for name in names if METRICS[name].family != "trajectory"]
    return (*direct, *(PATH if len(direct) < len(names) else ()))


@dataclass(frozen=True)
class Pass:
    """metrics are computed against a reference, and kept under the names ``stored``."""

    metrics: tuple[str, ...]
    stored: tuple[str, ...]
    against: Reference


@dataclass(frozen=True)
class MeasurePlan:
    """saved, wanted: (run, epoch); what is there, and what of it is to be measured."""

    passes: tuple[Pass, ...]
    saved: np.ndarray
    wanted: np.ndarray

    @classmethod
    def of(cls, names: Sequence[str], against: Reference, saved: np.ndarray, wanted: np.ndarray) -> MeasurePlan:
        stored = stored_names(names)
        direct = tuple(name for name in stored if name not in PATH)
        passes = [Pass(direct, direct, against)] if direct else []
        path = {name: replace(how, thinned=against.thinned) for name, how in PATH.items()}
        passes += [Pass(("l2",), (name,), path[name]) for name in stored if name in PATH]
        return cls(tuple(passes), saved, wanted)

    @property
    def stored(self) -> tuple[str, ...]:
        return tuple(name for one in self.passes for name in one.stored)
