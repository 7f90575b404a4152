"""Do the tests notice a fault? Small faults, mutants, go into a copy of the sources one at a time; tests are run on it.

    python -m benchmarks.mutants pick TREE -n 150 --seed 0 -o mutants.json
    python -m benchmarks.mutants cover TREE -o cover.json    which tests run which line, and how long they take
    python -m benchmarks.mutants run TREE mutants.json --cover cover.json -o result.jsonl --jobs 2
    python -m benchmarks.mutants carry mutants.json OLDTREE NEWTREE --map map.json -o carried.json

TREE is a checkout; it is copied, and stays as it is. ``run`` writes a line of JSON for each mutant as it ends, and
leaves out those that have one. A mutant is ``file``, ``line``, the ``original`` lines from there on and what stands
for them, ``mutated``; it can be edited by hand. In a run, this file is also a plugin of pytest that writes a log.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import io
import itertools
import json
import os
import queue
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOMS = {  # name -> (share of the mutants, paths)
    "numerics": (20, ["wdiv/numerics"]),
    "metrics": (20, ["wdiv/metrics"]),
    "measure": (25, ["wdiv/measure"]),
    "store": (40, ["wdiv/store"]),
    "freeze": (15, ["wdiv/tuning/freeze.py"]),
    "loop": (15, ["wdiv/tuning/loop.py"]),
    "verdicts": (15, ["studies/verdicts.py", "studies/pairing.py"]),
}
PER_FUNCTION = 4
SKIPPED_KEYWORDS = {"strict", "encoding", "stacklevel", "daemon", "cache"}  # no behaviour that a test could be after
LEFT_BEHIND = (".git", ".tox", ".hypothesis", ".mypy_cache", ".ruff_cache", ".coverage")
MEMORY = 10 * 2**30
Mutant = dict[str, Any]
_spent = sum(os.times()[:4])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

# --- pick ------------------------------------------------------------------------------------------------------------

COMPARE = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
WEIGHTS = {"return": 0.4, "not": 0.5, "call": 0.7, "boundary": 1.5}
"""How often an operator is drawn, 1 where it is not named: what breaks at once tells little."""
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift,
}  # fmt: skip


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _with(node: Any, **fields: Any) -> Any:
    new = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node: Any, in_default: bool) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """(operator, the node to replace, what replaces it)"""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            if type(op) in COMPARE:
                ops = [*node.ops[:i], COMPARE[type(op)](), *node.ops[i + 1 :]]
                yield "boundary" if isinstance(op, ORDER) else "equality", node, _with(node, ops=ops)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in ARITHMETIC:
        sides = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.value,)
        if not any(_is_text(n) for side in sides for n in ast.walk(side)):  # of a sum of texts nothing can be made
            yield "arithmetic", node, _with(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield "and/or", node, _with(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield "not" if isinstance(node.op, ast.Not) else "arithmetic", node, node.operand
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield "default" if in_default else "constant", node, _with(node, value=not node.value)
        elif isinstance(node.value, (int, float)):
            yield "default" if in_default else "constant", node, _with(node, value=node.value + 1)
        elif isinstance(node.value, str) and in_default:
            yield "default", node, _with(node, value="mutant")
    elif isinstance(node, ast.Return) and not (node.value is None or getattr(node.value, "value", "") is None):
        yield "return", node, ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield "call", node, ast.Pass()
    elif isinstance(node, (ast.Break, ast.Continue)):
        yield "break/continue", node, ast.Continue() if isinstance(node, ast.Break) else ast.Break()
    tests = [node.test] if isinstance(node, (ast.If, ast.While, ast.IfExp)) else getattr(node, "ifs", [])
    for test in tests:
        same = isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and not isinstance(test.ops[0], ORDER))
        if not same:  # or it is what another operator makes
            yield "condition", test, ast.UnaryOp(ast.Not(), test)


def found(node: Any, names: tuple[str, ...] = (), in_default: bool = False) -> Iterator[tuple[str, str, Any, Any]]:
    """(function, operator, node, its replacement) for all that may be mutated below a node."""
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Assign) and (ast.unparse(node.targets[0]) == "__all__" or (not names and _is_alias(node))):
        return
    if isinstance(node, ast.keyword) and node.arg in SKIPPED_KEYWORDS:
        return
    for operator, old, new in variants(node, in_default):
        yield ".".join(names), operator, old, new
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, (*FUNCTIONS, ast.Lambda)):
        if not isinstance(node, ast.Lambda):
            names = (*names, node.name)
            for default in filter(None, (*node.args.defaults, *node.args.kw_defaults)):
                yield from found(default, names, True)
        children = node.body if isinstance(node.body, list) else [node.body]
    elif isinstance(node, ast.ClassDef):
        names, children = (*names, node.name), node.body
    elif isinstance(node, ast.AnnAssign):
        children = [node.value] if node.value else []
    for child in children:
        yield from found(child, names, in_default)


def _is_alias(node: ast.Assign) -> bool:
    return isinstance(node.value, (ast.Subscript, ast.BinOp)) and not any(
        isinstance(n, ast.Constant) and isinstance(n.value, (int, float)) for n in ast.walk(node.value)
    )


def patched(source: str, tree: ast.Module, old: Any, new: ast.AST) -> str | None:
    """The source with a node's text replaced, and all else as it was; None where that is not the tree wanted."""
    wanted, place = copy.deepcopy((tree, old))

    class Swap(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return new if node is place else self.generic_visit(node)

    dumped, data = ast.dump(Swap().visit(wanted)), source.encode()
    starts = [0]
    for row in data.splitlines(keepends=True):
        starts.append(starts[-1] + len(row))
    start, end = starts[old.lineno - 1] + old.col_offset, starts[old.end_lineno - 1] + old.end_col_offset
    for text in (ast.unparse(new), f"({ast.unparse(new)})"):
        result = (data[:start] + text.encode() + data[end:]).decode()
        if ast.dump(ast.parse(result)) == dumped:
            return result
    return None


def pick(tree: Path, number: int, seed: int) -> list[Mutant]:
    """In each room an operator is drawn, then a place for it; never two on a line."""
    rng, total, mutants = random.Random(seed), sum(share for share, _ in ROOMS.values()), []
    for room, (share, paths) in ROOMS.items():
        files = [f for p in paths for f in (sorted((tree / p).rglob("*.py")) if (tree / p).is_dir() else [tree / p])]
        places: dict[str, list[Any]] = {}
        for file in files:
            source = file.read_text("utf-8")
            parsed = ast.parse(source)
            for function, operator, old, new in found(parsed):
                places.setdefault(operator, []).append((file, source, parsed, function, old, new))
        count, lines, functions = 0, set(), Counter()
        while count < round(number * share / total) and any(places.values()):
            drawn = sorted(name for name, left in places.items() if left)
            operator = rng.choices(drawn, [WEIGHTS.get(name, 1.0) for name in drawn])[0]
            file, source, parsed, function, old, new = places[operator].pop(rng.randrange(len(places[operator])))
            text = None if (file, old.lineno) in lines else patched(source, parsed, old, new)
            if text is None or functions[file, function] >= PER_FUNCTION:
                continue
            before, after = source.split("\n"), text.split("\n")
            last = old.end_lineno + len(after) - len(before)
            mutants.append({
                "id": f"{room}-{count + 1:02}", "room": room, "file": file.relative_to(tree).as_posix(),
                "function": function, "line": old.lineno, "column": old.col_offset, "operator": operator,
                "original": "\n".join(before[old.lineno - 1 : old.end_lineno]),
                "mutated": "\n".join(after[old.lineno - 1 : last]),
            })  # fmt: skip
            lines.add((file, old.lineno))
            functions[file, function] += 1
            count += 1
    return mutants


# --- running pytest --------------------------------------------------------------------------------------------------


def pytest_runtest_logstart(nodeid: str) -> None:
    _log({"start": nodeid})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: Any) -> Generator[None, Any, Any]:
    """A test costs the processor's time, its children's with it, which hardly depends on what else a machine does."""
    global _spent
    report = yield
    before, _spent = _spent, sum(os.times()[:4])
    report.cpu = min(_spent - before, call.duration * 16)
    return report


