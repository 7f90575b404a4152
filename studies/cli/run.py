"""``wdiv run``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli.console import duration, interval, percent, print_table, size
from studies.cli.options import as_json, device, echo_json, given, of_a_study

if TYPE_CHECKING:
    from studies.report.recommendation import Recommendation


@click.command()
@click.argument("study", metavar="FOLDER|STUDY|FILE.toml")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where runs are kept.  [default: runs/ and the name of the study or folder]",
)
@click.option(
    "--scale", type=click.Choice(("paper", "mini")), default="paper", show_default=True,
    help="mini: the same shape in minutes on two cores, with its own small source networks.",
)  # fmt: skip
@of_a_study(grid=True)
@click.option(
    "--epochs", type=int, metavar="N", help="After each of which a run is saved; more than before: runs go on."
)
@click.option("--keep", metavar="WORDS", help="What stays: all, or of first, best, last, 'last N', 'every N', resume.")
@click.option("--steps", type=int, metavar="N", help="Of each run, for all sizes; its epochs are equal parts of them.")
@click.option("--passes", is_flag=True, help="Each epoch is one pass over the images: more images, more steps.")
@click.option("--steps-per-epoch", type=int, metavar="N", help="Batches of an epoch.  [default: one pass]")
@click.option("--schedule", metavar="NAME", help="Of the rate: constant, linear, cosine or one-cycle.")
@click.option("--warmup", type=float, metavar="EPOCHS", help="In which the rate rises from 0 first.")
@click.option("--patience", type=int, metavar="N", help="Epochs without a better validation loss before it stops.")
@click.option("--compile", is_flag=True, default=None, help="Compile the network, with CUDA graphs on a GPU.")
@click.option(
    "--keep-prefix/--no-keep-prefix", default=None, help="Compute what is frozen once an image.  [default: keep]"
)
@click.option(
    "--minutes",
    type=float,
    metavar="M",
    help="Of a FOLDER: what is planned takes at most so long here; inf: whatever it takes.  [default: 20]",
)
@click.option("--curve", is_flag=True, help="Of a FOLDER: over several numbers of training images.")
@device
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Runs that train side by side.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done and what it would take, and stop.")
@as_json
def run(
    study: str,
    out: Path | None,
    scale: str,
    passes: bool,
    minutes: float | None,
    curve: bool,
    device: str,
    jobs: int,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a grid of runs, keep every epoch, measure it, and draw it.

    Of a FOLDER of images, a folder a class, it finds out which layers to fine-tune for them, whether that is better
    than training nothing, and which network to use; what you leave open is settled by the images, the network and the
    time there is, and said.

    An option that is given replaces that of the study. Runs that are finished are left as they are, and runs that
    were stopped go on where they stopped. Ctrl-C finishes the step and saves it; a second one stops at once.
    """
    from studies.cli.bars import Bars
    from studies.grid import outlook, study_runner
    from studies.grid.answered import answered, notes
    from studies.grid.conditions import begun
    from studies.grid.failure import in_words, with_damaged
    from studies.grid.settling import settle
    from studies.grid.study_file import STUDY
    from studies.report.finish import conclude
    from studies.report.writing import write
    from studies.spec.registry import load, named_in, names_images
    from wdiv.errors import BadStore, Damaged, WdivError
    from wdiv.store.files import plain_name
    from wdiv.summary import by_class

    values = given(options)
    if passes:
        if asked := {"steps", "steps_per_epoch"} & values.keys():
            raise click.UsageError(f"--passes or --{min(asked).replace('_', '-')}, not both")
        values |= {"steps": None, "steps_per_epoch": None}
    chosen = load(study, scale, values)
    name = chosen.name
    if names_images(study):
        name = plain_name(Path(study).resolve().name)
    elif chosen.recommend and study.endswith(".toml"):
        name = plain_name(Path(study).stem)
    out = out or Path("runs") / (name if scale == "paper" else f"{name}-{scale}")
    if chosen.recommend:
        named = {**named_in(study), **values}
        chosen = settle(chosen, named, out, minutes=minutes, curve=curve, device=device, fetch=not dry_run)
    elif minutes is not None or curve:
        raise click.UsageError("--minutes and --curve are for a folder of images; a study says what it takes")
    if dry_run:
        plan = study_runner.describe(chosen, out, device)
        if as_json:
            echo_json({**plan, "out": str(out)})
        else:
            _show_plan(plan, out)
        return
    try:
        failed = study_runner.run(chosen, out, device=device, progress=Bars(quiet=as_json), jobs=jobs)
    except Damaged as error:
        healed = f"'wdiv verify {out} --repair' makes again what can be"
        if error.path.name == STUDY:
            healed = "delete it, and give the command that made the study once more"
        raise BadStore(f"{error}; {healed}") from None
    opened = begun(out)
    try:
        table, files = conclude(chosen, out, opened)
    except BadStore:
        if not failed:
            raise
        raise WdivError(in_words(failed, out)) from None  # none is left, and that is why
    advice = None
    if chosen.recommend:
        outlook.measure(chosen, out, device)
        whole, written = write(out, opened=opened)
        advice, files = whole.advice, [*files, *written[:2]]
    if as_json:
        outcomes = [row | by_class(row) for row in table.to_dict("records")]
        told = {} if advice is None else {"answer": [*advice.sentences()], "run": advice.best.run}
        echo_json({"out": str(out), "outcomes": outcomes, **told, "files": [str(f) for f in files]})
    else:
        if advice is None:
            _show_outcomes(table, chosen.reference)
        else:
            _show_advice(advice, out)
        for note in notes(answered(out)):
            click.echo(f"note: {note}")
        for file in files:
            click.echo(f"wrote {file}")
    if failed := with_damaged(failed, opened):
        raise WdivError(in_words(failed, out))


