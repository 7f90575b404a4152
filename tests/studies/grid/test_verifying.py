"""Nothing damaged is believed; what can be made again is, and is what it was."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.bit_flips import flipped, flips, problems, seen
from studies.grid.progress import Progress
from studies.grid.runner import run_grid
from studies.grid.state import states
from studies.grid.verifying import repair
from studies.report.finish import conclude
from studies.spec.registry import load
from studies.spec.study import Study, override
from tests.fabric import edit_record
from tests.studies.cli.test_cli import wdiv
from tests.studies.conftest import MOBILENET, TOML
from tests.tuning.tiny import contents, write_weights
from wdiv.cache.pairs import measured_pairs
from wdiv.errors import Damaged, LeftOut
from wdiv.store.reader import CheckpointStore, Run, without_damaged, write_lock
from wdiv.tuning.training.interrupt import Stopped
from wdiv.tuning.training.run import Silent


@pytest.fixture(scope="module")
def whole(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """A study with a baseline, trained, measured and concluded; one of its runs then stopped."""
    folder = tmp_path_factory.mktemp("verifying")
    (folder / "small.toml").write_text(TOML.format(model=MOBILENET, weights=weights))
    study = override(load(str(folder / "small.toml")), {"seeds": [0, 1], "strategies": ["bn+fc"], "baselines": ["ncm"]})
    out, _ = run_grid(study, folder / "store", device="cpu")
    conclude(study, out)
    first, second = (run.record.id for run in CheckpointStore.open(out))
    measured_pairs(out, [(first, second)], "l2")
    return study, out


@pytest.fixture
def store(whole: tuple[Study, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole[1], tmp_path / "store"))


def some(store: Path, pattern: str) -> Path:
    return sorted(store.glob(pattern))[0]


def flip(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(flipped(content, 8 * (len(content) - 9) + 3))


def flip_origin(file: Path) -> None:
    """A bit of what is said of the tensors, and of none of them."""
    content = file.read_bytes()
    file.write_bytes(flipped(content, 8 * (content.index(b"logits of") + 3)))


def test_no_bit_of_any_file_is_believed(whole: tuple[Study, Path]) -> None:
    """500 of them on a larger store: ``python -m benchmarks.bit_flips``."""
    found = [(str(file), bit, what) for _, file, bit, what in flips(whole[1], 22, seed=0, check=None)]
    assert [one for one in found if one[2]] == []
    assert len({Path(file).suffix for file, *_ in found}) >= 5


def without_last_line(file: Path) -> str:
    return "".join(file.read_text().splitlines(keepends=True)[:-1])


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a bit of an epoch": ("runs/*/epochs/0001.safetensors", flip),
    "an epoch lost": ("runs/*/epochs/0001.safetensors", Path.unlink),
    "a bit of the last epoch": ("runs/*/epochs/0002.safetensors", flip),
    "a bit of the base": ("bases/*.safetensors", flip),
    "the base lost": ("bases/*.safetensors", Path.unlink),
    "a bit of the record": ("runs/*/run.json", flip),
    "a bit of the history": ("runs/*/history.jsonl", flip),
    "a bit of predictions": ("runs/*/predictions/0001.safetensors", flip),
    "the head of predictions": ("runs/*/predictions/0001.safetensors", flip_origin),
    "predictions lost": ("runs/*/predictions/0002.safetensors", Path.unlink),
    "a bit of a list of images": ("images/*.json", flip),
    "a list of images lost": ("images/*.json", Path.unlink),
    "a bit of what was measured": ("measures.nc", flip),
    "a bit of the pairs": ("pairs.nc", flip),
    "a bit of the results": ("results.nc", flip),
    "a bit of the table": ("results.csv", flip),
    "a bit of what one looks on by": ("runs/*/live.jsonl", flip),
    "the record lost": ("runs/*/run.json", Path.unlink),
    "the history lost": ("runs/*/history.jsonl", Path.unlink),
    "the history emptied": ("runs/*/history.jsonl", lambda file: file.write_text("")),
    "the end of the history lost": ("runs/*/history.jsonl", lambda file: file.write_text(without_last_line(file))),
    "the results lost": ("results.nc", Path.unlink),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_can_be_made_again_is(store: Path, whole: tuple[Study, Path], what: str) -> None:
    pattern, damage = DAMAGE[what]
    damage(some(store, pattern))
    assert problems(store)
    assert repair(store, device="cpu")
    assert problems(store) == []
    runs = {
        name: data for name, data in contents(store / "runs").items() if not name.endswith(("run.json", "live.jsonl"))
    }
    assert runs == {name: data for name, data in contents(whole[1] / "runs").items() if name in runs}
    assert {state.state for state in states(store)} == {"finished"}
    assert not (store / ".repair").exists()


def test_a_baseline_is_taken_away_and_fitted_again(store: Path, whole: tuple[Study, Path]) -> None:
    file = some(store, "baselines/*.json")
    before = file.read_text()
    flip(file)
    assert f"{file}: taken away" in repair(store, device="cpu")[0]
    run_grid(whole[0], store, device="cpu")
    assert file.read_text().splitlines()[:10] == before.splitlines()[:10]


@pytest.mark.filterwarnings("ignore::wdiv.errors.LeftOut")
def test_a_damaged_baseline_is_left_out_and_fitted_again_where_it_is_asked_for(
    store: Path, whole: tuple[Study, Path]
) -> None:
    file = some(store, "baselines/*.json")
    before = file.read_text()
    flip(file)
    done = wdiv("report", store)
    assert f"{file.stem} is left out: {file}: damaged" in done.stderr
    assert f"{file}: damaged" in wdiv("verify", store, code=2).stderr
    run_grid(whole[0], store, device="cpu")
    assert file.read_text().splitlines()[:10] == before.splitlines()[:10]


def test_the_command_makes_a_run_again(store: Path) -> None:
    """With what a terminal is shown, which is not there between two grids."""
    flip(some(store, "runs/*/epochs/0001.safetensors"))
    (store / "results.csv").unlink()
    done = wdiv("verify", store, "--repair")
    assert done.exit_code == 0, done.stderr
    assert "epochs are the same as before" in done.stdout
    assert "2 runs intact" in done.stdout


def test_a_run_of_other_weights_does_not_take_its_place(store: Path, whole: tuple[Study, Path]) -> None:
    """Nothing is left of it to compare with: its starting weights are another run's too."""
    first, _ = sorted((store / "runs").iterdir())
    shutil.rmtree(first / "epochs")
    flip(first / "history.jsonl")
    flip(first / "run.json")
    weights = Path(whole[0].weights)
    before, kept = weights.read_bytes(), contents(first)
    try:
        write_weights(weights, seed=5)
        (line,) = repair(store, device="cpu")
    finally:
        weights.write_bytes(before)
    assert "cannot be made again" in line
    assert "is of other weights called 'made.pth'" in line
    assert contents(first) == kept


