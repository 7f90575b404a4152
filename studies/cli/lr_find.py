"""``wdiv lr-find``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli.options import as_json, device, echo_json, given, of_a_study

if TYPE_CHECKING:
    from studies.spec.study import Study
    from wdiv.tuning.training.lr_range_test import RangeTest

ONE = {
    "models": "--model", "per_class": "--per-class", "strategies": "--strategy", "bn_modes": "--bn-mode",
    "seeds": "--seed",
}  # fmt: skip
"""Axis of a study -> the option that leaves one of it."""


@click.command("lr-find")
@click.argument("study", metavar="STUDY|FILE.toml")
@of_a_study(grid=False)
@click.option("--phase", type=int, metavar="N", help="Of a strategy of several, from 1.  [default: the last]")
@click.option("--steps", default=100, show_default=True, type=int, metavar="N", help="Batches to train.")
@click.option(
    "--from", "low", default=1e-7, show_default=True, type=float, metavar="R", help="The highest rate at first."
)
@click.option("--to", "high", default=10.0, show_default=True, type=float, metavar="R", help="And in the last step.")
@device
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw it.  Or .pdf, .svg.")
@as_json
def lr_find(
    study: str, steps: int, low: float, high: float, phase: int | None, device: str, out: Path | None, as_json: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Suggest learning rates: train for some batches while the rates rise, and see when the loss falls.

    All rates of the strategy are multiplied by the same factor, so that they keep their proportions. A suggestion is
    spelled as a strategy to paste. Nothing is kept, and no other image than the training images is looked at.
    """
    from studies.grid.planning import plan_grid
    from studies.report.figures.measured import check_file
    from studies.spec.registry import load
    from wdiv.tuning.training.lr_range_test import range_test

    if out is not None:
        check_file(out)
    chosen = load(study, values=given(options))
    _check_one(chosen)
    grid = plan_grid(chosen)
    spec = grid.runs[0].spec
    found = range_test(spec, grid.split, steps=steps, low=low, high=high, phase=phase, device=device)
    about = f"{spec.label} on {grid.split.name}, {grid.runs[0].n_step} images, {chosen.optimizer}"
    if out is not None:
        _draw(found, about, out)
    if as_json:
        echo_json({"run": grid.runs[0].id, **found.to_json(), "file": None if out is None else str(out)})
        return
    _show(found, about)
    if out is not None:
        click.echo(f"wrote {out}")


def _check_one(study: Study) -> None:
    """A test is of one run."""
    from wdiv.errors import BadInput

    for axis, option in ONE.items():
        values = getattr(study, axis)
        if len(values) > 1:
            told = ", ".join("all" if value is None else str(value) for value in values)
            raise BadInput(f"study {study.name!r} has several {axis.replace('_', ' ')} ({told}); give one {option}")
    if study.pretrain is not None:
        raise BadInput(f"study {study.name!r} trains its own source network first; give --weights, such as a run of it")


def _which(found: RangeTest) -> str:
    return found.strategy + (f", phase {found.phase} of {found.phases}" if found.phases > 1 else "")


def _show(found: RangeTest, about: str) -> None:
    from studies.cli.console import print_table

    click.echo(f"{_which(found)}: {about}")
    rows = [vars(suggestion) for suggestion in found.suggestions]
    print_table(
        [row | {"suggestion": row["name"], found.leading: row["rate"]} for row in rows],
        {"suggestion": str, found.leading: lambda v: f"{v:.2g}", "factor": lambda v: f"{v:.2g}", "strategy": str},
    )
    end = f"{len(found.losses)} steps, {found.leading} from {found.rates[0]:.2g} to {found.rates[-1]:.2g}"
    click.echo(end + (f"; {found.stopped}" if found.stopped else ""))


def _draw(found: RangeTest, about: str, out: Path) -> None:
    import matplotlib as mpl

    from studies.report.figures.common import new, saved
    from wdiv.plots import loss_by_rate

    with mpl.rc_context({"savefig.dpi": 130, "font.size": 9}):
        figure, ((ax,),) = new(1, 1, 7.5, 4.2)
        loss_by_rate(
            found.rates, found.losses, found.smoothed, ax,
            marks={suggestion.name: suggestion.rate for suggestion in found.suggestions},
            now=found.rate, title=f"{_which(found)}\n{about}", label=f"learning rate of {found.leading}",
        )  # fmt: skip
        saved(figure, out)
