"""How far runs are, and how long they will take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from studies.grid.state import RunState, seconds_left, state_of, states
from tests.fabric import diverge, edit_record, edit_rows, make_store, shorten
from tests.studies.cli.test_cli import strictly
from tests.studies.cli.test_cli import wdiv as command
from wdiv.store.reader import Run
from wdiv.store.seals import read_sealed, write_sealed

FC, BN = "toynet-toy-n2-fc-auto-s0", "toynet-toy-n2-bn+fc-auto-s0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two finished runs of three epochs, each of which, and epoch 0, took half a second."""
    return make_store(tmp_path / "store", seeds=(0,))


def more(store: Path, *runs: str, **facts: dict[str, Any]) -> None:
    """Plan more runs; those that come as ``run={fact: value}`` differ so from FC."""
    file = store / "study.json"
    study = read_sealed(file)
    like = {"label": "toynet", "dataset": "toy", "per_class": 2, "strategy": "fc", "bn_mode": "auto", "seed": 7}
    told = {"runs": [*study["runs"], *runs, *facts], "facts": {run: like | values for run, values in facts.items()}}
    write_sealed(file, study | told)


def rewrite(store: Path, run: str, **values: Any) -> None:
    """Change the last row of a run's history."""
    edit_rows(store / "runs" / run, lambda rows: rows[-1].update(values))


NINE_IMAGES = {
    share: tuple(pytest.approx(end, abs=5e-4) for end in ends)
    for share, ends in {0.5: (0.227, 0.773), 0.6: (0.300, 0.840)}.items()
}
"""Of a share, where Wilson's interval of 95 % begins and ends if it is of nine test images."""


def by_run(store: Path) -> dict[str, RunState]:
    return {state.run: state for state in states(store)}


def test_a_finished_run_has_nothing_left(store: Path) -> None:
    assert by_run(store)[FC] == RunState(
        FC, "finished", 3, 3, pytest.approx(0.6), pytest.approx(0.6), 2.0, 0.0, (), *NINE_IMAGES[0.6]
    )  # fmt: skip
    assert seconds_left(states(store)) == 0.0


def test_a_run_goes_on_at_the_median_of_its_last_epochs(store: Path) -> None:
    shorten(store, FC, 2)
    rewrite(store, FC, seconds=40.0)
    run = Run(store / "runs" / FC)
    assert state_of(FC, run) == RunState(
        FC, "stopped", 2, 3, 0.5, 0.5, 41.0, 20.2, (), *NINE_IMAGES[0.5]
    ), "(0.5 + 40) / 2; epoch 0 is no epoch"  # fmt: skip
    with FileLock(run.path / ".lock"):
        assert state_of(FC, run).state == "running"


def test_a_run_that_diverged_does_not_go_on(store: Path) -> None:
    shorten(store, FC, 1)
    diverge(store, FC, "the loss is nan in epoch 2; lower the rate\n")
    state = by_run(store)[FC]
    assert (state.state, state.left, state.over) == ("diverged", 0.0, True)
    (store / "runs" / FC / "history.jsonl").unlink()
    state = by_run(store)[FC]
    assert (state.state, state.epoch, state.left) == ("diverged", None, 0.0)


def test_a_run_that_stopped_early_counts_by_its_best_epoch(store: Path) -> None:
    shorten(store, FC, 2)
    rewrite(store, FC, final=1)
    state = by_run(store)[FC]
    assert (state.state, state.epoch, state.last, state.best, state.left) == (
        "finished",
        2,
        pytest.approx(0.4),
        0.5,
        0.0,
    )


@pytest.mark.parametrize(
    ("run", "left"),
    [
        ("toynet-toy-n2-bn+fc-auto-s7", 2.0),
        ("toynet-toy-n2-fc-auto-s7", 31.5),
        ("othernet-toy-all-fc-auto-s0", 31.5),
        ("toynet-toy-n2-fc-frozen-s0", 16.75),
        ("somebody", 16.75),
    ],
)
def test_in_a_store_of_before_a_run_that_waits_will_take_what_those_of_like_names_take(
    store: Path, run: str, left: float
) -> None:
    rewrite(store, FC, seconds=30.0)
    more(store, run)
    assert by_run(store)[run] == RunState(run, "waiting", left=pytest.approx(left, abs=0.06))


