"""Figures of a study, drawn from the long tables of :mod:`studies.observations`: what they are, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies import augmented
from studies.columns import ACCURACIES, COLUMNS, labelled, selector
from studies.figures import check_file
from studies.observations import DISTANCES
from studies.pictures import bought, moved
from studies.pictures.common import STYLE, Where, chosen, listed
from wdiv.cache import plain_name
from wdiv.errors import BadInput
from wdiv.metrics import METRICS
from wdiv.registry import Registry, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from studies.study import Study

__all__ = ["KINDS", "Asked", "Figure", "Kind", "draw", "figures"]

COLUMN_NAMES = tuple(dict.fromkeys((*COLUMNS, *DISTANCES)))


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    make    called with what was :class:`Asked`, returns a matplotlib figure
    one     columns that ``where`` must give one value;  two: … two values;  order: … a list, in the order to be shown
    per_model  one file a model;  by_layer: drawn from the table by layer
    accuracy   it shows accuracies, so ``measure`` is known
    of_study   drawn from the study and its images, and from no run
    """

    name: str
    make: Callable[[Asked], Any]
    one: tuple[str, ...] = ()
    two: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    per_model: bool = False
    by_layer: bool = False
    accuracy: bool = True
    of_study: bool = False

    @property
    def about(self) -> str:
        return (self.make.__doc__ or "").strip().splitlines()[0]


KINDS: Registry[Kind] = Registry("kind of figure")
KINDS.add(
    Kind("panels", moved.panels, one=("measure", "layers", "strategy"), per_model=True, by_layer=True, accuracy=False)
)
KINDS.add(Kind("profile", moved.profile, one=("measure",), per_model=True, accuracy=False))
KINDS.add(Kind("accuracy", bought.accuracy))
KINDS.add(Kind("bars", bought.bars))
KINDS.add(Kind("lines", bought.lines, order=("strategy",)))
KINDS.add(Kind("corners", bought.corners, two=("condition", "per_class"), per_model=True))
KINDS.add(Kind("layers", bought.layers, per_model=True))
KINDS.add(Kind("augmented", augmented.augmented, accuracy=False, of_study=True))


@dataclass(frozen=True)
class Figure:
    """One figure of a study, as data.

    name   of its file;  title: above it;  kind: a name of :data:`KINDS`
    where  column -> the value, or the values in the order to be shown, of the rows that it is drawn from
    labels  strategy -> what it is called, where strategies are told apart by name

    >>> Figure("figure1", "conv kernels", "panels", {"measure": "l2", "layers": "conv:weight", "strategy": "fc"}).kind
    'panels'
    >>> Figure("figure2", "", "bars", {"stratgy": "fc"})
    Traceback (most recent call last):
    wdiv.errors.BadInput: figure 'figure2': no column 'stratgy' to choose by; did you mean 'strategy' or 'stage'?
    """

    name: str
    title: str
    kind: str
    where: Where = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        kind, where = KINDS[self.kind], dict[str, Any](self.where)
        if not self.name or self.name != plain_name(self.name):
            raise BadInput(f"figure {self.name!r}: its name is a file's; letters, digits, '.', '-', '_' and '=' only")
        for column, values in where.items():
            if column not in COLUMN_NAMES or column == "value":
                others = [name for name in COLUMN_NAMES if name != "value"]
                raise BadInput(f"{self._here}: no column {column!r} to choose by; {did_you_mean(column, others)}")
            found = selector(column, values, f"{self._here}: {column}")
            where[column] = found if isinstance(values, (list, tuple)) else found[0]
        object.__setattr__(self, "where", where)
        object.__setattr__(self, "labels", labelled(self.labels, f"{self._here}: labels"))
        self._check_counts(kind, where)
        for value in listed(where.get("measure", ())):
            if (value in ACCURACIES) != kind.accuracy:
                known = ACCURACIES if kind.accuracy else METRICS
                raise BadInput(f"{self._here}: measure {value!r}; {did_you_mean(value, known)}")

    @property
    def measures(self) -> tuple[str, ...]:
        """What it shows, where it says so."""
        return listed(self.where.get("measure", ()))

    def _check_counts(self, kind: Kind, where: Mapping[str, Any]) -> None:
        wants = ((kind.one, 1, "one value"), (kind.two, 2, "two values"), (kind.order, 0, "values in their order"))
        for columns, count, words in wants:
            for column in columns:
                values = listed(where.get(column, ()))
                if not values or (count and len(values) != count) or (not count and len(values) < 2):
                    came = f"{', '.join(values)}" if values else "none"
                    raise BadInput(
                        f"{self._here}: a figure of kind {kind.name!r} wants {words} of {column}, not {came}"
                    )

    @property
    def _here(self) -> str:
        return f"figure {self.name!r}"


