"""``wdiv init``"""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", metavar="FILE.toml", type=click.Path(path_type=Path))
@click.option("--study", metavar="NAME", help="Start from a study of 'wdiv list studies' instead of an empty one.")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init(file: Path, study: str | None, force: bool) -> None:
    """Write a study to edit: every field with what it means. 'wdiv run FILE.toml' runs it."""
    from dataclasses import replace

    from studies.spec.registry import load
    from studies.spec.template import commented, written_out
    from wdiv.errors import BadInput
    from wdiv.store.files import write_atomically

    if file.suffix != ".toml":
        raise BadInput(f"{file}: the file's name must end in .toml")
    if file.exists() and not force:
        raise BadInput(f"{file}: is there already; --force writes over it")
    text = commented(file.stem) if study is None else written_out(replace(load(study), name=file.stem))
    write_atomically(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    click.echo(f"wrote {file}; edit it, then: wdiv run {file} --dry-run")