@pytest.mark.parametrize(
    ("facts", "left"),
    [
        ({"strategy": "bn+fc"}, 2.0),
        ({}, 31.5),
        ({"label": "othernet", "per_class": None}, 31.5),
        ({"bn_mode": "frozen"}, 16.75),
    ],
)
def test_a_run_that_waits_will_take_what_those_like_it_take(store: Path, facts: dict[str, Any], left: float) -> None:
    """By what the study says of it: its name says nothing, and may say anything."""
    rewrite(store, FC, seconds=30.0)
    more(store, **{BN + "8": facts})
    assert by_run(store)[BN + "8"] == RunState(BN + "8", "waiting", left=pytest.approx(left, abs=0.06))


def test_runs_that_diverged_tell_nothing(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", ("fc",), (0,), 1, planned=3)
    diverge(store, FC, "the loss is nan\n")
    more(store, BN)
    assert by_run(store)[BN].left is None
    assert seconds_left(states(store)) is None
    assert command("status", store).stdout.splitlines()[-1] == "0 of 2 runs finished"


def test_a_run_before_its_first_epoch_takes_what_others_take(store: Path) -> None:
    shorten(store, FC, 0)
    assert by_run(store)[FC].left == 1.5, "as bn+fc, less what epoch 0 has taken"
    (store / "runs" / FC / "history.jsonl").unlink()
    assert by_run(store)[FC].left == 2.0


def test_what_is_left_is_shared_by_the_runs_that_go_on_side_by_side(store: Path) -> None:
    more(store, "toynet-toy-n2-fc-auto-s7", "toynet-toy-n2-fc-auto-s8")
    assert seconds_left(states(store)) == 4.0
    for run in (FC, BN):
        shorten(store, run, 1)
    with FileLock(store / "runs" / FC / ".lock"):
        assert seconds_left(states(store)) == pytest.approx(1.0 + 1.0 + 2.0 + 2.0)
        with FileLock(store / "runs" / BN / ".lock"):
            assert seconds_left(states(store)) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("prefix", "word"),
    [
        ((), None),
        (({"kept": True, "judging_kept": True},), "yes"),
        (({"kept": False, "judging_kept": False},), "no"),
        (({"kept": False, "judging_kept": True},), "test"),
        (({"kept": True, "judging_kept": True}, {"kept": False, "judging_kept": False}), "partly"),
    ],
)
def test_whether_the_prefix_is_kept_in_a_word(prefix: tuple[dict[str, bool], ...], word: str | None) -> None:
    assert RunState("run", "running", prefix=prefix).kept == word


def test_the_command(store: Path) -> None:
    run = store / "runs" / FC
    prefix = {"from_epoch": 1, "kept": True, "judging_kept": True, "why": "kept: 93.0% of the work"}
    edit_record(run, lambda record: record.update(prefix=[prefix]))
    shorten(store, BN, 2)
    more(store, "toynet-toy-n2-fc-auto-s7")
    rewrite(store, FC, seconds=98.5)
    header, *lines, total = command("status", store).stdout.splitlines()
    assert header.split() == ["run", "state", "epoch", "of", "last", "interval", "best", "seconds", "left", "prefix"]
    assert [line.split() for line in lines] == [
        [BN, "stopped", "2", "3", "50.0", "22.7", "to", "77.3", "50.0", "1.5", "0", "s"],
        [FC, "finished", "3", "3", "60.0", "30.0", "to", "84.0", "60.0", "100.0", "yes"],
        ["toynet-toy-n2-fc-auto-s7", "waiting", "1", "min", "40", "s"],
    ]
    assert total == "1 of 3 runs finished, about 1 min 40 s left"
    rows = {row["run"]: row for row in strictly(command("status", store, "--json").stdout)}
    assert rows[FC]["prefix"] == [prefix]
    assert (rows[FC]["left"], rows["toynet-toy-n2-fc-auto-s7"]["left"]) == (0.0, 100.0)
