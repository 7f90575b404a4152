"""What tests share: the real files where they are, and small stores made on the spot."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import matplotlib as mpl
import pytest
from hypothesis import settings

from tests.fabric import make_store

mpl.use("Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes that tests start run side by side too
settings.register_profile("wdiv", deadline=None, derandomize=True, database=None)  # repeatable, and never timed
settings.register_profile("few", settings.get_profile("wdiv"), max_examples=10)
EXAMPLES = os.environ.get("WDIV_EXAMPLES", "wdiv")
settings.load_profile(EXAMPLES)
ROOT = Path(__file__).parent.parent
SHARED = Path(os.environ.get("WDIV_SHARED", ROOT.parent / "shared"))
HAS_TORCH = importlib.util.find_spec("torch") is not None

NEEDS_TORCH = (
    "tests/baselines", "tests/inference", "tests/outputs", "tests/tuning", "tests/studies", "tests/notebooks",
    "tests/test_package.py", "tests/test_similarity.py", "wdiv/tuning", "studies", "baselines", "wdiv/inference",
    "wdiv/outputs", "wdiv/store/dataflow.py", "wdiv/store/meta_device.py", "wdiv/store/probe.py", "wdiv/similarity.py",
)  # fmt: skip

ASKS_FOR_TORCH = re.compile(r"(import|from) torch|importorskip\(.torch")

Case = TypeVar("Case")


def some(cases: Iterable[Case]) -> list[Case]:
    """All cases; the first alone where ``WDIV_EXAMPLES`` is ``few``, as in a second version of Python."""
    return list(cases)[: 1 if EXAMPLES == "few" else None]


once = pytest.mark.skipif(EXAMPLES == "few", reason="takes long: one version of Python runs it")
"""For tests of whole studies, of processes side by side, and of real images: their parts have tests of their own."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--beside-core", action="store_true", help="leave out what needs no torch, and runs without it")


def pytest_configure(config: pytest.Config) -> None:
    """Without torch, the rooms whose law allows it are tested, and only they.

    By pytest's own --ignore-glob: a hook of this file would be asked about what lies under tests/ alone.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background, which children would inherit
        signal.signal(signal.SIGINT, signal.default_int_handler)
    ignored = [f"{ROOT / path}*" for path in NEEDS_TORCH] if not HAS_TORCH else []
    if config.getoption("--beside-core"):
        ignored += map(str, runs_without_torch())
    config.option.ignore_glob = [*(config.option.ignore_glob or ()), *ignored]


def runs_without_torch() -> list[Path]:
    """The files in which no test or example asks for torch, and whose room does not need it."""
    files = [file for place in ("tests", "wdiv") for file in sorted((ROOT / place).rglob("*.py"))]
    free = [file for file in files if not file.relative_to(ROOT).as_posix().startswith(NEEDS_TORCH)]
    return [file for file in free if not ASKS_FOR_TORCH.search(file.read_text(encoding="utf-8"))]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tests run side by side; a thread each is fastest, and makes every result repeatable."""
    if HAS_TORCH:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What tests write need not outlive a power cut. That files are synced is for tests/store/test_files.py."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real weights, images and checkpoints beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no real files here: {SHARED} is absent (set WDIV_SHARED)")
    return SHARED


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A small store written with NumPy alone: two strategies, two seeds, three epochs, see :mod:`tests.fabric`."""
    return make_store(tmp_path / "store")
