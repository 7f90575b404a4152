"""``wdiv evaluate``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import as_json, average, dataset, device, echo_json


@click.command()
@click.argument("network", metavar="RUN|STORE")
@click.argument("data", metavar="NAME|PATH")
@click.option("--part", metavar="P", help="Of data with a split of its own: test, train or all.  [default: test]")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="FILE.csv", help="Write a row an image here.")
@average
@dataset
@device
@as_json
def evaluate(
    network: str, data: str, part: str | None, out: Path | None, average: str | None, dataset: str | None, device: str,
    as_json: bool,
) -> None:  # fmt: skip
    """Say how good a network is on labelled images: a folder with a folder a class, or a data set's name.

    RUN is a run's folder, RUN@EPOCH of another epoch than that which counts; of a STORE, the network that 'wdiv best'
    names. Classes are matched by name. It is said if the network was trained on some of the images.
    """
    from studies.cli.answered import print_confusion
    from studies.cli.bars import counting
    from studies.cli.console import percent, print_table
    from wdiv.inference.choice import choose
    from wdiv.inference.evaluate import evaluate as ask
    from wdiv.inference.evaluate import labelled
    from wdiv.inference.network import Network
    from wdiv.inference.predict import check_csv
    from wdiv.numerics.proportion import in_words
    from wdiv.summary.answered import by_class, confusions_in_words, one_class_notes

    check_csv(out)
    shown = Network(choose(network, average, dataset), device)
    images = labelled(data, shown.classes, shown.inputs.size, part)
    with counting("images", len(images.names), quiet=as_json) as count:
        found = ask(shown, images, lambda block: count(block.seen))
    if out:
        found.predictions.write_csv(out)
    row, bad = found.row() | {"run": shown.choice.name}, found.predictions.bad
    notes = [*found.notes, *one_class_notes([row])]
    if as_json:
        echo_json(row | by_class(row) | {"unreadable": dict(bad), "notes": notes} | ({"file": str(out)} if out else {}))
        return
    click.echo(f"network: {shown.choice.name}")
    click.echo(f"accuracy: {in_words(row['accuracy'], row['images'])} of {row['images']} images")
    told = {
        "balanced accuracy": row["balanced_accuracy"], "largest class alone": row["majority_share"],
        "macro F1": row["macro_f1"], "calibration error": row["calibration_error"], "AUC": row["auc"],
    }  # fmt: skip
    rows = [{"": name, "%": value} for name, value in told.items() if value == value]
    print_table([*rows, {"": "log loss, nats", "%": f"{row['log_loss']:.4f}"}],
                {"": str, "%": lambda value: value if isinstance(value, str) else percent(value)})  # fmt: skip
    print_confusion(row)
    for line in confusions_in_words(row):
        click.echo(line)
    for note in notes:
        click.echo(f"note: {note}")
    for file, why in bad[:50]:
        click.echo(f"cannot be read: {file}: {why}", err=True)
    if bad:
        click.echo(f"note: {len(bad)} of {len(images.names)} files cannot be read", err=True)
    if out:
        click.echo(f"wrote {out}")
