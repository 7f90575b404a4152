"""What a store says of the study that it holds."""

from __future__ import annotations

from pathlib import Path

from studies.study import Study, override
from wdiv.errors import BadInput, BadStore
from wdiv.store.files import read_json

__all__ = ["STUDY", "read_study"]

STUDY = "study.json"


def read_study(out: Path) -> Study:
    """The study that was run into a folder. Raises :class:`~wdiv.errors.BadStore` where there is none or it is damaged.

    Fields that wdiv did not have yet when it was written have their usual values.
    """
    file = out / STUDY
    if not file.exists():
        raise BadStore(f"{out}: not the folder of a study; it has no {STUDY}")
    data = read_json(file)
    if not isinstance(data, dict) or not isinstance(data.get("study"), dict):
        raise BadStore(f"{file}: damaged: it tells no study")
    fields = dict(data["study"])
    try:
        return override(Study(str(fields.pop("name", out.name))), fields)
    except BadInput as error:
        raise BadStore(f"{file}: damaged, or of another version of wdiv: {error}") from None