def test_what_cannot_be_planned_is_told_and_the_rest_repaired(store: Path, whole: tuple[Study, Path]) -> None:
    flip(some(store, "runs/*/epochs/0001.safetensors"))
    flip(store / "measures.nc")
    weights = Path(whole[0].weights)
    away = weights.rename(weights.with_name("away.pth"))
    try:
        lines = repair(store, device="cpu")
    finally:
        away.rename(weights)
    assert "cannot be made again" in lines[0]
    assert "no such file" in lines[0]
    assert "measures.nc: taken away" in lines[1]


@pytest.mark.filterwarnings("ignore:what was planned is not known")
@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_without_a_study_files_are_verified_and_repaired(store: Path, damage: Callable[[Path], None]) -> None:
    damage(store / "study.json")
    flip(store / "measures.nc")
    flip(some(store, "runs/*/epochs/0001.safetensors"))
    assert any("measures.nc" in problem for problem in problems(store))
    lines = repair(store, device="cpu")
    assert any("measures.nc: taken away" in line for line in lines)
    assert any("0001.safetensors" in line and "cannot be made again" in line for line in lines)
    told = [line for line in lines if line.startswith(f"{store / 'study.json'}: damaged")]
    assert len(told) == (1 if damage is flip else 0)


@pytest.mark.parametrize("damage", [flip, Path.unlink])
def test_a_baseline_whose_predictions_are_damaged_is_fitted_again(
    store: Path, whole: tuple[Study, Path], damage: Callable[[Path], None]
) -> None:
    file = some(store, "baselines/*.safetensors")
    before = file.read_bytes()
    damage(file)
    assert problems(store)
    assert "taken away" in repair(store, device="cpu")[0]
    run_grid(whole[0], store, device="cpu")
    assert file.read_bytes() == before
    assert problems(store) == []


