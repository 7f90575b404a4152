"""``wdiv advise``"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli.console import console, duration, percent, print_table, size
from studies.cli.options import as_json, device, echo_json, given, of_frozen

if TYPE_CHECKING:
    from baselines.advice import Findings, Place
    from studies.grid.advising import Advised

MOST = 12
"""Classes that are told of one by one, the hardest first."""


@click.command()
@click.argument("data", metavar="NAME|PATH")
@of_frozen(grid=False)
@click.option(
    "--source-data", metavar="NAME|PATH",
    help="Images such as the source was trained on: how far from their features these lie is measured too.",
)  # fmt: skip
@device
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.toml", help="Write a study that does what is advised."
)
@as_json
def advise(data: str, source_data: str | None, device: str, out: Path | None, as_json: bool, **options: Any) -> None:
    """Say what to do with images before anything is trained: fine-tune or not, what, how, and why.

    It counts the images, measures how unlike the source's they are, how well a linear SVM on each stage of the frozen
    network tells them apart in cross-validation, which classes are hard, what larger images and more of them would
    gain, and scores of transferability; rules turn that into a strategy, and the command that trains it is printed.
    The test images are not looked at.
    """
    from studies.grid.advising import advise_on
    from wdiv.errors import BadInput
    from wdiv.store.files import write_atomically

    if out is not None and out.suffix != ".toml":
        raise BadInput(f"{out}: the file's name must end in .toml")
    told = advise_on(data, given(options), device=device, of_source=source_data)
    if out is not None:
        write_atomically(out, lambda temporary: temporary.write_text(told.text + "\n", encoding="utf-8"))
    command, check = _commands(told, device)
    if as_json:
        echo_json({
            "findings": told.found.to_json(), "advice": told.advice.to_json(), "study": told.text, "command": command,
            "check": check, "cost": None if told.cost is None else vars(told.cost), "notes": list(told.notes),
        })  # fmt: skip
        return
    _show_findings(told.found, told.notes)
    _show_advice(told, options)
    click.echo(f"\n{command}\n")
    _say("To check it, with what else could be trained:")
    click.echo(f"\n{check}")
    if out is not None:
        click.echo(f"\nwrote {out}; run it with: {shlex.join(['wdiv', 'run', str(out)])}")


def _commands(told: Advised, device: str) -> tuple[str, str]:
    """The command that does what is advised, and the one that compares it with all else."""
    from studies.cli.as_command import as_command
    from studies.cli.run import run
    from studies.cli.svm import svm
    from wdiv.store.files import plain_name

    data = str(told.given["data"])
    where = {} if device == "auto" else {"device": device}
    given = {name: value for name, value in told.given.items() if name != "data"} | where
    beside = Path("runs") / f"{plain_name(Path(data).resolve().name)}-all"
    check = as_command(run, [data], given | {"out": beside})
    if told.advice.trains:
        fields = {name: value for name, value in told.fields.items() if name != "data"} | where
        return as_command(run, [data], fields), check
    _, _, layer = told.advice.strategy.partition("@")
    return as_command(svm, [data], given | {"layers": [layer] if layer else None}), check


def _say(text: str, indent: str = "") -> None:
    """In lines of the console's width."""
    import textwrap

    width = max(40, console().width)
    click.echo(textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))


# ---------------------------------------------------------------------------------------------------- what was found


def _show_findings(found: Findings, notes: tuple[str, ...]) -> None:
    each = str(found.scarcest) if found.scarcest == found.richest else f"{found.scarcest} to {found.richest}"
    _say(
        f"{found.dataset}: {found.images} training images, {each} of each of {found.classes} classes, and "
        f"{found.test_images} to test; {found.model} ({found.source}), {found.image_size} pixels"
    )
    if found.looked_at < found.images:
        click.echo(f"looked at {found.looked_at} of them")
    click.echo()
    _show_places(found)
    click.echo()
    for sentence in _sentences(found):
        _say(sentence)
    if found.held_out:
        click.echo()
        _show_classes(found)
        click.echo()
    for gain in found.outlook:
        _say(_capital(f"{gain.in_words()}."))
    for note in filter(None, (*notes, found.fallback)):
        _say(f"note: {note}", "  ")


