"""``python -m benchmarks [NAME …] [--write]``: run comparisons, print them, and write their parts of ``RESULTS.md``."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TRAINING = ("fc", "bn@stage4+fc", "conv+bn+fc", "conv+bn+fc:bf16", "grid")
NAMES = (
    "moments",
    "series",
    "pair",
    "cka",
    "opening",
    "svm",
    "logme",
    *TRAINING,
    "noise",
    "intervals",
    "folds",
    "verdicts",
    "checking",
    "outputs",
    "predicting",
)
PACKAGES = (
    "numpy", "numba", "scikit-learn", "torch", "torchvision", "xarray", "weightwatcher", "torch_cka", "timm", "fastai",
    "lightning",
)  # fmt: skip
HEAD = """# Benchmarks

wdiv beside its peers: the same work, in one run, each side in a process of its own. `ratio` is their time to ours:
above 1, wdiv is faster. MB is the peak of the whole process (for CKA, above what the networks take). Parts with a
table of their own are simulations: what a test or an interval promises, and what it does. `tox -e bench` makes this
file anew, `tox -e bench -- NAME` one part of it.
"""
RESULTS = Path(__file__).with_name("RESULTS.md")


def main(arguments: Sequence[str]) -> int:
    names = [a for a in arguments if not a.startswith("-")] or list(NAMES)
    unknown = [name for name in names if name not in NAMES]
    if unknown or any(a.startswith("-") and a != "--write" for a in arguments):
        print(f"python -m benchmarks [{'|'.join(NAMES)}]… [--write]", file=sys.stderr)  # noqa: T201
        return 2
    for name in names:
        lines = []
        for told in _lines(name):
            lines.append(told)
            print(told, flush=True)  # noqa: T201
        if "--write" in arguments:
            RESULTS.write_text(with_part(RESULTS.read_text("utf-8"), name, lines), "utf-8")
    return 0


def _lines(name: str) -> Iterator[str]:
    """Of its table."""
    module = importlib.import_module("benchmarks.training.table" if name in TRAINING else f"benchmarks.{name}")
    if hasattr(module, "table"):
        yield from module.table()
        return
    yield from TITLE
    yield from map(line, module.rows([name]) if name in TRAINING else module.compare())


def with_part(text: str, name: str, lines: Sequence[str]) -> str:
    """The file's text with a benchmark's part made anew, in the order of the names."""
    found = parts(text) | {name: "\n".join(["", machine(), "", *lines])}
    return HEAD + "".join(f"\n## {key}\n{found[key]}\n" for key in NAMES if key in found)


def parts(text: str) -> dict[str, str]:
    """What follows each heading."""
    headed = (part.split("\n", 1) for part in re.split(r"^## ", text, flags=re.M)[1:])
    return {name: rest.rstrip() for name, rest in headed}


TITLE = (
    "| work | wdiv | MB | beside | its time | MB | ratio | |",
    "| --- | ---: | ---: | --- | ---: | ---: | ---: | --- |",
)


def line(row: dict[str, Any]) -> str:
    def number(name: str, spell: str) -> str:
        return "" if row.get(name) is None else format(row[name], spell)

    cells = [
        row["work"], f"{_seconds(row['ours_s'])}", number("ours_MB", ".0f"), row.get("theirs", ""),
        _seconds(row.get("theirs_s")), number("theirs_MB", ".0f"), number("ratio", ".2g"), row.get("remark", ""),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = found[0] if found else model
    have = [f"{name} {_version(name)}" for name in PACKAGES if _version(name)]
    return f"{date.today()}, {cores} cores of {model}, Python {platform.python_version()}, {', '.join(have)}."


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
