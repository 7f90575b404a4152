"""The ``wdiv`` command: one file per command, each a thin call of one library function; console and screens.

Nothing heavy is imported before a command runs: ``wdiv --help`` needs click and no more.
"""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from collections.abc import Callable
from typing import Any

import click

from studies.cli.advise import advise
from studies.cli.best import best
from studies.cli.cka import cka
from studies.cli.diff import diff
from studies.cli.du import du
from studies.cli.errors import errors
from studies.cli.evaluate import evaluate
from studies.cli.export import export
from studies.cli.features import features
from studies.cli.import_ import import_
from studies.cli.init import init
from studies.cli.listing import list_
from studies.cli.lr_find import lr_find
from studies.cli.measure import measure
from studies.cli.noise import noise
from studies.cli.plot import plot
from studies.cli.predict import predict
from studies.cli.prune import prune
from studies.cli.report import report
from studies.cli.run import run
from studies.cli.show import show
from studies.cli.status import status
from studies.cli.svm import svm
from studies.cli.verify import verify
from studies.cli.watch import watch
from wdiv.errors import LeftOut, WdivError
from wdiv.tuning.training.interrupt import Stopped

__all__ = ["cli", "main"]


class _Failure(click.ClickException):
    exit_code = 2


class _Commands(click.Group):
    """Commands in the order in which one needs them; wdiv's errors as one line and exit code 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", LeftOut)
                warnings.showwarning = _as_note(warnings.showwarning)
                return super().invoke(ctx)
        except Stopped as stopped:
            again = shlex.join(["wdiv", *sys.argv[1:]])
            click.echo(f"Stopped: {stopped}. All of it is saved; to go on: {again}", err=True)
            raise click.exceptions.Exit(128 + stopped.signum) from None
        except WdivError as error:
            raise _Failure(str(error)) from None
        except BrokenPipeError:  # the reader, such as head, has gone; click would make it an error
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(141) from None
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise _Failure(f"{where}{error.strerror or error}") from None


def _as_note(show: Callable[..., None]) -> Callable[..., None]:
    """What is left out is told in one line, once."""
    told = set()

    def say(message: Any, category: Any, *where: Any) -> None:
        if not issubclass(category, LeftOut):
            show(message, category, *where)
        elif str(message) not in told:
            told.add(str(message))
            click.echo(f"note: {message}", err=True)

    return say


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="wdiv", message="%(version)s")
def cli() -> None:
    """See what fine-tuning does to a convolutional network: which layers moved, how far, when, and whether it paid."""


for _command in (
    run, init, report, best, predict, evaluate, errors, advise, svm, lr_find, status, watch, measure, noise, diff, cka,
    plot, list_, show, verify, export, import_, features, du, prune,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Entry point of the console script."""
    try:
        code = cli(standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Stopped. Nothing that was saved is lost; the same command goes on from there.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
