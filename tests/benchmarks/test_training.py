"""The training benchmark times the same work, or gives no ratio."""

from __future__ import annotations

import itertools
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.__main__ import NAMES, RESULTS, TRAINING, line, parts, with_part  # noqa: E402
from benchmarks.training import table, tasks, torchvision_loop, wdiv_loop  # noqa: E402
from benchmarks.training.common import Batches  # noqa: E402
from benchmarks.training.tasks import Task  # noqa: E402
from wdiv.store.writer import RunWriter  # noqa: E402


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tasks.Work:
    folder = tasks._noise(tmp_path / "noise", per_class=4)
    monkeypatch.setattr(tasks, "images", lambda: folder)
    task = Task("bn@stage4+fc", "resnet18", 32, train=14, test=6, epochs=2, batch_size=8)
    return pickle.loads(tasks.prepare(task, tmp_path).read_bytes())


def test_the_loops_do_the_same_work(work: tasks.Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunWriter, "commit", RunWriter.commit)  # put back afterwards
    assert (len(work.split.pool), len(work.split.test)) == (14, 6)
    assert set(work.split.pool.counts()) == {2, 3}
    ours = wdiv_loop.train(work)
    for theirs in (torchvision_loop.train(work), wdiv_loop.train(work, save=False)):
        np.testing.assert_allclose([loss for loss, _ in theirs], [loss for loss, _ in ours], rtol=1e-3)
    other = torchvision_loop.train(work, held=False)
    assert abs(other[0][0] / ours[0][0] - 1) > 1e-3


def test_batches_are_of_nearly_equal_size_and_differ_by_epoch() -> None:
    batches = Batches(14, 8, seed=0)
    first, second = list(batches), list(batches)
    assert [len(part) for part in first] == [7, 7]
    assert len(batches) == 2
    assert all(sorted(itertools.chain(*epoch)) == list(range(14)) for epoch in (first, second))
    assert first != second


@pytest.mark.parametrize(("loss", "ratio"), [(1.001, 2.0), (1.1, None), (math.nan, None)])
def test_other_work_gets_no_ratio(loss: float, ratio: float | None) -> None:
    def side(seconds: float, loss: float) -> dict[str, object]:
        return {"seconds": seconds, "losses": [loss], "accuracies": [0.5]}

    judged = table._judge("timm", tasks.TASKS[0], side(1.0, 1.0), side(2.0, loss))
    assert judged["ratio"] == ratio
    assert ("NOT THE SAME WORK" in judged["remark"]) == (ratio is None)


def test_a_part_of_the_results_is_written_anew_and_the_others_stay() -> None:
    row = {"work": "w", "ours_s": 1.0, "ours_MB": 2.0, "theirs": "t", "theirs_s": 3.0, "ratio": 3.0}
    both = with_part(with_part("", "grid", [line(row)]), "moments", [line(row | {"work": "v"})])
    again = with_part(both, "grid", [line(row | {"ratio": 4.0})])
    assert again.index("## moments") < again.index("## grid")
    assert again.count("| w | 1.00 s | 2 | t | 3.00 s |  | 4 |  |") == 1
    assert again.count("| v |") == 1
    assert with_part(again, "grid", [line(row)]) == both
    assert set(parts(again)) == {"moments", "grid"}


def test_every_part_is_of_a_benchmark() -> None:
    assert set(TRAINING) <= set(parts(RESULTS.read_text("utf-8"))) <= set(NAMES)
    assert {task.name for task in tasks.TASKS} | {"grid"} == set(TRAINING)
