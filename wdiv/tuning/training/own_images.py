"""The images that a run was trained and tested on, found again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wdiv.errors import BadData, BadInput
from wdiv.store.reader import Run
from wdiv.store.seals import read_sealed
from wdiv.tuning.data.datasets import DATASETS, open_split
from wdiv.tuning.data.images import Split
from wdiv.tuning.data.small_classes import LEAST

__all__ = ["own_split"]


def own_split(run: Run, size: int, data: str | None = None) -> Split:
    """The training pool and the test set that a run of wdiv's own has, in so many pixels.

    data: where they are now, if not where the store says. Raises :class:`~wdiv.errors.BadData` where that is not known,
    or they are gone, or others, and :class:`~wdiv.errors.BadStore` where what the store says of them is damaged.
    """
    study = _study_of(run)
    told = study.get("data") if data is None else data
    if not run.record.data_digest or not isinstance(told, str):
        raise BadData(f"{run.path}: does not say where its images are")
    try:
        split = open_split(
            _found(told, run.root), size, test_count=study.get("test_count"), test_fraction=study.get("test_fraction"),
            split_seed=study.get("split_seed", 0), skip_bad=bool(study.get("skip_bad_images")),
            group=study.get("group"), small_classes=study.get("small_classes", "refuse"),
            least=study.get("least", LEAST), folds=study.get("folds"), repeats=study.get("repeats", 1),
        )  # fmt: skip
        split = split if study.get("classes") is None else split.first_classes(study["classes"])
    except (BadData, BadInput) as error:
        raise BadData(f"{run.path}: its images cannot be opened ({str(error).partition(';')[0]})") from None
    if split.digest != run.record.data_digest:
        raise BadData(f"{run.path}: the images of {told} are not those that it was trained on")
    return split


def _found(data: str, store: Path) -> str:
    """A folder as the study was given it, or from above the store, if wdiv runs elsewhere by now."""
    if data in DATASETS or Path(data).exists():
        return data
    return next((str(above / data) for above in store.resolve().parents if (above / data).is_dir()), data)


def _study_of(run: Run) -> Mapping[str, Any]:
    file = run.root / "study.json"
    study = read_sealed(file, before=1).get("study", {}) if file.is_file() else {}
    return study if isinstance(study, dict) else {}