@dataclass(frozen=True)
class Asked:
    """What one figure is drawn from: rows of both tables that were asked for, and ``everything`` of the model."""

    figure: Figure
    model: str
    observations: pd.DataFrame
    distances: pd.DataFrame
    everything: pd.DataFrame
    paper: pd.DataFrame | None
    study: Study | None = None

    @property
    def title(self) -> str:
        return self.figure.title or self.figure.name


def draw(
    figure: Figure,
    observations: pd.DataFrame,
    distances: pd.DataFrame,
    paper: pd.DataFrame | None,
    out: Path,
    ending: str = ".png",
    study: Study | None = None,
) -> list[Path]:
    """Draw what :func:`figures` makes into a folder: ``NAME.png``, or ``NAME-MODEL.png`` where it is of one model."""
    import matplotlib as mpl

    check_file(Path(f"{figure.name}{ending}"))
    files = []
    for model, made in figures(figure, observations, distances, paper, study).items():
        file = out / f"{figure.name}{f'-{plain_name(model)}' if model else ''}{ending}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with mpl.rc_context(STYLE):
            made.savefig(file)
        files.append(file)
    return files


def figures(
    figure: Figure,
    observations: pd.DataFrame,
    distances: pd.DataFrame,
    paper: pd.DataFrame | None = None,
    study: Study | None = None,
) -> dict[str, Any]:
    """A figure of a study as matplotlib's, for a notebook: model -> figure, or ``""`` -> the one figure of all models.

    observations, distances  of :func:`~studies.observations.observe` and :func:`~studies.observations.layer_distances`
    paper   the paper's values, to be shown beside: ``value`` (a share of 1) and ``strategy``, and of the columns of
            ``observations`` those that tell them apart
    study   whose images are shown, by a figure that shows some

    Raises :class:`~wdiv.errors.BadInput`, saying what is missing, where there are no data for it.
    """
    import matplotlib as mpl

    kind, made = KINDS[figure.kind], {}
    for asked in _asked(figure, kind, observations, distances, paper, study):
        with mpl.rc_context(STYLE):
            made[asked.model] = kind.make(asked)
    return made


def _asked(
    figure: Figure, kind: Kind, observations: pd.DataFrame, distances: pd.DataFrame, paper: pd.DataFrame | None,
    study: Study | None,
) -> Iterator[Asked]:  # fmt: skip
    """What each of its files is drawn from."""
    if kind.of_study:
        yield Asked(figure, "", observations, distances, observations, paper, study)
        return
    table = distances if kind.by_layer else observations
    where = {column: values for column, values in figure.where.items() if column in table}
    lost = [column for column in figure.where if column not in table]
    if lost:
        raise BadInput(f"figure {figure.name!r}: {lost[0]} is no column of what a figure of kind {kind.name!r} shows")
    mine = chosen(table, where, figure.name)
    if mine.empty:
        raise BadInput(f"figure {figure.name!r}: no data at all")
    models: Sequence[str] = list(dict.fromkeys(mine["model"])) if kind.per_model else [""]
    for model in models:
        rows = mine[mine["model"].eq(model)] if model else mine
        every = observations[observations["model"].eq(model)] if model else observations
        parts = (every, rows) if kind.by_layer else (rows, distances)
        yield Asked(figure, model, *parts, everything=every, paper=paper, study=study)