def test_a_run_that_would_end_elsewhere_is_left_as_it_is(store: Path) -> None:
    first, second = sorted((store / "runs").iterdir())
    shutil.rmtree(first / "epochs")
    shutil.copytree(second / "epochs", first / "epochs")  # another seed's
    flip(first / "history.jsonl")
    before = contents(first)
    (line,) = repair(store, device="cpu")
    assert "cannot be made again: trained anew, epoch 0 is not what it was" in line
    assert contents(first) == before


@pytest.fixture
def again(whole: tuple[Study, Path], store: Path, tmp_path: Path) -> list[object]:
    """The command that made the store."""
    (tmp_path / "small.toml").write_text(TOML.format(model=MOBILENET, weights=whole[0].weights))
    options = ["--strategy", "bn+fc", "--seed", 0, "--seed", 1, "--out", store, "--device", "cpu"]
    return ["run", tmp_path / "small.toml", *options]


def test_a_command_that_comes_upon_a_damaged_study_says_what_to_type(store: Path, again: list[object]) -> None:
    file = store / "study.json"
    flip(file)
    error = wdiv(*again, code=2).stderr
    assert f"{file}: damaged" in error
    assert "delete it, and give the command that made the study once more" in error


@pytest.mark.parametrize("what", ["run.json", "history.jsonl", "epochs/0001.safetensors", "the record", "the base"])
def test_a_grid_goes_on_without_a_damaged_run(store: Path, again: list[object], what: str) -> None:
    """The others, and one that was not there yet, are trained, measured and reported; the command says what to type."""
    first, second = sorted((store / "runs").iterdir())
    for made in (*store.glob("results.*"), *store.glob("measures*"), *store.glob("REPORT*")):
        made.unlink()
    if what == "the base":
        flip(some(store, "bases/*.safetensors"))
    elif what == "the record":
        (first / "run.json").unlink()
    else:
        flip(first / what)
    before = contents(first)
    healed = what == "the base"
    done = wdiv(*again, "--seed", 2, code=0 if healed else 2)
    assert {path.name[-2:] for path in (store / "runs").iterdir()} == {"s0", "s1", "s2"}
    rows = (store / "results.csv").read_text()
    assert second.name in rows
    assert second.name.replace("-s1", "-s2") in rows
    assert (first.name in rows) == healed
    assert contents(first) == before
    if not healed:
        (error,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
        assert f"1 of the runs left out: {first.name}: " in error
        assert f"'wdiv verify {store} --repair' makes again what can be" in error
        wdiv("verify", store, "--repair")
        wdiv(*again)


def test_a_dry_run_names_a_damaged_run(store: Path, again: list[object]) -> None:
    first, _ = sorted((store / "runs").iterdir())
    flip(first / "run.json")
    told = wdiv(*again, "--seed", 2, "--dry-run").stdout
    assert f"note: left out: {first.name}: {first / 'run.json'}: damaged" in told
    assert "1 runs are finished" in told
    assert told.splitlines()[-1].startswith("1 runs")


def test_a_grid_of_which_every_run_is_damaged_says_so(store: Path, again: list[object]) -> None:
    for run in (store / "runs").iterdir():
        flip(run / "run.json")
    for baseline in (store / "baselines").iterdir():
        baseline.unlink()
    error = wdiv(*again, code=2).stderr.splitlines()[-1]
    assert "2 of the runs left out: " in error


def test_the_rest_of_a_store_goes_on(store: Path) -> None:
    first, second = (run.name for run in sorted((store / "runs").iterdir()))
    flip(store / "runs" / first / "run.json")
    done = wdiv("status", store)
    assert f"note: {first} is left out: " in done.stderr
    rows = {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()[1:3]}
    assert rows == {first: "damaged", second: "finished"}
    assert second in wdiv("measure", store, "-m", "l2").stdout


def test_a_run_with_a_damaged_epoch_is_left_out_when_that_is_read(store: Path) -> None:
    first, second = (run.name for run in sorted((store / "runs").iterdir()))
    flip(store / "runs" / first / "epochs" / "0001.safetensors")
    for name in ("measures.nc", "pairs.nc"):
        (store / name).unlink()
    with pytest.warns(LeftOut, match="is left out"):
        found = seen(store)
    assert {name.split()[0] for name in found if second in name} == {second}
    assert not [name for name in found if name.startswith(first) and "result" not in name]


@pytest.mark.parametrize("name", ["resume.pt", "epochs/0001.safetensors"])
def test_a_stopped_run_does_not_go_on_from_what_is_damaged(
    whole: tuple[Study, Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, out = override(whole[0], {"seeds": [0], "baselines": [], "epochs": 3}), tmp_path / "store"
    monkeypatch.setattr("wdiv.tuning.training.run.COMMIT_EVERY", 0.0)
    with pytest.raises(Stopped):
        run_grid(study, out, device="cpu", progress=_StopAfterTheFirst())
    (run,) = (out / "runs").iterdir()
    flip(run / name)
    (failure,) = run_grid(study, out, device="cpu")[1]
    assert (failure.run, type(failure.error)) == (run.name, Damaged)


class _StopAfterTheFirst(Progress):
    """As a signal would, after the first epoch."""

    @contextmanager
    def run(self, run: str, epochs: int) -> Iterator[Any]:
        class Watching(Silent):
            def epoch(self, row: dict[str, Any]) -> None:
                if row["epoch"] == 1:
                    os.kill(os.getpid(), signal.SIGTERM)

        yield Watching()


def test_a_file_that_no_run_wants_is_told() -> None:
    def stumble() -> None:
        raise Damaged(Path("x"))

    with pytest.raises(Damaged):
        without_damaged([], stumble)


def test_a_run_is_trained_again_with_the_threads_it_had(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    run = sorted((store / "runs").iterdir())[0]
    edit_record(run, lambda record: record["versions"].update(threads="3"))
    flip(run / "epochs" / "0001.safetensors")
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(torch, "set_num_threads", seen.append)
    repair(store, device="cpu")
    assert seen == [3, before]


@pytest.mark.parametrize("step", [1, 2, 5, 9])
def test_a_repair_that_is_killed_loses_nothing(store: Path, whole: tuple[Study, Path], step: int) -> None:
    """At whichever file of the run: what was whole is whole, and the next repair is as good as the first."""
    run = sorted((store / "runs").iterdir())[0]
    damaged = run / "epochs" / "0001.safetensors", run / "predictions" / "0002.safetensors"
    for file in damaged:
        flip(file)
    names = {file.relative_to(run).as_posix() for file in damaged} | {"run.json", "live.jsonl"}
    sound = {name: data for name, data in contents(run).items() if name not in names}
    replace, done = os.replace, []

    def killed(old: Path, new: Path) -> None:
        if run in Path(new).parents:
            done.append(new)
            if len(done) == step:
                raise KeyboardInterrupt
        replace(old, new)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            repair(store, device="cpu")
    assert {name: data for name, data in contents(run).items() if name in sound} == sound
    assert len(CheckpointStore.open(store)[run.name].history()) == 3
    repair(store, device="cpu")
    assert problems(store) == []
    for folder in ("epochs", "predictions"):
        assert contents(run / folder) == contents(whole[1] / "runs" / run.name / folder)


def test_a_run_that_is_being_written_is_not_made_again(store: Path) -> None:
    run = Run(sorted((store / "runs").iterdir())[0])
    flip(run.epoch_file(1))
    before = contents(run.path)
    with write_lock(run):
        (line,) = repair(store, device="cpu")
    assert "another process is writing this run" in line
    assert contents(run.path) == before


def test_a_study_file_that_is_missing_is_named_and_written_again(store: Path, again: list[object]) -> None:
    (store / "study.json").unlink()
    told = f"{store / 'study.json'}: missing, so that which study this is"
    assert told in wdiv("report", store, code=2).stderr
    assert f"note: {told}" in wdiv("verify", store).stdout
    before = contents(store / "runs")
    wdiv(*again)
    assert contents(store / "runs") == before
    wdiv("report", store)


def test_conditions_without_their_study_are_named(store: Path, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    store.rename(tmp_path / "study" / "plain")
    told = f"{tmp_path / 'study' / 'study.json'}: missing, so that which study this is"
    for command in ("verify", "report"):
        assert told in wdiv(command, tmp_path / "study", code=2).stderr
