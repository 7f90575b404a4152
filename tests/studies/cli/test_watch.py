"""``wdiv watch``, as it looks on: at runs that train, at those that were stopped, and where there is nothing to see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from safetensors.numpy import save_file

import wdiv
from studies.cli.screen import BLOCKS, UNMOVED, picture, sentence
from studies.cli.watch import _draw
from studies.grid.watching import Watch
from tests.conftest import ROOT, once
from tests.fabric import base_state, diverge, make_store, run_states, shorten
from tests.store.test_running_metrics import live_of, with_live
from tests.studies.cli.test_cli import MAIN, strictly
from tests.studies.cli.test_cli import wdiv as command
from tests.studies.conftest import PATIENCE
from tests.tuning.tiny import tiny_run
from wdiv.errors import BadInput
from wdiv.measure.sums import divergence_of_sums
from wdiv.store.imports import import_run
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.running_metrics import NAME, RunningMetrics, read_running_sums
from wdiv.store.seals import read_sealed, write_sealed
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import Split
from wdiv.tuning.training.run import fine_tune

FC, BN = "toynet-toy-n2-fc-auto-s0", "toynet-toy-n2-bn+fc-auto-s0"


@pytest.fixture(scope="module")
def digits() -> Split:
    return open_split("digits-5-9", 32, test_count=8)


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """Two finished runs of three epochs, fc and bn+fc, with their lines."""
    return with_live(make_store(tmp_path / "store", seeds=(0,)))


def text_of(path: Path, metric: str = "relative_l2", width: int = 120) -> str:
    return "\n".join(line.plain for line in picture(Watch(path, metric).look(), width))


class Interrupts:
    """A watcher that stops a run after an epoch, as a kill would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def batch(self, epoch: int, done: int, of: int) -> None:
        if epoch > self.after:
            raise KeyboardInterrupt

    def epoch(self, row: dict[str, Any]) -> None: ...


# --- runs that wdiv trains -----------------------------------------------------------------------------------------


@once
def test_a_run_leaves_its_divergence_as_it_trains(digits: Split, weights: Path, tmp_path: Path) -> None:
    """What the runner writes is what the epochs say, for a run that was stopped in between, too."""
    for strategy in ("fc", "bn+fc", "conv+bn+fc", "scratch"):
        spec = tiny_run(weights, strategy, epochs=3)
        if strategy == "bn+fc":
            with pytest.raises(KeyboardInterrupt):
                fine_tune(spec, digits, tmp_path, device="cpu", watcher=Interrupts(1))
        fine_tune(spec, digits, tmp_path, device="cpu")
    tree = wdiv.open(tmp_path)
    sums = {
        run.path.name: found for run in CheckpointStore.open(tmp_path) if (found := read_running_sums(run)) is not None
    }
    assert all(found.epochs == (0, 1, 2, 3) for found in sums.values())
    assert len(sums) == 4
    for reference in ("pretrained", 0):
        expected = wdiv.divergence(tree, ["gaussian", "paired"], reference)
        assert divergence_of_sums(tree, sums, ["gaussian", "paired"], reference).identical(expected)


def test_what_is_shown_is_the_mean_of_a_stage(digits: Split, weights: Path, tmp_path: Path) -> None:
    run = fine_tune(tiny_run(weights, "bn+fc"), digits, tmp_path, device="cpu")
    (seen,) = Watch(tmp_path, "relative_l2").look().runs
    moved = wdiv.stage_profile(wdiv.divergence(wdiv.open(tmp_path), "relative_l2", 0), "relative_l2")
    expected = {(row.kind, row.role, row.stage): row.value for row in moved.itertuples()}
    found = {(s.kind, s.role, s.stage): s.values[-1] for s in seen.stages if s.values[-1] == s.values[-1]}
    assert found == pytest.approx(expected, rel=1e-12)
    assert [row["test_accuracy"] for row in seen.history] == [row["test_accuracy"] for row in run.history()]


