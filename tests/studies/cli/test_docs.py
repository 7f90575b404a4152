"""The documents say what the program does."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from studies.cli import cli
from studies.spec.registry import load as load_study
from studies.spec.study import override
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_of_commands_is_the_commands_own_help() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == generate.reference(), "python docs/generate.py"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_the_readme_names_every_command(name: str) -> None:
    assert f"`wdiv {name}" in README


def test_every_option_in_the_readme_exists() -> None:
    known = {option for command in cli.commands.values() for p in command.params for option in p.opts}
    assert set(re.findall(r"(?<!\S)`?(--[a-z][a-z-]*)", README)) <= known | {"--help"}


def test_the_readme_names_every_metric() -> None:
    from wdiv.metrics import METRICS

    assert set(METRICS) <= set(re.findall(r"`(\w+)`", README))


def test_the_study_in_the_readme_is_one(tmp_path: Path) -> None:
    (toml,) = (block for block in re.findall(r"```toml\n(.*?)```", README, re.DOTALL) if "my-study" in block)
    file = tmp_path / "my-study.toml"
    file.write_text(toml)
    study = load_study(str(file))
    assert study.per_class == (20, 40, None)
    assert override(study, {}) == study
