"""Write docs/cli.md from the live commands, and CONTRIBUTING's map from the folders' own first lines.

``python docs/generate.py``. Tests fail when either has drifted.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import click

from studies.cli import cli

ROOT = Path(__file__).parent.parent
PAGE, MAP = ROOT / "docs" / "cli.md", ROOT / "CONTRIBUTING.md"
BEGIN, END = "<!-- map: python docs/generate.py -->\n", "<!-- end of the map -->\n"


def reference() -> str:
    """The help of every command, as Markdown."""
    parts = ["# Commands\n\nWritten by `python docs/generate.py` from the commands themselves.\n"]
    with click.Context(cli, info_name="wdiv", terminal_width=100, **cli.context_settings) as root:
        for name in cli.list_commands(root):
            command = cli.commands[name]
            with click.Context(command, info_name=name, parent=root) as ctx:
                parts.append(f"## wdiv {name}\n\n```\n{command.get_help(ctx)}\n```\n")
    return "\n".join(parts)


def house() -> str:
    """Every folder of the packages, and every file that is a room of its own, with its first line, as Markdown."""
    return "\n".join(f"- `{place}`: {line}" for place, line in _rooms()) + "\n"


def with_map(text: str) -> str:
    """CONTRIBUTING with the map as it is now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + house() + END + rest.partition(END)[2]


def _rooms() -> Iterator[tuple[str, str]]:
    for package in ("wdiv", "baselines", "studies"):
        folders = sorted(path.parent for path in (ROOT / package).rglob("__init__.py"))
        for folder in folders:
            yield f"{folder.relative_to(ROOT).as_posix()}/", _first_line(folder / "__init__.py")
            if folder.name == "wdiv":
                files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
                yield from ((path.relative_to(ROOT).as_posix(), _first_line(path)) for path in files)


def _first_line(path: Path) -> str:
    """Of the docstring, in Markdown's words."""
    told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    line = told.partition("\n\n")[0].replace("\n", " ")
    return line.replace(":class:", "").replace(":mod:", "").replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    MAP.write_text(with_map(MAP.read_text(encoding="utf-8")), encoding="utf-8")
