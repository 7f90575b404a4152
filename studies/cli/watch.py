"""``wdiv watch``"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from studies.cli import options
from studies.cli.console import console
from wdiv.errors import BadInput

if TYPE_CHECKING:
    from studies.grid.watching import StoreView, Watch


@click.command()
@click.argument("store", metavar="DIR", type=click.Path(path_type=Path))
@click.option("-m", "--metric", default="relative_l2", show_default=True, metavar="METRIC", help="Gaussian or paired.")
@click.option(
    "--run", "runs", multiple=True, metavar="RUN",
    help="A run to show, may be repeated.  [default: those running, or the latest]",
)  # fmt: skip
@click.option(
    "--every", default=2.0, show_default=True, type=click.FloatRange(0.1), metavar="SECONDS", help="How often to look."
)
@click.option("--once", is_flag=True, help="Show the present state and end.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), metavar="FILE.png",
    help="Keep a figure up to date, too: the epochs of one run, or the profile of several.",
)  # fmt: skip
@options.as_json
def watch(
    store: Path, metric: str, runs: tuple[str, ...], every: float, once: bool, out: Path | None, as_json: bool
) -> None:
    """Show training as it goes on: how well each run does, and how far each stage has moved from its start.

    For another terminal while 'wdiv run' trains. No weights are read: a run leaves what is shown in its live.jsonl
    as each epoch ends. On a terminal the view is kept up to date in place; elsewhere each epoch is a line. It ends when
    all runs are finished; Ctrl-C ends it before, with exit code 0, as nothing is lost.
    """
    with suppress(KeyboardInterrupt):
        _watch(store, metric, runs, every, once, out, as_json)


def _watch(
    store: Path, metric: str, runs: tuple[str, ...], every: float, once: bool, out: Path | None, as_json: bool
) -> None:
    from studies.cli.screen import picture
    from studies.grid.watching import REFERENCE, Watch
    from studies.report.figures.measured import check

    if as_json and not once:
        raise BadInput("--json prints one state: give --once with it")
    if out:
        check("epochs", out, metric)
    watched = Watch(store, metric, runs)
    if not once:
        _follow(watched, every, out, chosen=bool(runs))
        return
    view = watched.look()
    if out:
        _draw(view, out, chosen=bool(runs))
    if as_json:
        about = {"metric": metric, "reference": REFERENCE, "finished": view.finished, "of": view.of}
        options.echo_json({**about, "runs": [seen.to_json() for seen in view.runs]})
        return
    for line in picture(view, console().width):
        console().print(line, highlight=False)


def _follow(watched: Watch, every: float, out: Path | None, *, chosen: bool) -> None:
    """Look again and again, until all is finished."""
    view, drawn = watched.look(), None
    with _on_screen() if console().is_terminal else _in_lines() as show:
        while True:
            if view is not drawn:
                show(view)
                if out:
                    _draw(view, out, chosen=chosen)
                drawn = view
            if view.over:
                return
            time.sleep(every)
            view = watched.look()


@contextmanager
def _on_screen() -> Iterator[Callable[[StoreView], None]]:
    """Shows the view, kept up to date in place."""
    from rich.console import Group
    from rich.live import Live

    from studies.cli.screen import picture

    with Live(console=console(), auto_refresh=False, vertical_overflow="crop") as live:
        yield lambda view: live.update(Group(*picture(view, console().width)), refresh=True)


@contextmanager
def _in_lines() -> Iterator[Callable[[StoreView], None]]:
    """Shows a line for each epoch: the last one first of all, then each that comes."""
    from studies.cli.screen import sentence

    told: dict[str, int] = {}

    def show(view: StoreView) -> None:
        for seen in view.runs:
            last = len(seen.history) - 1
            for place in range(told.get(seen.run, last), last + 1):
                click.echo(sentence(seen, view.metric, place))
            told[seen.run] = last + 1

    yield show


def _draw(view: StoreView, out: Path, *, chosen: bool) -> None:
    """What 'wdiv plot' would draw of that which moves; complete at every instant."""
    from studies.report.figures.measured import PANELS, draw
    from wdiv.store.files import write_atomically

    if not view.trees:
        return
    if len(view.trees) > 1 and chosen:
        raise BadInput(f"{out}: a figure shows one architecture; choose runs of one with --run")
    running = {seen.run for seen in view.runs if seen.state == "running"}
    trained = [tree for tree in view.trees if running.intersection(tree.to_dataset()["run"].values.tolist())]
    tree = (trained or view.trees)[-1]
    moved = dict.fromkeys((strip.kind, strip.role) for seen in view.runs for strip in seen.moved)
    roles = [f"{kind}:{role}" for kind, role in [panel for panel in PANELS if panel in moved] or moved]

    def write(temporary: Path) -> None:
        figure = "epochs" if tree.sizes["run"] == 1 else "profile"
        named = temporary.with_name(temporary.name + out.suffix)  # whose ending says how to write it
        draw(tree, figure, named, metric=view.metric, roles=roles).replace(temporary)

    write_atomically(out, write)
