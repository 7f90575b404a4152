"""Write docs/cli.md from the live commands: ``python docs/generate.py``. A test fails when it has drifted."""

from __future__ import annotations

from pathlib import Path

import click

from studies.cli import cli

PAGE = Path(__file__).parent / "cli.md"


def reference() -> str:
    """The help of every command, as Markdown."""
    parts = ["# Commands\n\nWritten by `python docs/generate.py` from the commands themselves.\n"]
    with click.Context(cli, info_name="wdiv", terminal_width=100, **cli.context_settings) as root:
        for name in cli.list_commands(root):
            command = cli.commands[name]
            with click.Context(command, info_name=name, parent=root) as ctx:
                parts.append(f"## wdiv {name}\n\n```\n{command.get_help(ctx)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
