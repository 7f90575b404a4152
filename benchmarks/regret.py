"""What advice costs: the advised choice beside the best of a whole grid, which is trained for it.

``python -m benchmarks.regret FOLDER`` trains (or continues) the grids in the folder, an hour or so on two cores, prints
the tables and writes them into ``docs/advice.md``. The steel images need ``WDIV_SHARED``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.advice import advise, look
from studies.grid.frozen_features import open_frozen
from studies.grid.frozen_features import run_grid as run_frozen
from studies.grid.results import results
from studies.grid.runner import run_grid
from studies.spec.study import Study, override
from wdiv.summary import accuracies

if TYPE_CHECKING:
    import pandas as pd

PAGE = Path(__file__).parent.parent / "docs" / "advice.md"
SHARED = Path(os.environ.get("WDIV_SHARED", Path(__file__).parent.parent.parent / "shared"))
CARD = SHARED / "weights" / "mobilenet_v2_w035.toml"
DATA = {"neu": str(SHARED / "data" / "neu"), "digits": "digits"}
SIZES, SEEDS = (5, 10, 20, 40), (0, 1)
STRATEGIES, MODE = ("fc", "conv+fc", "conv+bn+fc", "conv@stage3-4+fc"), "frozen"
"""Batch statistics are left out: README.md has what they cost."""
LAYERS = ("stages", "all", "best")


def study_of(data: str) -> Study:
    return override(
        Study("regret", epochs=30, batch_size=32, metrics=("relative_l2",)),
        {"data": DATA[data], "weights": str(CARD), "per_class": list(SIZES), "seeds": list(SEEDS), "test_count": 50},
    )


def train(data: str, out: Path) -> None:
    """Every run and every baseline that is not there yet."""
    study = study_of(data)
    run_grid(override(study, {"strategies": list(STRATEGIES), "bn_modes": [MODE]}), out, jobs=2)
    run_frozen(study, ["svm"], LAYERS, out=out)


def regrets(data: str, out: Path) -> Iterator[dict[str, object]]:
    """Of each data size: the advised choice, seed by seed, and the best of the grid by the mean over seeds."""
    table, study = results(out), study_of(data)
    frozen = open_frozen(study)
    classes = len(frozen.split.pool.classes)
    for size in SIZES:
        mine = table[table["n_train"] == size * classes]
        best = accuracies(mine).sort_values("last", ascending=False).iloc[0]
        advised, names = [], []
        for seed in SEEDS:
            advice = advise(look(frozen.source, frozen.split, per_class=size, seed=seed))
            chosen = _rows(mine, advice.strategy, advice.bn_mode, seed)
            advised.append(float(chosen["last"].iloc[0]))
            names.append(f"{advice.strategy}, {advice.bn_mode}")
        mean = sum(advised) / len(advised)
        yield {
            "data": data, "per_class": size, "advised": " / ".join(dict.fromkeys(names)), "accuracy": mean,
            "best": f"{best['strategy']}, {best['bn_mode']}", "best_accuracy": best["last"],
            "regret": best["last"] - mean,
        }  # fmt: skip


def _rows(table: pd.DataFrame, strategy: str, bn_mode: str, seed: int) -> pd.DataFrame:
    found = table[(table["strategy"] == strategy) & (table["bn_mode"] == bn_mode) & (table["seed"] == seed)]
    if len(found) != 1:
        raise SystemExit(f"the advised {strategy}, {bn_mode} is not in the grid")
    return found


def grid_table(data: str, out: Path) -> Sequence[str]:
    """Accuracy in %, mean over seeds: a row for each choice, a column for each size."""
    table = results(out)
    table = table.assign(choice=table["strategy"] + ", " + table["bn_mode"])
    wide = table.pivot_table(index="choice", columns="n_train", values="last", aggfunc="mean").sort_index(axis=1)
    head = "| " + " | ".join([data, *(f"{size} a class" for size in SIZES)]) + " |"
    rows = ["| " + " | ".join([str(n), *(f"{100 * v:.1f}" for v in r)]) + " |" for n, r in wide.iterrows()]
    return [head, "| --- |" + " ---: |" * len(SIZES), *rows]


def main(folder: Path) -> None:
    parts = [f"{date.today()}, MobileNetV2 ×0.35 from ImageNet, 96 pixels, 30 epochs; mean of seeds {SEEDS}.", ""]
    rows = []
    for data in DATA:
        train(data, folder / data)
        parts += [*grid_table(data, folder / data), ""]
        rows += list(regrets(data, folder / data))
    parts += [
        "| data | a class | advised | accuracy | best of the grid | accuracy | regret, points |",
        "| --- | ---: | --- | ---: | --- | ---: | ---: |",
        *(
            f"| {r['data']} | {r['per_class']} | {r['advised']} | {100 * r['accuracy']:.1f} | {r['best']} | "
            f"{100 * r['best_accuracy']:.1f} | {100 * r['regret']:.1f} |"
            for r in rows
        ),
    ]
    text = "\n".join(parts)
    print(text)  # noqa: T201
    if PAGE.exists():
        page = PAGE.read_text("utf-8")
        PAGE.write_text(re.sub(r"(?s)(<!-- measured -->\n).*(<!-- end -->)", rf"\1\n{text}\n\n\2", page), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