def pytest_runtest_logreport(report: Any) -> None:
    _log({"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.cpu, 4)})


def _log(entry: dict[str, Any]) -> None:
    if "MUTANTS_LOG" in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(os.environ["MUTANTS_LOG"], "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")


class Copy:
    """A copy of a tree, to be changed and tested; a context manager that removes it."""

    def __init__(self, tree: Path) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="mutants-"))
        self.tree, self.log = self.place / "tree", self.place / "log"
        shutil.copytree(tree, self.tree, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        shutil.copy(__file__, self.place / "mutants_plugin.py")

    def __enter__(self) -> Copy:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.place, ignore_errors=True)

    def pytest(self, options: Iterable[str], limit: float | None = None, *, write: bool, fresh: bool) -> int | None:
        """Exit status, None after a timeout; ``log`` then holds what was tested.

        limit: seconds of the processor, which do not depend on what else a machine does; four times that by the clock.
        write: bytecode may be kept, as of a tree without a mutant. fresh: nothing compiled by numba may be used.
        """
        self.log.unlink(missing_ok=True)
        for name in ("tmp", "numba") if fresh else ("tmp",):
            shutil.rmtree(self.place / name, ignore_errors=True)
        env = os.environ | {
            "PYTHONPATH": f"{self.tree}{os.pathsep}{self.place}", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(self.place / "numba"), "MUTANTS_LOG": str(self.log),
            "PYTHONDONTWRITEBYTECODE": "" if write else "1",
        }  # fmt: skip
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutants_plugin"]
        bounds = [(resource.RLIMIT_DATA, MEMORY), *([(resource.RLIMIT_CPU, round(limit))] if limit else [])]
        with (self.place / "output").open("w") as output:
            process = subprocess.Popen(
                [*command, f"--basetemp={self.place / 'tmp'}", *options], cwd=self.tree, env=env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                preexec_fn=lambda: [resource.setrlimit(what, (most, most + 9)) for what, most in bounds],
            )  # fmt: skip
            try:
                status = process.wait(limit and 4 * limit)
                return None if status == -signal.SIGXCPU else status
            except subprocess.TimeoutExpired:
                return None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
                process.wait()

    def output(self) -> str:
        return (self.place / "output").read_text("utf-8", errors="replace")

    def entries(self) -> list[dict[str, Any]]:
        return [json.loads(row) for row in self.log.read_text("utf-8").splitlines()] if self.log.exists() else []