def test_no_epoch_and_no_base_is_opened(live: Path, tmp_path: Path) -> None:
    """In a process of its own, whose every file that is opened is counted."""
    code = (
        "import sys\nopened = []\n"
        "sys.addaudithook(lambda what, how: opened.append(str(how[0])) if what == 'open' else None)\n"
        "from studies.cli import cli\n"
        f"cli(['watch', {str(live)!r}, '--once', '-o', {str(tmp_path / 'x.png')!r}], standalone_mode=False)\n"
        "print(sorted({f.rsplit('/', 1)[1] for f in opened if f.startswith(sys.argv[1])}), file=sys.stderr)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(live)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert set(eval(done.stderr.splitlines()[-1])) <= {"run.json", "history.jsonl", NAME, "study.json", ".lock"}


# --- what is shown -------------------------------------------------------------------------------------------------


def test_each_stage_has_a_strip_with_the_newest_epoch_last(live: Path) -> None:
    text = text_of(live)
    assert text.splitlines()[0] == "2 of 2 runs finished"
    (gamma,) = (line for line in text.splitlines() if "bn gamma" in line)
    assert gamma.split()[:3] == ["bn", "gamma", "stem"]
    blocks, value = gamma.split()[3:]
    levels = [BLOCKS.index(block) for block in blocks]
    assert levels == sorted(levels)
    div = wdiv.divergence(wdiv.open(live), "relative_l2", 0)
    expected = div["bn/relative_l2"].sel(run=BN, epoch=3, role="gamma", layer="stem.bn")
    assert value == f"{float(expected):.3g}"
    assert "  not moved: conv weight, conv bias" in text.splitlines()
    assert "epoch 3/3, loss 0.3333, test 60.0 % (30.0 to 84.0)" in text


def test_what_has_no_value_says_why(live: Path) -> None:
    run = Run(live / "runs" / BN)
    states = run_states("bn+fc", 0, 3)
    start = states[0] | {"stem.bn.bias": np.zeros(4, np.float32), "stage.bn.bias": np.zeros(6, np.float32)}
    (run.path / NAME).unlink()
    for epoch in range(4):
        RunningMetrics(run.path, run.record, start).append(epoch, states[epoch] if epoch else start)
    text = "\n".join(line.plain for line in picture(Watch(live, "relative_l2", [BN]).look(), 100))
    assert "no value, one of them is all zeros: bn beta" in text


@pytest.mark.parametrize("metric", ["mean_shift", "gaussian_kl", "gaussian_kl_peng2020", "sign_flips", "log_std_ratio"])
def test_every_kind_of_metric_has_a_scale(live: Path, metric: str) -> None:
    text = text_of(live, metric)
    assert any(block in text for block in BLOCKS)
    assert not {"nan", "inf"} & set(text.split())


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_many_epochs_fit_the_width(tmp_path: Path, width: int) -> None:
    store = with_live(make_store(tmp_path / "s", ("bn+fc",), (0,), 60))
    lines = text_of(store, width=width).splitlines()
    strips = [line for line in lines if any(block in line for block in BLOCKS)]
    assert strips
    assert max(map(len, strips)) <= width
    (ruler,) = (line for line in lines if line.split()[:1] == ["epoch"] and "/" not in line)
    assert ("every" in ruler) == (width < 100)
    assert "60" in ruler.split()


def test_an_unmoved_stage_beside_one_that_moves_is_dots(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("bn+fc",), (0,))
    run = Run(store / "runs" / BN)
    states = run_states("bn+fc", 0, 3)
    live = RunningMetrics(run.path, run.record, states[0])
    for epoch, state in enumerate(states):
        live.append(epoch, state | {"stem.bn.weight": states[0]["stem.bn.weight"]})
    (gamma,) = (line for line in text_of(store).splitlines() if "bn gamma" in line)
    assert gamma.split()[3:] == [UNMOVED * 6, "0"]


def test_a_line_for_logs(live: Path) -> None:
    seen = {one.run: one for one in Watch(live, "l2", [FC, BN]).look().runs}
    line = sentence(seen[FC], "l2", 2)
    assert line.startswith(f"{FC}: epoch 2/3, loss 0.5, test 50.0 % (22.7 to 77.3); l2: fc weight head ")
    assert "conv" not in line
    assert sentence(seen[FC], "l2", 0) == f"{FC}: epoch 0/3, test 30.0 % (10.2 to 61.8)"


def test_the_time_left_is_that_of_the_epochs_before(tmp_path: Path) -> None:
    store = with_live(make_store(tmp_path / "s", ("fc",), (0,), 3, planned=243))
    (seen,) = Watch(store, "l2").look().runs
    assert seen.seconds_left == 120.0
    assert seen.state == "stopped"
    assert "left" not in text_of(store), "nothing goes on"
    with FileLock(store / "runs" / FC / ".lock"):
        assert "epoch 3/243, loss 0.3333, test 60.0 % (30.0 to 84.0), about 2 min 0 s left" in text_of(store)


# --- which runs ----------------------------------------------------------------------------------------------------


def test_the_running_runs_are_shown_or_the_latest(live: Path) -> None:
    for age, run in enumerate((BN, FC)):
        os.utime(live / "runs" / run / "history.jsonl", (0, 1000 - age))
    shorten(live, FC, 2)
    os.utime(live / "runs" / FC / "history.jsonl", (0, 900))
    watch = Watch(live, "l2")
    assert [seen.run for seen in watch.look().runs] == [BN]
    with FileLock(live / "runs" / FC / ".lock"):
        assert [(seen.run, seen.state) for seen in watch.look().runs] == [(FC, "running")]
    assert [(seen.run, seen.state) for seen in watch.look().runs] == [(FC, "stopped")], "once more, as it ended"
    assert [seen.run for seen in Watch(live, "l2", [FC, BN]).look().runs] == [BN, FC]


def test_a_view_is_made_anew_only_where_something_has_changed(live: Path) -> None:
    watch = Watch(live, "l2")
    view = watch.look()
    assert watch.look() is view
    shorten(live, FC, 2)
    assert Watch(live, "l2", [FC]).look() is not view


def test_it_is_over_when_everything_is(live: Path) -> None:
    assert Watch(live, "l2").look().over
    study = live / "study.json"
    write_sealed(study, read_sealed(study) | {"runs": [BN, FC, "to-come"]})
    assert not Watch(live, "l2").look().over
    assert Watch(live, "l2", [BN]).look().over
    waiting = Watch(live, "l2", ["to-come"]).look()
    assert [(seen.run, seen.state) for seen in waiting.runs] == [("to-come", "waiting")]
    assert "has not begun" in "\n".join(line.plain for line in picture(waiting, 80))


def test_a_run_that_diverged_will_not_go_on(live: Path) -> None:
    shorten(live, FC, 2)
    diverge(live, FC, "the loss is nan in epoch 3; lower the rate\n")
    view = Watch(live, "l2", [FC]).look()
    assert [(seen.state, view.over) for seen in view.runs] == [("diverged", True)]


def test_before_the_first_epoch_there_is_nothing_but_the_name(tmp_path: Path) -> None:
    store = with_live(make_store(tmp_path / "s", ("fc",), (0,), 0, planned=3))
    assert "divergence comes with the first epoch" in text_of(store)
    (store / "runs" / FC / "history.jsonl").unlink()
    view = Watch(store, "l2", [FC]).look()
    assert "before the first epoch" in "\n".join(line.plain for line in picture(view, 80))


# --- the command ---------------------------------------------------------------------------------------------------


def test_once(live: Path) -> None:
    shown = command("watch", live, "--once").stdout
    assert shown.splitlines()[0] == "2 of 2 runs finished"
    assert "fc weight" in shown


def test_json(live: Path) -> None:
    data = strictly(command("watch", live, "--once", "--json", "-m", "gaussian_kl", "--run", BN).stdout)
    assert {name: data[name] for name in ("metric", "reference", "finished", "of")} == {
        "metric": "gaussian_kl", "reference": 0, "finished": 2, "of": 2,
    }  # fmt: skip
    (run,) = data["runs"]
    assert (run["run"], run["state"], run["epochs"]) == (BN, "finished", [0, 1, 2, 3])
    assert [row["epoch"] for row in run["history"]] == [0, 1, 2, 3]
    (strip,) = (s for s in run["stages"] if (s["kind"], s["role"], s["stage"]) == ("bn", "gamma", "stage1"))
    div = wdiv.divergence(wdiv.open(live), "gaussian_kl", 0)
    assert strip["values"] == div["bn/gaussian_kl"].sel(run=BN, role="gamma", layer="stage.bn").values.tolist()


@pytest.mark.parametrize("runs", [(BN,), (BN, FC)])
def test_a_figure_is_kept_up_to_date(live: Path, tmp_path: Path, runs: tuple[str, ...]) -> None:
    out = tmp_path / "deep" / "now.png"
    command("watch", live, "-o", out, *(word for run in runs for word in ("--run", run)))
    with Image.open(out) as image:
        assert image.size[0] > 1000
    assert [file.name for file in out.parent.iterdir()] == ["now.png"]


def test_a_figure_shows_one_architecture(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", ("fc",), (0,))
    with_live(make_store(store, ("fc",), (0,), label="othernet"))
    runs = [run.path.name for run in CheckpointStore.open(store)]
    view = Watch(store, "l2", runs).look()
    assert len(view.trees) == 2
    with pytest.raises(BadInput, match="one architecture; choose runs of one with --run"):
        _draw(view, tmp_path / "x.png", chosen=True)
    _draw(view, tmp_path / "x.png", chosen=False)  # of the runs that train now, whose networks may differ
    assert (tmp_path / "x.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", "wasserstein1"], "metric 'wasserstein1' needs the weights themselves"),
        (["-m", "gaussian"], "'gaussian' is a family; give one metric"),
        (["-m", "nothing"], "unknown metric 'nothing'"),
        (["--run", "nobody"], "no run 'nobody'"),
        (["--json"], "give --once with it"),
        (["--once", "-o", "x.gif"], "must end in .png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(live: Path, words: list[str], said: str) -> None:
    result = command("watch", live, *words, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert said in line


def test_a_store_whose_runs_kept_no_lines_says_what_reads_them(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    shown = command("watch", store, "--once", code=2).output
    assert f"no {NAME}, which a run keeps from its start on as it trains; 'wdiv measure {store}'" in shown
    nothing = command("watch", tmp_path, "--once", code=2).output
    assert "not a wdiv store" in nothing
    assert "no such folder" in command("watch", tmp_path / "nowhere", code=2).output


def test_an_imported_run_has_no_training_to_watch(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    for epoch in (1, 2):
        save_file(base_state(epoch), folder / f"epoch_{epoch}.safetensors")
    import_run(folder, "epoch_{epoch}.safetensors", out=tmp_path / "store")
    shown = command("watch", tmp_path / "store", code=2).output
    assert "imported, so there is no training to watch; 'wdiv measure" in shown


# --- as it goes on -------------------------------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[tuple[Path, FileLock]]:
    """A run of six epochs that has finished one, and its lock, which is held."""
    store = make_store(tmp_path / "s", ("bn+fc",), (0,), 6)
    run = Run(store / "runs" / BN)
    live_of(run, 6)
    lines = {name: (run.path / name).read_text().splitlines(keepends=True) for name in ("history.jsonl", NAME)}
    (tmp_path / "lines.json").write_text(json.dumps(lines))
    for name, rows in lines.items():
        (run.path / name).write_text("".join(rows[:2]))
    lock = FileLock(run.path / ".lock")
    with lock:
        yield store, lock


def goes_on(store: Path, epoch: int) -> None:
    """The run ends an epoch: first its line, half of it a moment sooner, then its history."""
    folder, lines = store / "runs" / BN, json.loads((store.parent / "lines.json").read_text())
    for part in (lines[NAME][epoch][:500], lines[NAME][epoch][500:]):
        with (folder / NAME).open("a") as out:
            out.write(part)
        time.sleep(0.05)
    temporary = folder / "history.new"
    temporary.write_text("".join(lines["history.jsonl"][: epoch + 1]))
    temporary.replace(folder / "history.jsonl")


def test_on_a_pipe_each_epoch_is_a_line_until_all_is_finished(begun: tuple[Path, FileLock]) -> None:
    store, lock = begun
    words = [*MAIN, "watch", str(store), "--every", "0.1", "-o", str(store.parent / "now.png")]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline()]
    for epoch in (2, 3, 4, 5):
        goes_on(store, epoch)
        if epoch % 2:
            time.sleep(0.2)
    lock.release()
    goes_on(store, 6)
    rest, errors = process.communicate(timeout=PATIENCE)
    lines += rest.splitlines(keepends=True)
    assert (process.returncode, errors) == (0, "")
    assert [line.split(", ")[0] for line in lines] == [f"{BN}: epoch {n}/6" for n in range(1, 7)]
    assert all("; relative_l2: bn gamma stem " in line for line in lines), "each with its values"
    assert (store.parent / "now.png").exists()


def test_ctrl_c_ends_it_quietly(begun: tuple[Path, FileLock]) -> None:
    process = subprocess.Popen(
        [*MAIN, "watch", str(begun[0]), "--every", "30"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert "epoch 1/6" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals of this kind here")
def test_on_a_terminal_the_view_is_kept_in_place(begun: tuple[Path, FileLock]) -> None:
    store, lock = begun
    ours, theirs = os.openpty()
    settings = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    process = subprocess.Popen([*MAIN, "watch", str(store), "--every", "0.1"], cwd=ROOT, stdout=theirs, env=settings)
    os.close(theirs)
    shown = b""
    while b"epoch 1/6" not in shown:
        shown += os.read(ours, 1 << 16)
    lock.release()
    for epoch in range(2, 7):
        goes_on(store, epoch)
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.wait(PATIENCE) == 0
    text = shown.decode()
    assert "\x1b[1A" in text, "the cursor goes up again"
    last = text[text.rindex("runs finished") :]
    assert "epoch 6/6" in last
    assert BLOCKS[-1] in last
    assert "\x1b[38;5;" in last, "in colours"