def _show_plan(plan: dict[str, Any], out: Path) -> None:
    for part in plan["parts"]:
        condition = f", {part['condition']}," if part["condition"] else ""
        click.echo(
            f"{part['study']}{condition} on {part['data']}: {len(part['classes'])} classes, {part['train_images']} "
            f"images to train on, {part['test_images']} to test, {part['image_size']} pixels, {part['epochs']} epochs"
        )
    if plan["runs"]:
        print_table(plan["runs"], {"run": str, "n_train": str, "bytes": size, "seconds": duration})
    for note in plan["notes"]:
        click.echo(f"note: {note}")
    if plan["finished"]:
        click.echo(f"{plan['finished']} runs are finished and left as they are")
    click.echo(
        f"{len(plan['runs'])} runs, {plan['steps']} steps, {size(plan['bytes'])} of epochs, about "
        f"{duration(plan['seconds'])} one after another, in {out}"
    )


def _show_advice(advice: Recommendation, out: Path) -> None:
    from studies.cli.console import console
    from studies.report.what_to_do import commands

    table = advice.table()
    click.echo()
    print_table(table, dict.fromkeys(table[0], str))
    click.echo()
    for sentence in advice.sentences():
        console().print(sentence, markup=False, highlight=False)
    click.echo()
    for what, command in commands(out).items():
        click.echo(f"To {what}:\n  {command}")
    click.echo()


def _show_outcomes(table: Any, reference: str | int) -> None:
    from studies.cli.answered import print_answered
    from studies.report.figures.measured import in_words
    from wdiv.metrics import METRICS

    bought: dict[str, Callable[[Any], str]] = {
        "last": percent, "interval": str, "spread": percent, "over_fc": lambda v: f"{100 * v:+.1f}",
    }  # fmt: skip
    naming = [name for name in ("condition", "model", "n_train", "bn_mode", "strategy") if name in table]
    same = [name for name in (*naming[:-1], "seeds") if len(table) > 1 and table[name].nunique() == 1]
    click.echo("\n" + "".join(f"{name.replace('_', ' ')}: {table[name].iloc[0]}\n" for name in same))
    told = dict.fromkeys((name for name in (*naming, "seeds") if name not in same), str)
    rows = [row | {"interval": interval(row)} for row in table.to_dict("records")]
    print_table(rows, told | bought)
    click.echo(
        "\nlast: test accuracy in % after the epoch that counts, mean over seeds.\n"
        "interval: 95 % of last, for other test images and other seeds.\n"
        "spread: of last over seeds. over fc: points of last above the strategy fc.\n"
    )
    kinds = [name for name in ("conv", "affine", "gamma", "beta") if name in table]
    trained = table.dropna(subset=kinds, how="all").to_dict("records")
    moved: dict[str, Callable[[Any], str]] = {**dict.fromkeys(kinds, "{:.3g}".format), "farthest": str}
    print_table(trained, {name: how for name, how in told.items() if name != "seeds"} | moved)
    metric, start = table.attrs["metric"], in_words(reference)
    how = f"How far they moved from {start},\n{METRICS[metric].long_name}"
    if metric == "relative_l2":
        how = f"How far they moved from {start},\nin lengths of what they were"
    if metric == "output_change":
        how = f"How far their outputs on a few training images moved from {start},\nin lengths of what they were"
    click.echo(f"\n{how}; mean over layers.")
    for note in table.attrs.get("notes", ()):
        click.echo(f"note: {note}")
    print_answered("How the test images were answered, mean over seeds:", table.to_dict("records"), naming)
