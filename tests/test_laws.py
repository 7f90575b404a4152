"""Who may import whom, held by reading the source of every module; and what the public names promise.

Nothing here imports torch: sources are read, not run, except in a process of their own.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import HAS_TORCH, ROOT

WORDS = frozenset({"wdiv.errors", "wdiv.registry"})  # the vocabulary that every room may speak
ARRAYS = frozenset({"numpy", "scipy", "numba"})
DRAWING = frozenset({"matplotlib", "seaborn", "pandas"})
DEEP = frozenset({"torch", "torchvision"})
ALL = frozenset({"*"})


@dataclass(frozen=True)
class Law:
    """What a room may import: rooms of the project; packages, whenever; packages, only inside a function or for types.

    The standard library is free to all.
    """

    rooms: frozenset[str] = frozenset()
    packages: frozenset[str] = frozenset()
    late: frozenset[str] = frozenset()


def _law(*names: str, late: frozenset[str] = frozenset()) -> Law:
    """Names with a dot, and those of :data:`WORDS`, are rooms; the others are packages."""
    rooms = {name for name in names if "." in name or name in ("baselines", "studies")}
    return Law(WORDS | rooms, frozenset(names) - rooms, late)


NETWORKS = ("wdiv.tuning.data", "wdiv.tuning.networks", "wdiv.tuning.strategy", "wdiv.tuning.prefix")
TUNING = (*NETWORKS, "wdiv.tuning.training")
RESULTS = ("wdiv.layers", "wdiv.metrics", "wdiv.measure", "wdiv.summary", "wdiv.store", "wdiv.cache", "wdiv.outputs")
RECORDS = ("studies.spec", "studies.spec.registry", "studies.papers")

LAWS = {
    "wdiv.errors": Law(),
    "wdiv.registry": Law(frozenset({"wdiv.errors"})),
    "wdiv.layers": _law("numpy"),
    "wdiv.numerics": Law(frozenset(), ARRAYS),
    "wdiv.metrics": _law("wdiv.numerics", *ARRAYS),
    "wdiv.measure": _law(
        "wdiv.layers", "wdiv.numerics", "wdiv.metrics", "numpy", "xarray", late=frozenset({"dask"})
    ),
    "wdiv.summary": _law(
        "wdiv.layers", "wdiv.numerics", "wdiv.metrics", "wdiv.measure", "numpy", "pandas", "xarray"
    ),
    "wdiv.plots": _law("numpy", late=DRAWING),
    "wdiv.store": _law(
        "wdiv.layers", "wdiv.numerics", "numpy", "xarray",
        late=frozenset({"safetensors", "filelock", "tomlkit", "torch", "xxhash"}),
    ),
    "wdiv.compare": _law("wdiv.layers", "wdiv.measure", "wdiv.store", "numpy", late=frozenset({"xarray"})),
    "wdiv.outputs": _law(
        "wdiv.layers", "wdiv.metrics", "wdiv.measure", "wdiv.store", *TUNING, "numpy", "xarray",
        late=frozenset({"torch"}),
    ),
    "wdiv.cache": _law("wdiv.metrics", "wdiv.measure", "wdiv.store", "wdiv.outputs", "numpy", "xarray"),
    "wdiv.tuning": Law(),  # holds rooms and nothing else
    "wdiv.tuning.data": _law("wdiv.numerics", "numpy", late=frozenset({"torch", "PIL", "sklearn"})),
    "wdiv.tuning.networks": _law("wdiv.layers", "wdiv.store", "wdiv.tuning.data", "numpy", late=DEEP),
    "wdiv.tuning.strategy": _law("wdiv.layers", "wdiv.store", late=frozenset({"torch"})),
    "wdiv.tuning.prefix": _law(
        "wdiv.layers", "wdiv.store", "wdiv.tuning.data", "numpy", late=DEEP | {"filelock"}
    ),
    "wdiv.tuning.training": _law("wdiv.layers", "wdiv.store", *NETWORKS, "numpy", late=frozenset({"torch"})),
    "wdiv.similarity": _law(
        "wdiv.layers", "wdiv.numerics", "wdiv.metrics", "wdiv.store", *TUNING, "numpy", "xarray",
        late=frozenset({"torch"}),
    ),
    "wdiv.inference": _law(
        "wdiv.numerics", "wdiv.store", "wdiv.summary", *TUNING, "numpy", late=DEEP | {"onnx", "safetensors"}
    ),
    "wdiv": Law(late=ALL),  # the face: names its rooms for type checkers, imports them by name when they are used
    "baselines": _law(
        "wdiv.layers", "wdiv.numerics", "wdiv.store", *TUNING, "numpy", "scipy", "sklearn", "threadpoolctl", "xarray",
        late=frozenset({"torch"}),
    ),
    "studies.papers": _law(late=frozenset({"pandas"})),
    "studies.spec": _law(
        "wdiv.metrics", "wdiv.store", *TUNING, "baselines", "studies.papers", "pandas"
    ),
    "studies": _law("studies.spec", "wdiv.tuning.strategy"),  # the studies themselves
    "studies.spec.registry": _law("wdiv.store", "wdiv.tuning.data", "studies.spec", "studies"),
    "studies.grid": _law(
        *RESULTS, *TUNING, *RECORDS, "wdiv.numerics", "baselines", "numpy", "pandas", "xarray",
        late=frozenset({"torch", "__main__"}),
    ),
    "studies.report": _law(
        *RESULTS, *TUNING, *RECORDS, "wdiv.numerics", "wdiv.plots", "wdiv.inference", "baselines", "studies.grid",
        "numpy", "scipy", "pandas", "xarray", late=frozenset({"matplotlib", "seaborn", "torch", "markdown_it"}),
    ),
    "studies.cli": Law(ALL, frozenset({"click"}), ALL),
}  # fmt: skip
"""The table, by the dotted name of a room. Everything that is not in it is forbidden; a new room is entered here."""

FACE = "wdiv"  # the room of wdiv/__init__.py itself
FLAT = {"wdiv": 1, "wdiv.tuning": 2, "studies": 2}  # rooms without folders: how many parts a name in them has
FOREIGN_TORCH = "safetensors.torch"  # a module of another package that imports torch


@dataclass(frozen=True)
class Import:
    """``name`` is the full dotted name that a statement reaches; ``late`` if importing the module does not run it."""

    name: str
    line: int
    late: bool


def room_of(module: str) -> str:
    """``wdiv.store.reader`` -> ``wdiv.store``; ``studies.peng2020`` -> ``studies``; itself where there is no room.

    >>> room_of("wdiv.tuning.data.images"), room_of("wdiv.new.x"), room_of("studies.new.x")
    ('wdiv.tuning.data', 'wdiv.new.x', 'studies.new.x')
    """
    parts = module.split(".")
    around = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    room = next((name for name in around if name in LAWS), module)
    return room if len(parts) <= FLAT.get(room, len(parts)) else module


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(path for package in ("wdiv", "baselines", "studies") for path in (ROOT / package).rglob("*.py"))


MODULES = {module_of(path): path for path in sources()}


parsed = cache(ast.parse)


@cache
def source_of(module: str) -> str:
    return MODULES[module].read_text(encoding="utf-8")


def imports(source: str, package: str) -> Iterator[Import]:
    """Every import of a module: at its top, inside functions and branches, and by a name given as text."""
    yield from _walk(parsed(source), package, late=False)


def _walk(node: ast.AST, package: str, *, late: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, late) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parents = package.split(".")[: 1 - node.level or None] if node.level else []
        base = ".".join([*parents, *([node.module] if node.module else [])])
        yield from (Import(f"{base}.{alias.name}", node.lineno, late) for alias in node.names)
    elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__") and node.args:
        text = node.args[0]
        if isinstance(text, ast.Constant):
            yield Import(str(text.value), node.lineno, late)
    for name, child in ((name, child) for name, value in ast.iter_fields(node) for child in _nodes(value)):
        inside = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) and name == "body"
        typing = isinstance(node, ast.If) and name == "body" and "TYPE_CHECKING" in ast.dump(node.test)
        yield from _walk(child, package, late=late or inside or typing)


def _nodes(value: object) -> list[ast.AST]:
    return [entry for entry in (value if isinstance(value, list) else [value]) if isinstance(entry, ast.AST)]


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def target_of(name: str) -> str:
    """The module that an import of a dotted name reaches: itself, or the one that holds the name."""
    return name if name in MODULES else name.rpartition(".")[0]


def violations(module: str, source: str, *, is_package: bool = False) -> list[str]:
    """What a module imports against the law of its room, one line each."""
    room = room_of(module)
    if room not in LAWS:
        return [f"{module}: no law for the room {room!r}; enter it in tests/test_laws.py"]
    law, found = LAWS[room], []
    for imported in imports(source, module if is_package else module.rpartition(".")[0]):
        top = imported.name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top in ("wdiv", "baselines", "studies"):
            target = room_of(target_of(imported.name))
            allowed = target == room or bool({target, "*"} & (law.rooms | (law.late if imported.late else set())))
        else:
            needed = {"torch", top} if imported.name.startswith(FOREIGN_TORCH) else {top}
            able = law.packages | law.late if imported.late else law.packages
            allowed = needed <= able or "*" in able
        if not allowed:
            how = "inside a function" if imported.late else "when imported"
            found.append(f"{module}:{imported.line}: {room} may not import {imported.name} {how}")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_every_module_keeps_the_law(module: str) -> None:
    path = MODULES[module]
    assert violations(module, source_of(module), is_package=path.name == "__init__.py") == []


def test_the_table_names_every_room_and_no_other() -> None:
    assert {room_of(module) for module in MODULES} == set(LAWS)


def test_the_table_has_no_loops() -> None:
    graph = {room: law.rooms - ALL for room, law in LAWS.items()}
    assert set().union(*graph.values()) <= set(LAWS)
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def circle(graph: Mapping[str, Collection[str]]) -> list[str]:
    """A circle of a graph (node -> what it leads to), its first node again at the end; empty where there is none."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def files_imported(module: str) -> set[str]:
    """The files that a file imports: at its top, inside functions, and for types."""
    path = MODULES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    found = {target_of(imported.name) for imported in imports(source_of(module), package)}
    return (found & MODULES.keys()) - {module}


