"""``wdiv export``"""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli.options import average_epochs, dataset


@click.command()
@click.argument("run", metavar="RUN|STORE")
@click.argument("epoch", metavar="[EPOCH]", required=False)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE",
    help="Ends in .safetensors (weights), .onnx (needs wdiv[onnx]) or .pt2 (torch.export).",
)  # fmt: skip
@average_epochs
@click.option("--pixels", is_flag=True, help="Put the scaling of pixels into the graph: it takes uint8 RGB.")
@dataset
def export(run: str, epoch: str | None, out: Path, average: str | None, pixels: bool, dataset: str | None) -> None:
    """Write the network of RUN (its folder) after EPOCH (a number, 'last' or 'best') as one file.

    Of a STORE, the run that 'wdiv best' names; without EPOCH, after the one that counts. What is done to an image
    before the network sees it stands in the file's metadata, and beside .onnx and .pt2 in FILE.json. Weights of several
    seeds have no mean: their heads differ.
    """
    from wdiv.inference.export import export as write

    click.echo(f"wrote {write(run, epoch, out, average=average, dataset=dataset, pixels=pixels)}")
