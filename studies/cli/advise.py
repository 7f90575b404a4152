"""``wdiv advise``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from studies.cli.options import as_json, device, echo_json, given, of_frozen

if TYPE_CHECKING:
    from baselines.advice import Advice, Findings


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
    network tells them apart in cross-validation, and scores of transferability; rules turn that into a strategy. The
    test images are not looked at.
    """
    from baselines.advice import advise as judge
    from baselines.advice import look
    from baselines.advice.toml import as_study
    from studies.grid.frozen_features import open_frozen
    from studies.spec.study import Study, override
    from wdiv.errors import BadInput
    from wdiv.store.files import write_atomically
    from wdiv.tuning.data.datasets import open_split

    if out is not None and out.suffix != ".toml":
        raise BadInput(f"{out}: the file's name must end in .toml")
    fields = {"data": data, **given(options)}
    study = override(Study("advise"), fields)
    frozen = open_frozen(study)
    found = look(
        frozen.source, frozen.split, per_class=study.per_class[0], seed=study.seeds[0], device=device,
        of_source=None if source_data is None else open_split(source_data, frozen.size).pool,
    )  # fmt: skip
    advice = judge(found)
    text = as_study(advice, {name: fields[name] for name in _KEPT if name in fields})
    if out is not None:
        write_atomically(out, lambda temporary: temporary.write_text(text + "\n", encoding="utf-8"))
    if as_json:
        told = {"findings": found.to_json(), "advice": advice.to_json(), "study": text}
        echo_json(told | {"notes": list(frozen.notes)})
        return
    _show_findings(found, frozen.notes)
    _show_advice(found, advice, fields, out)


_KEPT = (
    "data", "models", "weights", "per_class", "image_size", "test_count", "test_fraction", "skip_bad_images",
)  # fmt: skip
"""What the study that is written takes over from the command."""


def _show_findings(found: Findings, notes: tuple[str, ...]) -> None:
    from baselines.transferability import SCORES
    from studies.cli.console import print_table

    each = str(found.scarcest) if found.scarcest == found.richest else f"{found.scarcest} to {found.richest}"
    click.echo(
        f"{found.dataset}: {found.images} training images, {each} of each of {found.classes} classes; "
        f"{found.model} ({found.source}), {found.image_size} pixels"
    )
    if found.looked_at < found.images:
        click.echo(f"looked at {found.looked_at} of them")
    click.echo()
    names = list(found.places[0].scores)
    rows = [
        {"stage": p.name, "features": p.features, "SVM": found.in_folds(p), "drift": p.drift, **p.scores}
        for p in found.places
    ]
    columns: dict[str, Any] = {"stage": str, "features": str, "SVM": str, "drift": "{:.2f}".format}
    print_table(rows, columns | dict.fromkeys(names, "{:.4g}".format))
    click.echo(
        "\nSVM: accuracy in cross-validation, and its 95 % interval for other images."
        "\ndrift: squared distance from what BatchNorm saw of the source's images, in its standard deviations.\n"
        + " ".join(f"{name}: {SCORES[name].long_name}." for name in names)
    )
    for name, value in found.scores.items():
        click.echo(f"{name} {value:.4g}: {SCORES[name].long_name}")
    if not found.scores:
        click.echo("The source has no classifier of its own: no LEEP, no NCE.")
    for note in filter(None, (*notes, found.fallback)):
        click.echo(f"note: {note}")


def _show_advice(found: Findings, advice: Advice, fields: dict[str, Any], out: Path | None) -> None:
    mode = f" with BatchNorm statistics {advice.bn_mode}" if advice.trains and found.statistics else ""
    click.echo(f"\nAdvice: {'fine-tune' if advice.trains else 'train nothing; take'} {advice.strategy}{mode}")
    for answer in advice.answers:
        whence = f" ({answer.source})" if answer.source else ""
        click.echo(f"  {answer.question}: {answer.why}{whence}")
    click.echo(f"\n{_command(advice, fields)}")
    if out is not None:
        click.echo(f"wrote {out}; run it with: wdiv run {out}")


def _command(advice: Advice, fields: dict[str, Any]) -> str:
    import shlex

    options = {"models": "--model", "weights": "--weights", "per_class": "--per-class", "image_size": "--image-size",
               "test_count": "--test-count", "test_fraction": "--test-fraction"}  # fmt: skip
    words: list[str] = []
    for name, option in options.items():
        values = fields.get(name, [])
        for value in values if isinstance(values, list) else [values]:
            words += [option, str(value)]
    if advice.trains:
        how = ["--strategy", advice.strategy, "--bn-mode", advice.bn_mode]
        return shlex.join(["wdiv", "run", "peng2020", "--data", str(fields["data"]), *words, *how])
    _, _, layer = advice.strategy.partition("@")
    return shlex.join(["wdiv", "svm", str(fields["data"]), *words, *(["--layer", layer] if layer else [])])
