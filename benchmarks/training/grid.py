"""A grid by wdiv's runner, and by a plain torchvision loop for each run.

``python -m benchmarks.training.grid SIDE FILE``. Strategies x images a class x seeds. Both sides start from a folder of
images and a file of weights, and decode the images once; wdiv's time is that of the whole
``studies.grid.runner.run_grid``, which saves every epoch. Every loop is run: nothing is extrapolated.
"""

from __future__ import annotations

import json
import pickle
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.process import alone, peak
from benchmarks.training.agreement import TOLERANCE, disagreement
from benchmarks.training.tasks import MOBILENET, Work, card, images, weights
from studies.grid.planning import plan_grid
from studies.grid.runner import run_grid
from studies.spec.study import Study
from wdiv.store.reader import Run
from wdiv.tuning.data.datasets import open_split
from wdiv.tuning.data.images import Split, nested_subset
from wdiv.tuning.networks.models import ModelSpec

__all__ = ["compare_grid"]

STRATEGIES = ("fc", "bn+fc", "conv+fc", "conv+bn+fc", "bn@stage4+fc", "conv+bn@stage4+fc")
WIDEST = 0.1
"""Of a run's loss in its first epoch: at a rate of 1e-2, ten steps make as much of the last bits."""
SIZES, SEEDS, EPOCHS, IMAGE_SIZE = (5, 20, 50), (0, 1), 30, 96


def compare_grid(fraction: float = 1.0, scale: float = 1.0) -> Iterator[dict[str, Any]]:
    """A row for wdiv as it is, and one for two runs side by side. ``fraction`` cuts all three axes alike, ``scale`` the
    epochs."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "study.pkl"
        study = _study(fraction, scale, Path(folder))
        file.write_bytes(pickle.dumps(study))
        theirs, *ours = (alone("benchmarks.training.grid", side, file) for side in SIDES)
    for options, side in zip(("", " --jobs 2"), ours, strict=True):
        yield _row(study, side, theirs, options)


def _row(study: Study, ours: dict[str, Any], theirs: dict[str, Any], options: str) -> dict[str, Any]:
    shape = " x ".join(str(len(axis)) for axis in (study.strategies, study.per_class, study.seeds))
    work = f"grid of {shape} runs{options}, MobileNetV2 x0.35, {IMAGE_SIZE} px, {study.epochs} epochs"
    offs = [disagreement(ours["losses"][run], loss) for run, loss in theirs["losses"].items()]
    same = median(offs) <= TOLERANCE["fp32"] and all(off <= WIDEST for off in offs)
    agree = f"losses of the first epochs agree to {median(offs):.0e} (median) and {max(offs):.0e} (all)"
    agree = agree if same else f"NOT THE SAME WORK: {agree}"
    accuracies = ", ".join(
        f"{name} {value:.3f}/{theirs['accuracies'][name]:.3f}" for name, value in ours["accuracies"].items()
    )
    return {
        "work": work, "ours_s": ours["seconds"], "ours_MB": ours["MB"], "theirs": "torchvision, a loop for each run",
        "theirs_s": theirs["seconds"], "theirs_MB": theirs["MB"],
        "ratio": theirs["seconds"] / ours["seconds"] if same else None,
        "remark": f"{agree}; mean test accuracy wdiv/torchvision: {accuracies}",
    }  # fmt: skip


def _study(fraction: float, scale: float, folder: Path) -> Study:
    share = fraction ** (1 / 3)

    def cut(axis: tuple[Any, ...]) -> tuple[Any, ...]:
        return axis[: max(1, round(len(axis) * share))]

    data, found = str(images()), card()
    start = found or weights(ModelSpec.parse(MOBILENET), open_split(data, IMAGE_SIZE).pool, folder).file
    return Study(
        "grid", models=() if found else (MOBILENET,), weights=str(start), data=data,
        per_class=cut(SIZES), strategies=cut(STRATEGIES), seeds=cut(SEEDS), epochs=max(1, round(EPOCHS * scale)),
        image_size=IMAGE_SIZE,
    )  # fmt: skip


def ours(study: Study, folder: Path, jobs: int = 1) -> dict[str, Any]:
    """wdiv's runner, into a store that is new."""
    start = time.perf_counter()
    out, _ = run_grid(study, folder / f"store{jobs}", device="cpu", jobs=jobs)
    seconds = time.perf_counter() - start
    rows = {}
    for planned in plan_grid(study).runs:
        history = Run(out / "runs" / planned.id).history()[1:]
        rows[planned.id] = [(row["train_loss"], row["test_accuracy"]) for row in history]
    return {"seconds": seconds, **_result(study, rows)}


def theirs(study: Study, folder: Path) -> dict[str, Any]:
    """The images decoded once, then a loop for each run; what wdiv says of the runs beforehand is not timed."""
    from benchmarks.training.torchvision_loop import train

    start = time.perf_counter()
    split = open_split(study.data or "", IMAGE_SIZE)
    seconds = time.perf_counter() - start
    rows = {}
    for planned in plan_grid(study).runs:
        spec = planned.spec
        pool = split.pool.take(nested_subset(split.pool, spec.per_class, spec.seed))
        work = Work.of(spec, Split(split.name, pool, split.test), folder / "start.pth")
        start = time.perf_counter()
        rows[planned.id] = train(work)
        seconds += time.perf_counter() - start
    return {"seconds": seconds, **_result(study, rows)}


def _result(study: Study, rows: Mapping[str, list[tuple[float, float]]]) -> dict[str, Any]:
    """Run -> loss of the first epoch, strategy -> mean accuracy after the last."""
    last: dict[str, list[float]] = defaultdict(list)
    for planned in plan_grid(study).runs:
        last[planned.spec.parsed.name].append(rows[planned.id][-1][1])
    losses = {run: epochs[0][0] for run, epochs in rows.items()}
    return {"MB": peak(), "losses": losses, "accuracies": {name: mean(values) for name, values in last.items()}}


SIDES = {"theirs": theirs, "ours": ours, "ours, two jobs": partial(ours, jobs=2)}

if __name__ == "__main__":
    chosen = Path(sys.argv[2])
    print(json.dumps(SIDES[sys.argv[1]](pickle.loads(chosen.read_bytes()), chosen.parent)))  # noqa: T201
