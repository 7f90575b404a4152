"""``wdiv svm``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli.console import interval, percent, print_table
from studies.cli.options import as_json, device, echo_json, given, of_frozen, pooling

if TYPE_CHECKING:
    from baselines.trials import Outcome


@click.command()
@click.argument("data", metavar="NAME|PATH")
@of_frozen(grid=True)
@click.option(
    "--layer", "layers", multiple=True, metavar="L",
    help="Whose features: a stage, bottleneck, a layer's name or depth, several joined by +, 'stages' (all side by"
    " side), 'all' (each for itself) or 'best' (chosen by cross-validation); may be repeated.  [default: stages]",
)  # fmt: skip
@click.option(
    "--baseline", "baselines", multiple=True, default=("svm",), show_default=True, metavar="NAME",
    help="See 'wdiv list baselines'; may be repeated.",
)  # fmt: skip
@pooling
@click.option(
    "--cv", type=click.IntRange(min=2), default=5, show_default=True, metavar="N",
    help="Of the cross-validation on the training images that chooses the cost.",
)  # fmt: skip
@device
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="Keep the outcomes in this folder, beside the runs of a study; they enter its results.csv and results.nc.",
)  # fmt: skip
@click.option(
    "-o", "--figure", type=click.Path(path_type=Path), metavar="FILE.png", help="Draw accuracy by size, and by layer."
)
@as_json
def svm(
    data: str, layers: tuple[str, ...], baselines: tuple[str, ...], pooling: str, cv: int, device: str,
    out: Path | None, figure: Path | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Fit a linear SVM, or another baseline, on features of a frozen network: what fine-tuning has to beat.

    The images for a size and a seed, and the test images, are those that 'wdiv run' takes. Its cost is chosen by
    cross-validation on the training images alone; the test images decide nothing.
    """
    from baselines.trials import as_wholes, scores_of
    from studies.grid.frozen_features import open_frozen, run
    from studies.grid.results import write_results
    from studies.report.figures.baselines import draw
    from studies.report.figures.measured import check_file
    from studies.spec.study import Study, override
    from wdiv.summary import accuracies, answers, by_class, fitted

    if figure is not None:
        check_file(figure)
    study = override(Study("svm"), {"data": data, **given(options)})
    frozen = open_frozen(study)
    found = run(study, baselines, layers, cv=cv, pooling=pooling, device=device, out=out, frozen=frozen)
    found = as_wholes(found, out or Path())
    beside: list[dict[str, Any]] = []
    files: list[Path] = []
    if out is not None:
        table, files = write_results(out)
        beside = accuracies(table[table["dataset"] == found[0].dataset]).to_dict("records")
    if figure is not None:
        files.append(draw(found, figure))
    answered = [one.row() | fitted(one.fitted) | answers(*scores_of(one, out or Path())) for one in found]
    if as_json:
        outcomes = [one.to_json() | {"answered": row | by_class(row)} for one, row in zip(found, answered, strict=True)]
        files_told = [str(file) for file in files]
        echo_json({"outcomes": outcomes, "beside": beside, "files": files_told, "notes": list(frozen.notes)})
        return
    _show(found, answered, frozen.notes)
    if out is not None:
        _show_beside(beside)
    for file in files:
        click.echo(f"wrote {file}")


def _show(found: list[Outcome], answered: list[dict[str, Any]], notes: tuple[str, ...]) -> None:
    from studies.cli.answered import print_answered, print_confusion
    from wdiv.numerics.proportion import in_words
    from wdiv.summary import one_class_notes, untrained_notes

    first = found[0]
    click.echo(
        f"{first.model} ({first.source}), frozen, on {first.dataset}: {first.n_test} test images, "
        f"{first.image_size} pixels"
    )
    rows = [
        {
            "n_train": outcome.n_train, "seed": outcome.seed, "features": outcome.n_features,
            "baseline": outcome.strategy,
            "folds": None if outcome.cv_score is None else in_words(outcome.cv_score, outcome.n_train),
            "accuracy": in_words(outcome.accuracy, outcome.n_test),
            "cost": outcome.cost,
            "layer": outcome.layer_chosen, "seconds": outcome.seconds,
        }
        for outcome in found
    ]  # fmt: skip
    shown: dict[str, Any] = {
        **dict.fromkeys(("n_train", "seed", "features", "baseline", "folds", "accuracy"), str),
        "cost": "{:g}".format, "layer": str, "seconds": "{:.1f}".format,
    }  # fmt: skip
    empty = {name for name in ("folds", "cost", "layer") if all(row[name] is None for row in rows)}
    same = [name for name in ("n_train", "seed", "features") if len({row[name] for row in rows}) == 1]
    click.echo(", ".join(f"{name.replace('_', ' ')}: {rows[0][name]}" for name in same))
    print_table(rows, {name: spell for name, spell in shown.items() if name not in {*empty, *same}})
    click.echo(
        "\nfolds: in cross-validation on the training images; accuracy: on the test images.\n"
        "In brackets what it may be on other images: 95 %, by Wilson."
    )
    for note in dict.fromkeys((*notes, *(outcome.fallback for outcome in found if outcome.fallback))):
        click.echo(f"note: {note}")
    print_answered("How the test images were answered:", answered, ["n_train", "seed", "strategy"])
    for note in (*untrained_notes(answered), *one_class_notes(answered)):
        click.echo(f"note: {note}")
    if len(found) == 1:
        print_confusion(answered[0])


def _show_beside(rows: list[dict[str, Any]]) -> None:
    columns: dict[str, Any] = {
        "model": str, "n_train": str, "strategy": str, "bn_mode": str, "seeds": str, "last": percent,
        "interval": str, "spread": percent, "over_fc": "{:+.1%}".format,
    }  # fmt: skip
    click.echo("\nIn the same store, mean over seeds:")
    print_table([row | {"interval": interval(row)} for row in rows], columns)
