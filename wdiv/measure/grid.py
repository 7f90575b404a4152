"""Where measured values are put, and the dataset they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from wdiv.measure.flags import Flag
from wdiv.measure.rows import Comparison
from wdiv.metrics import METRICS

__all__ = ["CONVENTIONS", "FLAG_ATTRS", "ValueGrid", "as_dataset"]

CONVENTIONS = "CF-1.11"
FLAG_ATTRS: Mapping[str, Any] = {
    "long_name": "why a value is NaN",
    "flag_masks": [int(bit) for bit in Flag],
    "flag_meanings": " ".join(str(bit.name).lower() for bit in Flag),
}


@dataclass
class ValueGrid:
    """Metric values and flags, filled piece by piece."""

    values: dict[str, np.ndarray]
    flags: np.ndarray

    @classmethod
    def empty(cls, names: Sequence[str], shape: tuple[int, ...]) -> ValueGrid:
        return cls({name: np.full(shape, np.nan) for name in names}, np.zeros(shape, dtype=np.int64))

    def put(self, place: Any, found: Comparison) -> None:
        for name, values in found.values.items():
            self.values[name][place] = values
        self.flags[place] = found.flags


def as_dataset(values: Mapping[str, Any], flags: Any, dims: tuple[str, ...], coords: Mapping[Any, Any]) -> xr.Dataset:
    """One variable a metric, with what its record says of it, and ``flag``."""
    variables = {
        name: (dims, array, {**METRICS[name].attrs, "ancillary_variables": "flag"}) for name, array in values.items()
    }
    return xr.Dataset({**variables, "flag": (dims, flags, dict(FLAG_ATTRS))}, coords=coords)