# --- cover -----------------------------------------------------------------------------------------------------------


def cover(tree: Path, out: Path, jobs: int, options: list[str]) -> None:
    """Tests that pass, their seconds, and for each line of each file the tests that run it, or whose set-up does."""
    import coverage

    with Copy(tree) as made:
        settings = made.place / "coveragerc"
        settings.write_text("[run]\nsource = .\nomit =\n    tests/*\n    benchmarks/*\n")
        spread = ["-n", str(jobs), "--dist", "loadfile", "--durations=40"] if jobs > 1 else []
        wanted = ["--cov", f"--cov-config={settings}", "--cov-context=test", "--cov-report="]
        made.pytest([*spread, *wanted, *options], write=True, fresh=True)
        sys.stderr.write(made.output()[-6000:])
        seconds: Counter[str] = Counter()
        failed = set()
        for entry in made.entries():
            if "test" in entry:
                seconds[entry["test"]] += entry["seconds"]
                if entry["outcome"] != "passed":
                    failed.add(entry["test"])
        tests = sorted(seconds.keys() - failed)
        number = {test: i for i, test in enumerate(tests)}
        data = coverage.CoverageData(str(made.tree / ".coverage"))
        data.read()
        lines: dict[str, dict[str, dict[int, list[int]]]] = {"run": {}, "setup": {}}
        for file in filter(os.path.exists, data.measured_files()):  # a package may name sources that are not here
            name = Path(file).relative_to(made.tree.resolve()).as_posix()
            for line, contexts in data.contexts_by_lineno(file).items():
                for context in contexts:
                    test, _, phase = context.rpartition("|")
                    if test in number and phase in lines:
                        lines[phase].setdefault(name, {}).setdefault(line, []).append(number[test])
        kept = [round(seconds[test], 4) for test in tests]
        out.write_text(
            json.dumps({"tests": tests, "seconds": kept, "left_out": sorted(failed), "lines": lines}), "utf-8"
        )