def test_no_files_import_each_other_in_a_circle() -> None:
    assert circle({module: files_imported(module) for module in MODULES}) == []


def test_a_circle_would_be_seen() -> None:
    assert circle({"a": ["b"], "b": ["c"], "c": []}) == []
    assert set(circle({"a": ["b"], "b": ["c"], "c": ["a"]})) == {"a", "b", "c"}
    assert files_imported("studies.spec.registry") >= {"studies.quickstart", "studies.spec.study", "wdiv.errors"}
    assert "wdiv.tuning.training.run" in files_imported("wdiv"), "imports for types count"
    assert "studies.report.finish" in files_imported("studies.cli.run"), "imports inside functions count"


def test_no_room_of_wdiv_may_import_what_stands_on_it() -> None:
    for room, law in LAWS.items():
        if room.startswith("wdiv."):
            assert not any(name.startswith(("baselines", "studies")) or name in (FACE, "*") for name in law.rooms), room


def test_torch_is_for_late_imports_and_the_upper_rooms_only() -> None:
    assert {room for room, law in LAWS.items() if DEEP & law.packages} == set()
    able = {room for room, law in LAWS.items() if "torch" in law.late}
    assert able == {
        "wdiv.store",
        "wdiv.inference",
        "wdiv.outputs",
        "wdiv.similarity",
        "baselines",
        "studies.grid",
        "studies.report",
        *TUNING,
    }


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wdiv.numerics.x", "import torch"),
        ("wdiv.numerics.x", "from wdiv.layers import Layer"),
        ("wdiv.numerics.x", "from ..layers import Layer"),
        ("wdiv.numerics.x", "from .. import layers"),
        ("wdiv.metrics.x", "def f():\n    from wdiv import measure"),
        ("wdiv.metrics.x", "import wdiv.layers as l"),
        ("wdiv.metrics.x", "import xarray"),
        ("wdiv.measure", "def f():\n    import torch"),
        ("wdiv.measure", "from wdiv.store import reader"),
        ("wdiv.summary", "if TYPE_CHECKING:\n    import torch"),
        ("wdiv.plots", "import matplotlib"),
        ("wdiv.plots", "import pandas as pd"),
        ("wdiv.layers", "from wdiv import diff"),
        ("wdiv.layers", "import wdiv"),
        ("wdiv.store.x", "import torch"),
        ("wdiv.store.x", "import torch.nn"),
        ("wdiv.store.x", "import safetensors.torch"),
        ("wdiv.store.x", "from safetensors.torch import save"),
        ("wdiv.store.x", "try:\n    import torch\nexcept ImportError:\n    pass"),
        ("wdiv.store.x", "class A:\n    import torch"),
        ("wdiv.store.x", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch"),
        ("wdiv.store.x", "def f(x=__import__('torch')):\n    pass"),
        ("wdiv.store.x", "def f():\n    from wdiv.tuning import loop"),
        ("wdiv.store.x", "def f():\n    import requests"),
        ("wdiv.store.x", "import importlib\nimportlib.import_module('wdiv.measure')"),
        ("wdiv.tuning.training.x", "from wdiv.measure import divergence"),
        ("wdiv.tuning.training.x", "def f():\n    import studies.grid.runner"),
        ("wdiv.tuning.training.x", "def f():\n    from baselines import svm"),
        ("wdiv.tuning.data.x", "from wdiv.tuning.networks import models"),
        ("wdiv.tuning.strategy.x", "def f():\n    from wdiv.tuning.training.loop import Loop"),
        ("wdiv.tuning.prefix.x", "if TYPE_CHECKING:\n    from wdiv.tuning.strategy.freeze import Plan"),
        ("baselines.x", "from studies.spec.study import Study"),
        ("studies.spec.x", "from studies.grid.runner import run_grid"),
        ("studies.spec.x", "def f():\n    from studies import peng2020"),
        ("studies.grid.x", "def f():\n    from studies.report import verdicts"),
        ("studies.report.x", "from studies.cli import console"),
        ("studies.x", "from studies.report.tables import fill"),
        ("baselines.x", "import torch"),
        ("wdiv", "from wdiv.measure import divergence"),
        ("wdiv", "import xarray"),
        ("studies.grid.x", "import torch"),
        ("wdiv.newroom.x", ""),
        ("wdiv.tuning.x", ""),
        ("studies.newroom.x", ""),
    ],
)
def test_the_checker_catches_a_violation(module: str, source: str) -> None:
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("wdiv.numerics.x", "import numpy as np\nimport os.path\nfrom .reduce import moments"),
        ("wdiv.metrics.x", "from wdiv import numerics\nfrom wdiv.registry import Registry"),
        ("wdiv.store.x", "def f():\n    import torch\n    from safetensors.torch import save"),
        ("wdiv.store.x", "if TYPE_CHECKING:\n    import torch"),
        ("wdiv.plots", "def f():\n    import seaborn as sns"),
        ("wdiv", "if TYPE_CHECKING:\n    from wdiv.measure import divergence"),
        ("studies.x", "from studies.peng2020 import STUDY\nfrom studies.spec.study import Study"),
        ("studies.spec.registry", "from studies import peng2020"),
        ("studies.grid.x", "from baselines import svm\ndef f():\n    import torch"),
        ("studies.cli.x", "import wdiv\nfrom studies.grid.state import states\ndef f():\n    import torch"),
    ],
)
def test_the_checker_lets_the_lawful_pass(module: str, source: str) -> None:
    assert violations(module, source) == []


