"""``live.jsonl``: what is written as an epoch ends, and what is read of it, whatever happened in between."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.fabric import CHANGES, KEYS, TABLE, make_store, run_states, shorten
from wdiv.numerics import PairSums, pair_sums
from wdiv.store.reader import CheckpointStore, Run
from wdiv.store.running_metrics import NAME, RunningMetrics, RunningSums, read_running_sums
from wdiv.store.seals import seal

EPOCHS = 3


def live_of(run: Run, epochs: int = EPOCHS, first: int = 0) -> list[dict[str, np.ndarray]]:
    """Write the lines of a run of :mod:`tests.fabric`. Returns its states."""
    record = run.record
    states = run_states(record.strategy, record.seed, epochs)
    live = RunningMetrics(run.path, record, states[0])
    for epoch in range(first, epochs + 1):
        live.append(epoch, states[epoch])
    return states


def with_live(store: Path) -> Path:
    """Every run of a store with lines for all of its epochs."""
    for run in CheckpointStore.open(store):
        live_of(run, run.epochs()[-1])
    return store


@pytest.fixture
def run(tmp_path: Path) -> Run:
    (run,) = CheckpointStore.open(make_store(tmp_path / "store", ("bn+fc",), (0,), EPOCHS))
    return run


def read(run: Run) -> RunningSums:
    found = read_running_sums(run)
    assert found is not None
    return found


def same(a: PairSums, b: PairSums, place: int) -> bool:
    """Bit for bit, ``a`` at one of its places."""
    flat = [(*sums.a, *sums.b, *sums[3:]) for sums in (a, b)]
    return a.n == b.n and all(x[place] == y for x, y in zip(*flat, strict=True))


def lines(run: Run) -> list[str]:
    return (run.path / NAME).read_text().splitlines()


def test_the_sums_come_back_bit_for_bit(run: Run) -> None:
    states = live_of(run)
    found = read(run)
    assert found.epochs == (0, 1, 2, 3)
    assert set(found.sums) == {(layer.name, role) for layer in TABLE for role in layer.roles}
    for layer in TABLE:
        for role in layer.roles:
            key = layer.key(role)
            for place, state in enumerate(states):
                expected = pair_sums(states[0][key].reshape(-1), state[key].reshape(-1))
                assert same(found.sums[layer.name, role], expected, place), (key, place)


def test_an_epoch_is_one_line_of_what_it_may_change_and_epoch_0_of_everything(run: Run) -> None:
    live_of(run)
    rows = [json.loads(line) for line in lines(run)]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert set(rows[0]["sums"]) == set(KEYS)
    assert all(set(row["sums"]) == set(CHANGES["bn+fc"]) for row in rows[1:])
    assert all(len(numbers) == 10 for row in rows for numbers in row["sums"].values())


def test_the_start_is_copied_since_training_overwrites_it(run: Run) -> None:
    states = run_states("bn+fc", 0, 1)
    network = {key: value.copy() for key, value in states[0].items()}
    live = RunningMetrics(run.path, run.record, network)
    live.append(0, network)
    for key in CHANGES["bn+fc"]:
        network[key][...] = states[1][key]
    live.append(1, network)
    expected = pair_sums(states[0]["stem.bn.weight"], states[1]["stem.bn.weight"])
    assert same(read(run).sums["stem.bn", "gamma"], expected, 1)


@pytest.mark.parametrize("left", [1, 20, -2])
def test_a_line_that_a_kill_cut_short_is_passed_over(run: Run, left: int) -> None:
    live_of(run)
    file = run.path / NAME
    whole = file.read_bytes()
    last = whole.splitlines()[-1]
    file.write_bytes(whole[: -len(last) - 1] + last[:left])
    assert read(run).epochs == (0, 1, 2)


def test_what_comes_after_a_line_cut_short_is_on_a_line_of_its_own(run: Run) -> None:
    live_of(run, 2)
    file = run.path / NAME
    file.write_bytes(file.read_bytes()[:-100])
    states = live_of(run, 3, first=2)
    found = read(run)
    assert found.epochs == (0, 1, 2, 3)
    for place in (2, 3):
        expected = pair_sums(states[0]["head.bias"], states[place]["head.bias"])
        assert same(found.sums["head", "bias"], expected, place)


def test_of_an_epoch_trained_twice_the_last_line_counts(run: Run) -> None:
    states = run_states("bn+fc", 0, EPOCHS)
    other = run_states("bn+fc", 7, EPOCHS)
    for attempt, epochs in ((other, (0, 1, 2)), (states, (1, 2, 3))):
        live = RunningMetrics(run.path, run.record, states[0])
        for epoch in epochs:
            live.append(epoch, states[0] if epoch == 0 else attempt[epoch])
    assert len(lines(run)) == 6
    for place in range(EPOCHS + 1):
        expected = pair_sums(states[0]["head.weight"].reshape(-1), states[place]["head.weight"].reshape(-1))
        assert same(read(run).sums["head", "weight"], expected, place)


def test_an_epoch_counts_once_the_history_has_it(run: Run) -> None:
    live_of(run)
    shorten(run.root, run.path.name, 1)
    assert read(run).epochs == (0, 1)


def test_lines_that_say_something_else_are_passed_over(run: Run) -> None:
    live_of(run)
    with (run.path / NAME).open("ab") as out:
        out.write(b'\n[]\n7\n{"epoch": 1}\n{"epoch": 2, "sums": 3}\n{"epoch": 3, "sums": {"head.bias": [1]}}\n\xff\n')
        out.write(seal('{"epoch": 3, "sums": {}}').encode() + b"\n")
    assert read(run).epochs == (0, 1, 2), "the last line of epoch 3 lacks what it may have changed"


def test_frozen_tensors_without_epoch_0_are_absent(run: Run) -> None:
    """A run that began before there were such lines."""
    live_of(run, first=2)
    found = read(run)
    assert found.epochs == (2, 3)
    assert ("stem.conv", "weight") not in found.sums
    assert ("stem.bn", "gamma") in found.sums


def test_numbers_that_are_not_finite_are_null_and_read_as_nan(run: Run) -> None:
    states = run_states("bn+fc", 0, 1)
    live = RunningMetrics(run.path, run.record, states[0])
    live.append(0, states[0])
    states[1]["head.bias"][0] = np.inf
    states[1]["stem.bn.bias"][1] = np.nan
    live.append(1, states[1])
    text = (run.path / NAME).read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    found = read(run).sums
    for sums in (found["head", "bias"], found["stem.bn", "beta"]):
        assert np.isfinite(sums.b.mean).tolist() == [True, False]
        assert np.isfinite(sums.central_d).tolist() == [True, False]


def test_a_run_without_the_file_has_none_and_one_that_begins_has_an_empty_one(run: Run) -> None:
    assert read_running_sums(run) is None
    RunningMetrics(run.path, run.record, run_states("bn+fc", 0, 0)[0])
    assert read(run) == RunningSums((), {})


def test_a_full_disk_is_an_error(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def __enter__(self) -> Full:
            return self

        def __exit__(self, *error: object) -> None: ...

        def tell(self) -> int:
            return 0

        def write(self, line: bytes) -> int:
            return len(line) // 2

    live = RunningMetrics(run.path, run.record, run_states("bn+fc", 0, 0)[0])
    monkeypatch.setattr(Path, "open", lambda *how, **more: Full())
    with pytest.raises(OSError, match="No space left"):
        live.append(0, run_states("bn+fc", 0, 0)[0])


def test_whoever_reads_meanwhile_sees_whole_epochs_only(run: Run) -> None:
    states = run_states("bn+fc", 0, EPOCHS)
    live = RunningMetrics(run.path, run.record, states[0])
    live.append(0, states[0])

    def train() -> None:
        for _ in range(20):
            for epoch in (1, 2, 3):
                live.append(epoch, states[epoch])

    writer = threading.Thread(target=train)
    writer.start()
    seen = set()
    while writer.is_alive():
        found = read(run)
        seen.add(found.epochs)
        for place, epoch in enumerate(found.epochs):
            expected = pair_sums(states[0]["head.bias"], states[epoch]["head.bias"])
            assert same(found.sums["head", "bias"], expected, place)
    writer.join()
    assert seen <= {(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)}


def test_reading_needs_no_torch(run: Run) -> None:
    live_of(run)
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom pathlib import Path\n"
        "from wdiv.store.running_metrics import read_running_sums\nfrom wdiv.store.reader import Run\n"
        f"print(read_running_sums(Run(Path({str(run.path)!r}))).epochs)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(0, 1, 2, 3)\n", "")
