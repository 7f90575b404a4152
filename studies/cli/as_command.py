"""A study's fields as the options of a command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import click

__all__ = ["as_command"]


def as_command(command: click.Command, arguments: Iterable[str], fields: Mapping[str, Any]) -> str:
    """The line that gives a command these fields, as a shell reads it; those that it has no option for are left out.

    >>> from studies.cli.run import run
    >>> as_command(run, ["my photos"], {"strategies": ["fc", "conv+fc"], "seeds": [0], "least": None})
    "wdiv run 'my photos' --strategy fc --strategy conv+fc --seed 0"
    """
    words = ["wdiv", str(command.name), *arguments]
    for option in command.params:
        value = fields.get(str(option.name))
        if not isinstance(option, click.Option) or value is None or value is False:
            continue
        name = max(option.opts, key=len)
        for one in value if isinstance(value, (list, tuple)) else (value,):
            words += [name] if option.is_flag else [name, str(one)]
    return shlex.join(words)