class Reach:
    """Which tests to run for a mutant, in what order."""

    def __init__(self, tree: Path, covered: dict[str, Any]) -> None:
        self.tree, self.tests = tree, covered["tests"]
        self.seconds = dict(zip(self.tests, covered["seconds"], strict=True))
        self.lines = {
            phase: {file: {int(k): v for k, v in rows.items()} for file, rows in files.items()}
            for phase, files in covered["lines"].items()
        }

    def _at(self, phase: str, file: str, lines: Iterable[int]) -> set[str]:
        rows = self.lines[phase].get(file, {})
        return {self.tests[i] for line in lines for i in rows.get(line, ())}

    def of(self, mutant: Mutant) -> tuple[str, set[str]]:
        """How the tests were found, and the tests: those that run the line; or else its function; or else its file.

        A set-up that runs the line may be made for every test of its file. Lines of a compiled function are seen by
        nobody: what counts are the lines that name its module.
        """
        file, path = mutant["file"], self.tree / mutant["file"]
        first, last = mutant["line"], mutant["line"] + mutant["original"].count("\n")
        tree = ast.parse(path.read_text("utf-8"))
        around = [
            n for n in ast.walk(tree) if isinstance(n, (ast.stmt, ast.ExceptHandler))
            and n.lineno <= first and last <= (n.end_lineno or 0)
        ]  # fmt: skip
        functions = [n for n in around if isinstance(n, FUNCTIONS)]
        if any("jit" in ast.unparse(d) for f in functions for d in f.decorator_list):
            tests = {t for t in self.tests if room(t) == room(file)}
            for other in self.lines["run"]:
                rows = enumerate((self.tree / other).read_text("utf-8").splitlines(), 1)
                tests |= self._at("run", other, [i for i, row in rows if re.search(rf"\b{path.stem}\b", row)])
            return "compiled", tests
        ways: list[tuple[str, Iterable[int]]] = [("file", range(1, 10_000))]
        if functions:
            inner = min(functions, key=lambda n: (n.end_lineno or 0) - n.lineno)
            ways.insert(0, ("function", range(inner.body[0].lineno, (inner.end_lineno or 0) + 1)))
        inner = min(around, key=lambda n: ((n.end_lineno or 0) - n.lineno, -n.col_offset))
        if functions and not isinstance(inner, (*FUNCTIONS, ast.ClassDef)):
            body = getattr(inner, "body", None)  # of a compound statement the mutant is in the head
            ways.insert(0, ("line", range(inner.lineno, body[0].lineno if body else (inner.end_lineno or 0) + 1)))
        for way, span in ways:
            tests, set_up = self._at("run", file, span), self._at("setup", file, span)
            files = {test.partition("::")[0] for test in set_up}
            tests |= {test for test in self.tests if test.partition("::")[0] in files and room(test) == room(file)}
            if tests | set_up:
                return way, tests | set_up
        return "nothing", set()

    def order(self, tests: set[str], file: str, own: float, other: float) -> tuple[list[str], bool]:
        """The room's own first, the cheapest files and tests first, within budgets of seconds; and whether some do
        not fit. A file's tests stay together, for the sake of what they share."""
        chosen: list[str] = []
        cut = False
        for mine, budget in ((True, own), (False, other)):
            part, costs = [], Counter[str]()
            for test in sorted(tests, key=lambda t: (self.seconds[t], t)):
                if (room(test) == room(file)) == mine:
                    if budget < self.seconds[test]:
                        cut = True
                        continue
                    budget -= self.seconds[test]
                    costs[test.partition("::")[0]] += self.seconds[test]
                    part.append(test)
            homes = {test: test.partition("::")[0] for test in part}
            chosen += sorted(part, key=lambda t: (costs[homes[t]], homes[t], self.seconds[t], t))
        return chosen, cut


