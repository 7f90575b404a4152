"""What one figure of a study is drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from studies.spec.figure import Figure
from studies.spec.study import Study

__all__ = ["StudyFigure"]


@dataclass(frozen=True)
class StudyFigure:
    """What one figure is drawn from: rows of both tables that were asked for, and ``everything`` of the model.

    n_test: dataset -> its test images
    """

    figure: Figure
    model: str
    observations: pd.DataFrame
    distances: pd.DataFrame
    everything: pd.DataFrame
    paper: pd.DataFrame | None
    study: Study | None
    n_test: Mapping[str, int]

    @property
    def title(self) -> str:
        return self.figure.title or self.figure.name
