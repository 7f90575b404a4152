"""What would help beyond what a study of one's own images trains: larger images, or more of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from baselines.advice import Gain, larger_images, more_images
from studies.grid.planning import open_data, sources_of
from studies.spec.study import Study
from wdiv.errors import BadStore
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.tuning.data.datasets import side_of

__all__ = ["FILE", "load", "measure"]

FILE = "outlook.json"
"""Beneath a study's folder."""
FORMAT = 1


def measure(study: Study, out: Path, device: str = "auto") -> None:
    """Measure both on the study's first network and keep them in ``out``, unless that was done for the same images and
    weights before. Of the test images nothing is looked at.

    Raises any of wdiv's errors.
    """
    assert study.data is not None
    (source, *_), size = sources_of(study), study.image_size
    split = open_data(study, source.input.at(size).size)
    of: dict[str, Any] = {"data_digest": split.digest, "weights": source.content}
    if _kept(out).items() >= of.items():
        return
    most = None if None in study.per_class else max(n for n in study.per_class if n is not None)
    how: dict[str, Any] = {"per_class": most, "seed": study.seeds[0], "device": device}
    found = (
        larger_images(source, split, lambda pixels: open_data(study, pixels), side_of(study.data), **how),
        more_images(source, split, **how),
    )
    write_sealed(out / FILE, {"format": FORMAT, **of, "gains": [gain.to_json() for gain in found]})


def load(out: Path) -> tuple[Gain, ...]:
    """What was measured; nothing where nothing was, or the file is damaged."""
    return tuple(Gain.from_json(gain) for gain in _kept(out).get("gains", ()))


def _kept(out: Path) -> dict[str, Any]:
    """A damaged file is made anew when it is asked for."""
    try:
        return read_sealed(out / FILE, FORMAT) if (out / FILE).is_file() else {}
    except BadStore:
        return {}
