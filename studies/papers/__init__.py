"""The papers' numbers: ``NAME.csv`` for the study of that name, one row a published number.

table      as the paper counts its tables: ``table1``
where      the section it belongs to; the texts at hand have lost their pages
model …    where in the table, in wdiv's own words: model, per_class, strategy; and ``block`` where the paper's words
           leave open which strategy is meant
measure    ``accuracy`` is on images held out, ``train_accuracy`` on those trained on
value      in percent, with the digits printed
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from wdiv.errors import UnknownName
from wdiv.registry import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PAPERS", "published"]

PAPERS = tuple(
    sorted(file.name.removesuffix(".csv") for file in files(__name__).iterdir() if file.name.endswith(".csv"))
)
"""Studies of papers whose numbers are here."""


def published(study: str) -> pd.DataFrame:
    """The numbers of a study's paper, as printed: text, and ``value`` a number. Raises ``UnknownName``.

    >>> found = published("gupta2020")
    >>> len(found), float(found["value"].max())
    (12, 99.69)
    """
    import pandas as pd

    if study not in PAPERS:
        raise UnknownName(f"no published numbers for {study!r}; {did_you_mean(study, PAPERS)}")
    with files(__name__).joinpath(f"{study}.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    return table.astype({"value": float})
