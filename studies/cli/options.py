"""Options that several commands share."""

from __future__ import annotations

import json
from typing import Any

import click

MOST = 8
"""Metrics that a table on a console has room for."""

__all__ = ["MOST", "PerClass", "as_json", "echo_json", "epoch", "group", "metrics", "reference"]


class PerClass(click.ParamType):
    """A number of images, or ``all``."""

    name = "n|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "all" or value is None:
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a whole number from 1 nor 'all'", param, ctx)
        return int(value)


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
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


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
    if isinstance(value, float) and value - value != 0:  # NaN and infinities
        return None
    return value
