"""Options that several commands share."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import click

Command = Callable[..., Any]
MOST = 8
"""Metrics that a table on a console has room for."""

__all__ = [
    "MOST", "PerClass", "as_json", "average", "average_epochs", "dataset", "device", "echo_json", "epoch", "given",
    "group", "images_of", "metrics", "of_a_study", "of_frozen", "pooling", "reference", "shown",
]  # fmt: skip


class PerClass(click.ParamType):
    """A number of images, or ``all``."""

    name = "n|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all" or value is None:
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a whole number from 1 nor 'all'", param, ctx)
        return int(value)


def shown(command: Command) -> Command:
    """Which images ``output_change`` is measured on; :func:`images_of` makes one thing of them."""
    return _together(
        click.option("--data", metavar="NAME|PATH", help="Images for output_change.  [default: the store's own]"),
        click.option("--images", "count", type=int, metavar="N", help="How many of them.  [default: 64]"),
        click.option("--model", metavar="NAME", help="Of an imported run: the network that its images are shown to."),
        click.option("--image-size", type=int, metavar="N", help="Of an imported run, in pixels.  [default: 224]"),
    )(command)


def images_of(asked: bool, **given: Any) -> Any:
    """The options of :func:`shown` as :class:`wdiv.outputs.Images`, None where none was given.

    asked: ``output_change`` is among what is measured. Raises :class:`~wdiv.errors.BadInput` where it is not.
    """
    from wdiv.errors import BadInput

    given = {name: value for name, value in given.items() if value is not None}
    if not given:
        return None
    if not asked:
        option = {"count": "images"}.get(name := next(iter(given)), name).replace("_", "-")
        raise BadInput(f"--{option}: only output_change is measured on images; ask for it with -m output_change")
    from wdiv.outputs import Images

    return Images(**given)


metrics = click.option(
    "-m",
    "--metric",
    "metrics",
    multiple=True,
    metavar="METRIC",
    help="A metric or a family of them, may be repeated; see 'wdiv list metrics'.",
)
reference = click.option(
    "--reference",
    default=None,
    metavar="R",
    help="pretrained, previous, an epoch, or a run's id.  [default: pretrained]",
)
group = click.option("--group", metavar="NAME", help="The architecture, where a store holds several.")
epoch = click.option("--epoch", default="last", show_default=True, metavar="N|last", help="The epoch to show.")
average = click.option(
    "--average", metavar="lastN|seeds",
    help="last5: the mean of the weights, and of BatchNorm's running statistics, of the last 5 epochs; seeds: the mean "
    "of the probabilities of the runs that differ in their seed alone.",
)  # fmt: skip
average_epochs = click.option(
    "--average", metavar="lastN",
    help="last5: the mean of the weights, and of BatchNorm's running statistics, of the last 5 epochs.",
)  # fmt: skip
dataset = click.option("--dataset", metavar="NAME", help="Of a store with runs of several data sets: which.")
device = click.option("--device", default="auto", show_default=True, metavar="D", help="auto, cpu or cuda.")
pooling = click.option("--pooling", default="avg", show_default=True, metavar="P", help="Of maps: avg, max or grid=K.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def of_a_study(*, grid: bool) -> Callable[[Command], Command]:
    """The options that replace fields of a study; ``grid``: its axes take several values."""
    axis = _axes(grid)
    return _together(
        click.option(
            "--data", metavar="NAME|PATH",
            help="A data set's name, or a folder with a folder of images per class, or train/ and test/ of those.",
        ),
        *_start(grid),
        axis("--strategy", "strategies", "Such as bn+fc or conv@stage4+fc", metavar="S"),
        axis("--bn-mode", "bn_modes", "auto, frozen, batch, adapt or adabn", metavar="M"),
        *_draw(grid, "Draws images, order and new head"),
        click.option("--head", metavar="NAME", help="In place of the network's own classifier: linear or mlp512."),
        click.option("--optimizer", metavar="NAME", help="adam, adamw, sgd or rmsprop."),
        click.option("--batch-size", type=int, metavar="N"),
        click.option(
            "--augment", multiple=True, metavar="NAME[=X]", help="Such as flip, rotate=50 or gupta2020; repeatable."
        ),
        click.option("--mixup", type=float, metavar="ALPHA", help="Blend pairs of images."),
        click.option("--label-smoothing", type=float, metavar="F"),
        click.option("--loss", metavar="NAME", help="softmax or sigmoid."),
        click.option("--class-weights", metavar="NAME", help="Of the loss: none, or balanced: classes count alike."),
        click.option("--sampling", metavar="NAME", help="shuffled, or balanced: classes are drawn alike."),
        click.option(
            "--validation", type=float, metavar="F", help="Share of the training images held out to stop by."
        ),
        click.option("--precision", metavar="NAME", help="fp32, tf32 (CUDA) or bf16."),
        *(_FOLDS if grid else ()),
        *_IMAGES,
    )  # fmt: skip


def of_frozen(*, grid: bool) -> Callable[[Command], Command]:
    """Those of them that matter where nothing is trained: the network, its weights, and which images."""
    return _together(*_start(grid), *_draw(grid, "Draws images and folds"), *(_FOLDS if grid else ()), *_IMAGES)


def _axes(grid: bool) -> Callable[..., Callable[[Command], Command]]:
    """Options that take several values, or one."""

    def axis(name: str, field: str, help: str, **options: Any) -> Callable[[Command], Command]:
        return click.option(name, field, multiple=grid, help=help + ("; may be repeated." if grid else "."), **options)

    return axis


def _start(grid: bool) -> tuple[Callable[[Command], Command], ...]:
    return (
        _axes(grid)("--model", "models", "Any torchvision classifier", metavar="NAME"),
        click.option(
            "--weights", metavar="NAME|PATH",
            help="A torchvision name, a file, a source card, RUN_DIR@EPOCH, or 'random'.",
        ),
    )  # fmt: skip


def _draw(grid: bool, of_seeds: str) -> tuple[Callable[[Command], Command], ...]:
    axis = _axes(grid)
    return (
        axis("--per-class", "per_class", "Training images of each class", type=PerClass(), metavar="N|all"),
        axis("--seed", "seeds", of_seeds, type=click.IntRange(min=0), metavar="N"),
    )


_IMAGES = (
    click.option("--image-size", type=int, metavar="N", help="Pixels.  [default: what the weights were trained on]"),
    click.option("--test-count", type=int, metavar="N", help="Images of each class set aside for the test."),
    click.option("--test-fraction", type=float, metavar="F", help="Or a part of each class.  [default: a quarter]"),
    click.option(
        "--group", metavar="REGEX",
        help="Finds in class/file what an image is of, a patient or a part; those of one are on one side.",
    ),
    click.option(
        "--small-classes", metavar="WAY",
        help="Of fewer images than asked for: refuse, keep (take all), or drop or merge those below --least.",
    ),
    click.option("--least", type=int, metavar="N", help="Images of a class that is not small.  [default: 5]"),
    click.option("--skip-bad-images", is_flag=True, default=None, help="Leave out files that cannot be read."),
)  # fmt: skip


_FOLDS = (
    click.option("--folds", type=int, metavar="K", help="In place of a test set: cross-validation, each image tested."),
    click.option("--repeats", type=int, metavar="R", help="Of the folds, drawn anew each.  [default: 1]"),
)


def _together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those that came, as fields of a study."""
    return {name: list(v) if isinstance(v, tuple) else v for name, v in options.items() if v not in (None, ())}


def echo_json(data: Any) -> None:
    """Print strict JSON: NaN becomes null."""
    click.echo(json.dumps(_plain(data), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