def room(path: str) -> str:
    """``wdiv/store/files.py``, and what tests it in ``tests/store`` -> ``store``."""
    folders = path.partition("::")[0].split("/")[:-1]
    return next((f for f in folders if f not in ("wdiv", "tests")), "")


# --- run -------------------------------------------------------------------------------------------------------------


def run(tree: Path, mutants: list[Mutant], reach: Reach, results: Path, jobs: int, own: float, other: float) -> None:
    done = {json.loads(row)["id"] for row in results.read_text("utf-8").splitlines()} if results.exists() else set()
    waiting: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in mutants:
        mutated((tree / mutant["file"]).read_text("utf-8"), mutant)  # an error of the list comes before any work
        if mutant["id"] not in done:
            waiting.put(mutant)
    lock = threading.Lock()

    def work() -> None:
        with Copy(tree) as made:
            made.pytest(["--collect-only"], write=True, fresh=False)  # compiles what stays as it is
            while not waiting.empty():
                with contextlib.suppress(queue.Empty):
                    mutant = waiting.get_nowait()
                    result = tried(made, mutant, reach, own, other)
                    with lock, results.open("a", encoding="utf-8") as file:
                        file.write(json.dumps(result) + "\n")
                    sys.stderr.write(f"{result['id']} {result['status']} {result['seconds']} {result['killer']}\n")

    threads = [threading.Thread(target=work) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    killers = {json.loads(row)["killer"] for row in results.read_text("utf-8").splitlines()} & set(reach.tests)
    with Copy(tree) as made:  # a test that fails without a mutant has killed nobody
        (made.place / "tests").write_text("\n".join(sorted(killers)))
        made.pytest([f"@{made.place / 'tests'}"], write=True, fresh=True)
        false = sorted({e["test"] for e in made.entries() if e.get("outcome") == "failed"})
    sys.stderr.write(f"{len(killers)} killers run without a mutant; failed: {false or 'none'}\n")


def tried(made: Copy, mutant: Mutant, reach: Reach, own: float, other: float) -> dict[str, Any]:
    """What becomes of a mutant."""
    way, tests = reach.of(mutant)
    chosen, cut = reach.order(tests, mutant["file"], own, other)
    seconds = sum(reach.seconds[test] for test in chosen)
    result = {key: mutant[key] for key in ("id", "file", "function", "line")}
    result |= {"found_by": way, "reaching": len(tests), "chosen": len(chosen), "cut": cut}
    if not chosen:
        return result | {"status": "survived", "killer": None, "seconds": 0.0}
    (made.place / "tests").write_text("\n".join(chosen))
    file = made.tree / mutant["file"]
    source, times = file.read_bytes(), file.stat()
    compiled = any("njit" in beside.read_text("utf-8") for beside in file.parent.glob("*.py"))
    start = time.monotonic()
    try:
        file.write_text(mutated(source.decode(), mutant), "utf-8")
        status = made.pytest(["-x", f"@{made.place / 'tests'}"], 60 + 4 * seconds, write=False, fresh=compiled)
    finally:
        file.write_bytes(source)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    entries = made.entries()
    failed = [entry["test"] for entry in entries if entry.get("outcome") == "failed"]
    killer = failed[0] if failed else next((e["start"] for e in reversed(entries) if "start" in e), "collection")
    word = {0: "survived", None: "timeout"}.get(status, "killed")
    result |= {"status": word, "killer": killer if word != "survived" else None}
    if word != "survived" and not failed:
        result["output"] = made.output()[-600:]
    return result | {"ran": sum("start" in entry for entry in entries), "seconds": round(time.monotonic() - start, 1)}


def mutated(source: str, mutant: Mutant) -> str:
    rows, old = source.split("\n"), mutant["original"].split("\n")
    at = mutant["line"] - 1
    if rows[at : at + len(old)] != old:
        raise SystemExit(f"{mutant['id']}: {mutant['file']}:{mutant['line']} is another line by now")
    return "\n".join([*rows[:at], *mutant["mutated"].split("\n"), *rows[at + len(old) :]])


# --- carry -----------------------------------------------------------------------------------------------------------

Token = tuple[str, tuple[int, int], tuple[int, int]]
LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT, tokenize.ENDMARKER}


