"""How often the files of a measured store are read by a command: once each, however many runs there are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from studies.grid.state import states
from studies.report.finish import conclude, finish
from studies.report.observations import observe
from studies.report.writing import write
from studies.spec.study import Study, override
from tests.fabric import make_store
from tests.opening import opened
from wdiv.cache.measures import measured
from wdiv.cache.pairs import measured_pairs
from wdiv.store.reader import CheckpointStore
from wdiv.store.seals import read_sealed, write_sealed

STUDY = override(Study("toy", metrics=("relative_l2",)), {
    "claims": [
        {"name": "c", "text": "t", "left": {"strategy": "bn+fc"}, "right": {"strategy": "fc"}, "direction": "more"}
    ],
    "tables": [{"name": "t", "title": "t", "rows": ["per_class"]}],
})  # fmt: skip
OUTCOME = {
    "model": "toynet", "source": "toy", "dataset": "toy", "data_digest": "", "image_size": 8, "per_class": 2,
    "n_train": 6, "n_test": 9, "strategy": "svm", "baseline": "svm", "layer": "stages", "pooling": "avg", "cv": 5,
    "n_features": 6, "scores": {"accuracy": {"value": 0.75}}, "layer_chosen": None, "cost": None, "cv_score": None,
    "fallback": "", "seconds": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve runs and two baselines, measured."""
    out = make_store(tmp_path_factory.mktemp("read") / "store", ("fc", "bn+fc"), (0, 1, 2), 2, sizes=(2, 4))
    write_sealed(out / "study.json", read_sealed(out / "study.json") | {"format": 2, "study": STUDY.to_json()})
    (out / "baselines").mkdir()
    for seed in (0, 1):
        outcome = OUTCOME | {"id": f"toynet-toy-n2-svm-frozen-s{seed}", "seed": seed}
        (out / "baselines" / f"{outcome['id']}.json").write_text(json.dumps(outcome))
    conclude(STUDY, out)
    return out


@pytest.mark.parametrize(
    "command",
    [
        lambda out: conclude(STUDY, out),
        lambda out: finish(out, STUDY.metrics, STUDY.reference),
        write,
        lambda out: observe({"": out}),
        measured,
        lambda out: measured_pairs(out, [("toynet-toy-n2-fc-auto-s0", "toynet-toy-n2-fc-auto-s1")]),
        states,
    ],
    ids=["conclude", "finish", "report", "observe", "measure", "pairs", "status"],
)
def test_every_run_is_read_once(folder: Path, command: Callable[[Path], Any]) -> None:
    with opened() as counts:
        command(folder)
    runs = {file.parent for file in folder.glob("runs/*/run.json")}
    assert len(runs) == 12
    for name in ("run.json", "history.jsonl"):
        assert {run: counts[run / name] for run in runs} == dict.fromkeys(runs, 1)
    assert all(counts[file] <= 2 for file in (folder / "baselines").iterdir())


def test_a_store_that_is_handed_on_is_read_no_more(folder: Path) -> None:
    store = CheckpointStore.open(folder)
    whole = measured(store), observe({"": store})
    with opened() as counts:
        again = measured(store), observe({"": store})
    assert not [file for file in counts if file.name in ("run.json", "history.jsonl")]
    assert again[0].identical(whole[0])
    assert again[1].equals(whole[1])
