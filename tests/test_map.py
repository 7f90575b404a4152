"""CONTRIBUTING's map is the folders' own first lines, and its drawing is what the imports are."""

from __future__ import annotations

import re
import runpy
from graphlib import TopologicalSorter

from tests.conftest import ROOT
from tests.test_laws import LAWS, MODULES, files_imported, room_of

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
(DRAWING,) = re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)
UNDRAWN = {"wdiv", "wdiv.tuning", "wdiv.errors", "wdiv.registry"}
"""The face, a folder of folders, and what every room speaks."""


def arrows() -> list[tuple[str, str]]:
    """(room, room), as the drawing has them."""
    names = {name: label.replace("/", ".") for name, label in re.findall(r'(\w+)\["([\w/]+)"\]', DRAWING)}
    return [(names[a], names[b]) for a, b in re.findall(r"^    (\w+)\S* --> (\w+)", DRAWING, re.MULTILINE)]


def imported() -> set[frozenset[str]]:
    """Pairs of rooms of which one imports the other."""
    pairs = {frozenset((room_of(file), room_of(other))) for file in MODULES for other in files_imported(file)}
    return {pair for pair in pairs if len(pair) == 2}


def test_the_map_is_the_folders_first_lines() -> None:
    generate = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    assert generate["with_map"](TEXT) == TEXT, "python docs/generate.py"
    told = re.findall(r"^- `([\w/.]+)`: (.+)$", TEXT, re.MULTILINE)
    assert all(len(line) > 20 for _, line in told)
    assert {place for place, _ in told} >= {f"{room.replace('.', '/')}/" for room in LAWS if _is_folder(room)}


def _is_folder(room: str) -> bool:
    return MODULES[room].name == "__init__.py" if room in MODULES else False


def test_every_room_stands_in_the_drawing() -> None:
    assert {room for arrow in arrows() for room in arrow} == set(LAWS) - UNDRAWN


def test_every_arrow_of_the_drawing_is_an_import() -> None:
    pairs = imported()
    assert [arrow for arrow in arrows() if frozenset(arrow) not in pairs] == []


def test_the_drawing_has_no_circles() -> None:
    graph: dict[str, set[str]] = {}
    for start, end in arrows():
        graph.setdefault(end, set()).add(start)
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def test_files_that_the_contributing_guide_names_are_there() -> None:
    named = re.findall(r"`((?:wdiv|baselines|studies|tests|docs|notebooks|benchmarks)/[\w./-]*)`", TEXT)
    assert [name for name in named if not (ROOT / name).exists()] == []
