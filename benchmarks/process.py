"""Each side of a comparison in a process of its own, so that its time and its peak of memory are its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "alone", "best", "peak", "timed"]

ROOT = Path(__file__).parent.parent


def alone(module: str, *arguments: object) -> dict[str, Any]:
    """Run ``python -m MODULE ARGUMENTS`` and return the JSON object on the last line that it prints."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peak() -> float:
    """The most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def best(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest of several."""
    return min(timed(work) for _ in range(times))