def test_the_checker_sees_relative_imports_of_a_package() -> None:
    assert violations("wdiv.numerics", "from .reduce import moments", is_package=True) == []
    assert len(violations("wdiv.numerics", "from ..layers import Layer", is_package=True)) == 1


HEAVY = (
    "torch", "torchvision", "xarray", "numba", "pandas", "numpy", "scipy", "matplotlib", "sklearn", "dask", "rich"
)  # fmt: skip


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import wdiv; dir(wdiv)", (*HEAVY, "click")),
        (
            "from studies.cli import cli; from itertools import product\n"
            "for words in (*product(['', *cli.commands], ['--help']), ['--version']):\n"
            "    cli([*filter(None, words)], standalone_mode=False)",
            HEAVY,
        ),
        ("import studies.cli.answered, studies.grid.answered, studies.grid.state", ("torch", "sklearn")),
        (
            "import wdiv.measure, wdiv.summary, wdiv.plots, wdiv.compare, wdiv.store.engine",
            ("torch", "numba", "sklearn"),
        ),
        ("import wdiv.numerics, wdiv.metrics", ("torch", "xarray", "pandas", "numba")),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str, unwanted: tuple[str, ...]) -> None:
    check = f"import sys\n{code}\nfound = [m for m in {unwanted} if m in sys.modules]\nassert not found, found"
    done = subprocess.run([sys.executable, "-W", "error", "-c", check], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def public(module: str) -> list[str]:
    """The names in a module's ``__all__``, as its source lists them."""
    for node in parsed(source_of(module)).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return [str(element.value) for element in ast.walk(node.value) if isinstance(element, ast.Constant)]
    return []


def bound(module: str) -> dict[str, ast.stmt]:
    """Name -> the top-level statement that binds it."""
    names: dict[str, ast.stmt] = {}
    for node in parsed(source_of(module)).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return names


WITH_PUBLIC_NAMES = [module for module in MODULES if module != FACE and public(module)]


@pytest.mark.parametrize("module", WITH_PUBLIC_NAMES)
def test_public_names_exist_and_say_what_they_do(module: str) -> None:
    names, statements = public(module), bound(module)
    assert len(set(names)) == len(names), "a name stands twice in __all__"
    assert set(names) <= set(statements), "a name in __all__ is not there"
    defined = {
        name: statements[name] for name in names if isinstance(statements[name], (ast.FunctionDef, ast.ClassDef))
    }
    silent = [name for name, node in defined.items() if not ast.get_docstring(node)]  # type: ignore[arg-type]
    assert silent == [], "public, and without a docstring"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is_for(module: str) -> None:
    source = source_of(module)
    assert not source or ast.get_docstring(parsed(source))


def test_the_rooms_of_the_library_state_their_public_names() -> None:
    without = {module for module in MODULES if module.startswith("wdiv.") and module not in WITH_PUBLIC_NAMES}
    folders = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert without <= {"wdiv.numerics.kernels", *folders}


def test_the_face_resolves_every_name() -> None:
    face = importlib.import_module("wdiv")
    assert set(face.__all__) <= set(dir(face))
    for name in face.__all__:
        if name != "fine_tune" or HAS_TORCH:
            value = getattr(face, name)
            assert getattr(value, "__doc__", None), name
    with pytest.raises(AttributeError, match="no_such_name"):
        face.no_such_name  # noqa: B018 - asking is the test


def test_the_face_tells_type_checkers_the_same_names() -> None:
    face = importlib.import_module("wdiv")
    tree = parsed(source_of(FACE))
    typed = {
        alias.asname or alias.name: f"{node.module}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wdiv")
        for alias in node.names
    }
    assert typed == face._HOMES
