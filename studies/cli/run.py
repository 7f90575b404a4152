"""``wdiv run``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from studies.cli.options import PerClass, as_json, echo_json


@click.command()
@click.argument("study", metavar="STUDY|FILE.toml")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where runs are kept.  [default: runs/STUDY]"
)
@click.option("--data", metavar="NAME|PATH", help="A data set's name, or a folder with one folder of images per class.")
@click.option("--model", "models", multiple=True, metavar="NAME", help="Any torchvision classifier; may be repeated.")
@click.option(
    "--weights", metavar="NAME|PATH", help="A torchvision name, a file, a source card, RUN_DIR@EPOCH, or 'random'."
)
@click.option(
    "--strategy", "strategies", multiple=True, metavar="S", help="Such as bn+fc or conv@stage4+fc; may be repeated."
)
@click.option(
    "--per-class",
    multiple=True,
    type=PerClass(),
    metavar="N|all",
    help="Training images of each class; may be repeated.",
)
@click.option("--seed", "seeds", multiple=True, type=click.IntRange(min=0), metavar="N", help="May be repeated.")
@click.option(
    "--bn-mode", "bn_modes", multiple=True, metavar="M", help="auto, frozen, batch or adapt; may be repeated."
)
@click.option("--head", metavar="NAME", help="In place of the network's own classifier; see 'wdiv list heads'.")
@click.option("--optimizer", metavar="NAME", help="adam, adamw, sgd or rmsprop.")
@click.option("--epochs", type=int, metavar="N")
@click.option("--batch-size", type=int, metavar="N")
@click.option("--steps-per-epoch", type=int, metavar="N", help="Batches of an epoch.  [default: one pass]")
@click.option("--schedule", metavar="NAME", help="Of the rate: constant, linear, cosine or one-cycle.")
@click.option("--warmup", type=float, metavar="EPOCHS", help="In which the rate rises from 0 first.")
@click.option("--augment", multiple=True, metavar="NAME[=X]", help="Such as flip, rotate=50 or gupta2020; repeatable.")
@click.option("--mixup", type=float, metavar="ALPHA", help="Blend pairs of images.")
@click.option("--label-smoothing", type=float, metavar="F")
@click.option("--loss", metavar="NAME", help="softmax or sigmoid.")
@click.option("--validation", type=float, metavar="F", help="Share of the training images held out to stop by.")
@click.option("--patience", type=int, metavar="N", help="Epochs without a better validation loss before it stops.")
@click.option("--precision", metavar="NAME", help="fp32, tf32 (CUDA) or bf16.")
@click.option("--compile", is_flag=True, default=None, help="Compile the network, with CUDA graphs on a GPU.")
@click.option(
    "--keep-prefix/--no-keep-prefix", default=None, help="Compute what is frozen once an image.  [default: keep]"
)
@click.option("--image-size", type=int, metavar="N", help="Pixels.  [default: what the weights were trained on]")
@click.option("--test-count", type=int, metavar="N", help="Images of each class set aside for the test.")
@click.option("--test-fraction", type=float, metavar="F", help="Or a part of each class.  [default: a quarter]")
@click.option("--skip-bad-images", is_flag=True, default=None, help="Leave out files that cannot be read.")
@click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu or cuda.")
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
def run(study: str, out: Path | None, device: str, jobs: int, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Fine-tune a grid of runs, keep every epoch, measure it, and draw it.

    An option that is given replaces that of the study. Runs that are finished are left as they are, and runs that
    were stopped go on where they stopped. Ctrl-C finishes the step and saves it; a second one stops at once.
    """
    from studies.finish import finish
    from studies.progress import Progress
    from studies.runner import describe, plan
    from studies.runner import run as run_grid
    from studies.study import load, override
    from wdiv.errors import WdivError

    given = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items() if v not in (None, ())}
    chosen = override(load(study), given)
    out = out or Path("runs") / chosen.name
    if dry_run:
        _show_plan(describe(plan(chosen), device), out, as_json)
        return
    _, diverged = run_grid(chosen, out, device=device, progress=Progress(quiet=as_json), jobs=jobs)
    table, files = finish(out, chosen.metrics, chosen.reference)
    if as_json:
        echo_json({"out": str(out), "outcomes": table.to_dict("records"), "files": [str(f) for f in files]})
    else:
        _show_outcomes(table, files, chosen.reference)
    if diverged:
        raise WdivError(f"{len(diverged)} of the runs diverged: " + "; ".join(diverged))


def _show_plan(plan: dict[str, Any], out: Path, as_json: bool) -> None:
    from studies.console import duration, print_table, size

    if as_json:
        echo_json({**plan, "out": str(out)})
        return
    click.echo(
        f"{plan['study']} on {plan['data']}: {len(plan['classes'])} classes, {plan['train_images']} images to train "
        f"on, {plan['test_images']} to test, {plan['image_size']} pixels, {plan['epochs']} epochs"
    )
    print_table(plan["runs"], {"run": str, "n_train": str, "bytes": size, "seconds": duration})
    for note in plan["notes"]:
        click.echo(f"note: {note}")
    click.echo(
        f"{len(plan['runs'])} runs, {plan['steps']} steps, {size(plan['bytes'])} of epochs, about "
        f"{duration(plan['seconds'])} one after another, in {out}"
    )


def _show_outcomes(table: Any, files: list[Path], reference: str | int) -> None:
    from studies.console import print_table
    from studies.figures import in_words

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    def points(value: float) -> str:
        return f"{100 * value:+.1f}"

    def distance(value: float) -> str:
        return "0" if value == 0 else f"{value:.3g}"

    columns: dict[str, Callable[[Any], str]] = {
        "model": str, "n_train": str, "strategy": str, "bn_mode": str, "seeds": str, "last": percent, "spread": percent,
        "best": percent, "over_fc": points, "conv": distance, "gamma": distance, "beta": distance, "farthest": str,
    }  # fmt: skip
    click.echo()
    print_table(table.to_dict("records"), columns)
    click.echo(
        "\nlast, best: test accuracy in %, mean over seeds; best is chosen on the test images.\n"
        "over fc: points of last above the strategy fc.\n"
        f"conv, gamma, beta: how far they moved from {in_words(reference)}, in lengths of what they were, "
        "mean over layers."
    )
    for file in files:
        click.echo(f"wrote {file}")