def tokens(source: str, names: dict[str, str], first: int = 1, last: int = 10**6) -> list[Token]:
    """The tokens of some lines, names by their new names; without what a change of layout adds or takes away."""
    kept: list[Token] = []
    for kind, text, start, end, _ in tokenize.generate_tokens(io.StringIO(source).readline):
        if kind not in LAYOUT and first <= start[0] and end[0] <= last:
            if text in ")]}" and kept and kept[-1][0] == ",":
                kept.pop()
            kept.append((re.sub(r"[^\W\d]\w*", lambda m: names.get(m[0], m[0]), text), start, end))
    return kept


def functions_of(source: str) -> dict[str, list[tuple[int, int]]]:
    """Qualified name -> first and last lines. The module itself is ''."""
    spans: dict[str, list[tuple[int, int]]] = {"": [(1, source.count("\n") + 1)]}

    def look(node: ast.AST, names: tuple[str, ...]) -> None:
        for child in ast.iter_child_nodes(node):
            inner = names
            if isinstance(child, (*FUNCTIONS, ast.ClassDef)):
                inner = (*names, child.name)
                spans.setdefault(".".join(inner), []).append((child.lineno, child.end_lineno or 0))
            look(child, inner)

    look(ast.parse(source), ())
    return spans


def places(wanted: list[str], source: str, names: dict[str, str], spans: list[tuple[int, int]]) -> list[list[Token]]:
    size, hits = len(wanted), []
    for first, last in spans:
        row = tokens(source, names, first, last)
        hits += [row[i : i + size] for i in range(len(row) - size + 1) if [t[0] for t in row[i : i + size]] == wanted]
    return hits


def carried(mutant: Mutant, old: Path, new: Path, files: dict[str, Any], names: dict[str, str]) -> Mutant | None:
    """The mutant in another tree: by its file and function under their new names, or else by its function's last name
    alone, wherever that is; and by the tokens of its lines. None where it is not found, or more than once."""
    before = (old / mutant["file"]).read_text("utf-8")
    first, rows = mutant["line"], mutant["original"].count("\n")
    was = tokens(before, names, first, first + rows)
    end = first + mutant["mutated"].count("\n")
    becomes = [t[0] for t in tokens(mutated(before, mutant), names, first, end)]
    wanted = [t[0] for t in was]
    same = _alike(wanted, becomes)
    tail = _alike(wanted[same:][::-1], becomes[same:][::-1])
    function = ".".join(names.get(part, part) for part in mutant["function"].split("."))
    spans = functions_of(before)[mutant["function"]]
    starts = [hit[0][1] for hit in places(wanted, before, names, spans)]
    at = files.get(mutant["file"], mutant["file"])
    homes = [new / name for name in ([at] if isinstance(at, str) else at) if (new / name).exists()]
    hits = _hits(homes, wanted, lambda name: name == function)
    if len(hits) == len(starts):
        hits = [hits[starts.index(was[0][1])]]
    elif not hits and function:
        everywhere = [f for f in new.rglob("*.py") if not {"tests", ".tox"} & set(f.relative_to(new).parts)]
        hits = _hits(everywhere, wanted, lambda name: name.split(".")[-1] == function.split(".")[-1])
    if len(hits) != 1:
        return None
    file, found_name, hit = hits[0]
    lines = file.read_text("utf-8").split("\n")
    middle = hit[same : len(hit) - tail]
    (top, left), (bottom, right) = (middle[0][1], middle[-1][2]) if middle else (hit[same][1], hit[same][1])
    text = " ".join(becomes[same : len(becomes) - tail]) + ("" if middle else " ")
    original = "\n".join(lines[top - 1 : bottom])
    cut = len("\n".join([*lines[top - 1 : bottom - 1], lines[bottom - 1][:right]]))
    return mutant | {
        "file": file.relative_to(new).as_posix(), "function": found_name, "line": top, "column": left,
        "original": original, "mutated": original[:left] + text + original[cut:],
    }  # fmt: skip


