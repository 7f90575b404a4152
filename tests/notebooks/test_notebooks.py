"""The notebooks are clean as they lie in git, and run from top to bottom on small stores."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from studies.grid import study_runner
from studies.spec.registry import load
from studies.spec.study import override
from tests.conftest import ROOT, once
from tests.notebooks.executing import executed
from tests.tuning.tiny import MOBILENET, write_weights

FOLDER = ROOT / "notebooks"
TOY = {
    "models": [MOBILENET], "data": "digits-5-9", "epochs": 1, "steps": 2, "batch_size": 8, "image_size": 32,
    "test_count": 4,
}  # fmt: skip
"""Five classes in pictures of 32 pixels, for a network of a few thousand weights."""
STORES: dict[str, tuple[dict[str, Any], int]] = {
    "first_look": (
        {"study": "quickstart", "per_class": [1, 2], "strategies": ["scratch", "fc", "bn+fc"], "seeds": [0, 1]},
        6,
    ),
    "peng2020": ({"study": "peng2020", "per_class": [1, 2], "bn_modes": ["frozen"], "seeds": [0]}, 6),
}  # fmt: skip
"""Notebook -> the study behind it, and what is replaced in it; and how many figures the notebook draws."""


def notebooks() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def code_of(name: str) -> str:
    """Its code cells, without the lines that are IPython's."""
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text("utf-8"))["cells"]
    lines = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code").splitlines()
    return "\n".join(line for line in lines if not line.startswith("%"))


def test_every_notebook_is_run_here() -> None:
    assert notebooks() == sorted(STORES)


@pytest.mark.parametrize("name", STORES)
def test_a_notebook_is_stripped_and_valid(name: str) -> None:
    text = (FOLDER / f"{name}.ipynb").read_text("utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert notebook.cells[0].cell_type == "markdown"
    assert f"wdiv run {STORES[name][0]['study']}" in notebook.cells[0].source, "the command that makes the store"
    assert [part for part in ('"/', "'/", "~/", ":\\") if part in code_of(name)] == [], "no path of one machine"


@pytest.mark.parametrize("name", STORES)
def test_a_notebook_loads_calls_and_plots(name: str) -> None:
    tree = list(ast.walk(ast.parse(code_of(name))))
    assert not [node for node in tree if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda))]
    modules = [alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names]
    for node in tree:
        if isinstance(node, ast.ImportFrom):
            modules += [f"{node.module}.{alias.name}" for alias in node.names]
    private = [part for module in modules for part in module.split(".") if part.startswith("_")]
    assert private == []
    assert [node.attr for node in tree if isinstance(node, ast.Attribute) and node.attr.startswith("_")] == []


@once
@pytest.mark.parametrize("name", STORES)
def test_a_notebook_runs_from_top_to_bottom(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, figures = STORES[name]
    study = load(values["study"])
    changes = {key: value for key, value in values.items() if key != "study"}
    study = override(study, TOY | {"weights": str(write_weights(tmp_path / "made.pth", MOBILENET))} | changes)
    assert study_runner.run(study, tmp_path / "store", device="cpu") == []

    monkeypatch.setenv("WDIV_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    before = (FOLDER / f"{name}.ipynb").read_bytes()
    outputs = [out for cell in executed(FOLDER / f"{name}.ipynb").cells for out in cell.get("outputs", [])]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == figures
    assert [out["text"] for out in outputs if out.output_type == "stream"] == [], "no warning, and nothing printed"
    assert (FOLDER / f"{name}.ipynb").read_bytes() == before
