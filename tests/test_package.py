"""The package as it is given away: what is in it, what it says of itself, and that it runs where it is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

import wdiv
from tests.conftest import ROOT, once

PACKAGES = ("wdiv", "baselines", "studies")
METADATA = ConfigParser()
METADATA.read(ROOT / "setup.cfg", encoding="utf-8")


def there() -> set[str]:
    """The files that make the packages, by their place."""
    found = (path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file())
    parts = {path.relative_to(ROOT).as_posix() for path in found if path.suffix in (".py", ".csv", ".typed")}
    return {part for part in parts if not part.startswith("studies/reports/")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and a source distribution, built from a copy: building leaves files behind."""
    folder = tmp_path_factory.mktemp("package")
    copy = folder / "copy"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "reports")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", copy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


@once
def test_the_wheel_holds_every_module_and_the_papers_numbers(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == there()
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


@once
def test_the_source_distribution_holds_what_the_wheel_is_built_from(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}
    assert there() | {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= names


@once
def test_the_installed_command_runs(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    subprocess.run([sys.executable, "-m", "installer", "--prefix", tmp_path / "here", wheel], check=True)
    (command,) = (tmp_path / "here").glob("*/wdiv*")
    (site,) = (path.parent.parent for path in (tmp_path / "here").rglob("wdiv/__init__.py"))
    program = f"import sys; sys.path.insert(0, {str(site)!r}); sys.argv = ['wdiv', 'list', 'studies']; "
    program += f"import runpy; runpy.run_path({str(command)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "quickstart" in done.stdout


def test_the_version_is_the_packages() -> None:
    assert wdiv.__version__ == METADATA["metadata"]["version"]
    assert "__version__" in dir(wdiv)


def test_the_citation_agrees_with_the_package() -> None:
    yaml = pytest.importorskip("yaml")
    cited, said = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8")), METADATA["metadata"]
    assert (cited["version"], cited["license"]) == (said["version"], said["license"])
    assert cited["title"].startswith(f"{said['name']}: ")
    assert [author["name"] for author in cited["authors"]] == [said["author"]]
    assert {"cff-version", "message", "abstract"} <= cited.keys()