def _alike(a: list[str], b: list[str]) -> int:
    """How many elements are the same from the start on."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def _hits(files: Iterable[Path], wanted: list[str], is_it: Any) -> list[tuple[Path, str, list[Token]]]:
    return [
        (file, name, hit)
        for file in files
        for source in [file.read_text("utf-8")]
        for name, spans in functions_of(source).items() if is_it(name)
        for hit in places(wanted, source, {}, spans)
    ]  # fmt: skip


# --- the command line ------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("pick")
    one.add_argument("tree", type=Path)
    one.add_argument("-n", type=int, default=150)
    one.add_argument("--seed", type=int, default=0)
    one = commands.add_parser("cover")
    one.add_argument("tree", type=Path)
    one.add_argument("--option", action="append", default=[], help="for pytest, such as --deselect=TEST")
    one = commands.add_parser("run")
    one.add_argument("tree", type=Path)
    one.add_argument("mutants", type=Path)
    one.add_argument("--cover", type=Path, required=True)
    one.add_argument("--own", type=float, default=90, help="seconds for tests of a mutant's own room, at most")
    one.add_argument("--other", type=float, default=60, help="seconds for other tests, at most")
    one = commands.add_parser("carry")
    one.add_argument("mutants", type=Path)
    one.add_argument("old", type=Path)
    one.add_argument("new", type=Path)
    one.add_argument("--map", type=Path, required=True, help='{"files": {old: new or [new, …]}, "names": {old: new}}')
    for command in commands.choices.values():
        command.add_argument("-o", "--out", type=Path, required=True)
        command.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.command == "pick":
        given.out.write_text(json.dumps(pick(given.tree, given.n, given.seed), indent=1, ensure_ascii=False), "utf-8")
    elif given.command == "cover":
        cover(given.tree, given.out, given.jobs, given.option)
    elif given.command == "run":
        reach = Reach(given.tree, json.loads(given.cover.read_text("utf-8")))
        mutants = json.loads(given.mutants.read_text("utf-8"))
        run(given.tree, mutants, reach, given.out, given.jobs, given.own, given.other)
    else:
        changes = {"files": {}, "names": {}} | json.loads(given.map.read_text("utf-8"))
        mutants = json.loads(given.mutants.read_text("utf-8"))
        kept = [carried(m, given.old, given.new, changes["files"], changes["names"]) for m in mutants]
        lost = [m for m, k in zip(mutants, kept, strict=True) if k is None]
        given.out.write_text(json.dumps([k for k in kept if k], indent=1, ensure_ascii=False), "utf-8")
        for m in lost:
            sys.stdout.write(f"not found: {m['id']} {m['file']}:{m['line']} {m['function']}\n{m['original']}\n")
        sys.stdout.write(f"{len(kept) - len(lost)} carried, {len(lost)} not found\n")


if __name__ == "__main__":
    main()