def _show_places(found: Findings) -> None:
    from baselines.transferability import SCORES

    names = list(found.places[0].scores)
    rows = [
        {"stage": p.name, "features": p.features, "SVM": _points(p), "drift": p.drift, **p.scores} for p in found.places
    ]
    first, others = (names[:3], names[3:])
    columns: dict[str, Any] = {"stage": str, "features": str, "SVM": str, "drift": "{:.2f}".format}
    print_table(rows, columns | dict.fromkeys(first, "{:.4g}".format))
    if others:
        click.echo()
        print_table(rows, {"stage": str, **dict.fromkeys(others, "{:.4g}".format)})
    click.echo()
    _say("SVM: % right in cross-validation, and its 95 % interval for other images.", "  ")
    _say("drift: squared distance from what BatchNorm saw of the source's images, in its standard deviations.", "  ")
    for name in names:
        _say(f"{name.replace('_', ' ')}: {SCORES[name].long_name}.", "  ")
    for name, value in found.scores.items():
        _say(f"{name} {value:.4g}: {SCORES[name].long_name}", "  ")
    if not found.scores:
        click.echo("The source has no classifier of its own: no LEEP, no NCE.")


def _points(place: Place) -> str | None:
    """A place's accuracy in percent, and its interval."""
    if place.folds is None or place.ends is None:
        return None
    low, high = place.ends
    return f"{100 * place.folds:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def _sentences(found: Findings) -> Iterator[str]:
    if found.caution:
        yield f"{_capital(found.caution)}."
    yield from _how_hard(found)
    yield from _testing(found)


def _how_hard(found: Findings) -> Iterator[str]:
    from baselines.advice.difficulty import confusions_in_words
    from wdiv.tuning.data.remarks import UNEQUAL

    always = f"to answer the largest class always is right on {percent(found.majority)} %"
    if found.best.folds is None:
        yield f"How well they are told apart cannot be measured on so few images; {always}."
        return
    uneven = ""
    if found.richest > UNEQUAL * found.scarcest and found.balanced is not None:
        uneven = f" Balanced accuracy, the mean of the classes' shares: {percent(found.balanced)} %."
    yield (
        f"Held out: the SVM on {found.best.name} is right on {found.best.in_words} of {found.held_out} images; "
        f"{always}.{uneven}"
    )
    told = list(confusions_in_words(found.by_class))
    yield f"Most often confused: {'; '.join(told)}." if told else "No class was taken for another."


def _testing(found: Findings) -> Iterator[str]:
    """What the test images will tell."""
    told, share = found.testing, found.best.folds
    if told["low"] is None or share is None:
        yield f"There will be {found.test_images} test images."
        return
    least = told["smallest_difference"]
    these = "none at all" if least is None else f"one of {100 * least:.0f}"
    yield (
        f"With {found.test_images} test images a share like that is known as {percent(share)} % "
        f"({percent(told['low'])} to {percent(told['high'])}). To decide between two networks "
        f"{100 * told['points']:.0f} points apart takes about {told['images_needed']} of them; these decide {these}, "
        "in 4 of 5 cases."
    )
    if found.test_groups:
        yield f"They are of {found.test_groups} groups, and tell less than as many images of as many groups."


def _show_classes(found: Findings) -> None:
    order = sorted(found.by_class, key=lambda one: (one.held_out == 0, one.recall if one.held_out else 0.0))
    rows = [
        {
            "class": one.name, "images": one.images, "held out": one.held_out,
            "right": None if not one.held_out else f"{percent(one.recall)} %",
            "taken most often for": None if one.taken_for is None else f"{one.taken_for} ({one.taken})",
        }
        for one in order[:MOST]
    ]  # fmt: skip
    print_table(rows, dict.fromkeys(rows[0], str))
    if len(order) > MOST:
        click.echo(f"and {len(order) - MOST} classes that are easier")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --------------------------------------------------------------------------------------------------- what is advised


def _show_advice(told: Advised, options: dict[str, Any]) -> None:
    found, advice = told.found, told.advice
    mode = f" with BatchNorm statistics {advice.bn_mode}" if advice.trains and found.statistics else ""
    click.echo()
    _say(f"Advice: {'fine-tune' if advice.trains else 'train nothing; take'} {advice.strategy}{mode}")
    for answer in advice.answers:
        whence = f" ({answer.source})" if answer.source else ""
        _say(f"  {answer.question}: {answer.why}{whence}", "    ")
    larger, _ = found.outlook
    if larger.sure:
        given = f"; --image-size {options['image_size']} was given, and stays" if options.get("image_size") else ""
        _say(f"  image size: {larger.at} pixels gain beyond noise{given}", "    ")
    if told.cost is not None:
        _say(
            f"  cost: {told.cost.runs} runs, about {duration(told.cost.seconds)} here one after another, and "
            f"{size(told.cost.bytes)} of epochs",
            "    ",
        )
