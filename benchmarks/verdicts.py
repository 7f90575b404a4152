"""How often verdicts on claims are wrong, and how often they find what is there, by simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from studies.report.findings import DEPENDS, FAILS, HOLDS, Verdict
from studies.report.gains import change_and_gain
from studies.report.verdicts import judge
from studies.spec.claim import LEVEL, Claim
from studies.spec.columns import COLUMNS
from wdiv.numerics.comparison import Effect, crossed_effect, paired_effect

SEEDS, REPORTS, DRAWS, TABLES = (3, 5, 10), 100, 1000, 100
MODES, SIZES = ("batch", "frozen"), ("5", "10", "20")
STRATEGIES = {"fc": 0, "conv+fc": 1, "bn+fc": 1, "conv+bn+fc": 2}
"""By how many effects each is better."""
CLAIMS = tuple(
    Claim(f"claim-{i}", "It is better.", "", {"strategy": one}, {"strategy": other}, "more")
    for i, (one, other) in enumerate([*((name, "fc") for name in list(STRATEGIES)[1:]), ("conv+bn+fc", "conv+fc")])
)
EFFECT = 4.0
"""In standard deviations of a difference between seeds."""
IMAGES, RIGHT, HARD, OWN = (50, 200, 1000), 0.9, 1.0, 1.0
"""Images; share that is answered rightly; deviations of how hard an image is, for both sides and for one alone."""


def table() -> Iterator[str]:
    """Lines of Markdown, three tables."""
    yield (
        f"Of {REPORTS} reports on 4 claims of 6 cells each (BN mode, size), in percent: reports with a false verdict "
        "on a claim, and with one in a cell; where each first strategy is better by "
        f"{EFFECT:g} standard deviations between seeds in every cell, claims and cells that are found so; where it is "
        "better with one BN mode and as much worse with the other, claims that depend, and that hold or fail."
    )
    yield ""
    yield (
        "| seeds | no effect: a claim | a cell | cells differ | in all: claims found | cells found | opposite: depends "
        "| falsely one way |"
    )
    yield "| ---: |" + " ---: |" * 7
    for seeds in SEEDS:
        nothing = list(reports(seeds, dict.fromkeys(MODES, 0.0)))
        everywhere = list(reports(seeds, dict.fromkeys(MODES, EFFECT)))
        opposite = list(reports(seeds, dict(zip(MODES, (EFFECT, -EFFECT), strict=True))))
        decided = (HOLDS, FAILS, DEPENDS)
        numbers = [
            np.mean([any(v.verdict in decided for v in one) for one in nothing]),
            np.mean([any(c.verdict in decided for v in one for c in v.cells) for one in nothing]),
            np.mean([any(v.differ_q <= LEVEL for v in one) for one in nothing]),
            np.mean([v.verdict == HOLDS for one in everywhere for v in one]),
            np.mean([c.verdict == HOLDS for one in everywhere for v in one for c in v.cells]),
            np.mean([v.verdict == DEPENDS for one in opposite for v in one]),
            np.mean([v.verdict in (HOLDS, FAILS) for one in opposite for v in one]),
        ]
        yield f"| {seeds} | " + " | ".join(f"{100 * number:.1f}" for number in numbers) + " |"
    yield ""
    yield (
        f"Two strategies that are equally good, {RIGHT:.0%} right, some images hard for both and some for one: share "
        f"of {DRAWS:,} draws in which the 95 % interval of their difference holds 0, paired by image and over seeds; "
        "and that over seeds alone, which is about these images."
    )
    yield ""
    yield "| seeds | images | seeds differ | seeds and images | seeds alone |"
    yield "| ---: |" + " ---: |" * 4
    for seeds in (2, *SEEDS):
        for images in IMAGES:
            for spread in (0.0, 0.2):
                both, alone = coverage(seeds, images, spread)
                yield f"| {seeds} | {images} | {spread:g} | {100 * both:.1f} | {100 * alone:.1f} |"
    yield ""
    yield (
        f"Change and gain without any relation, 12 cells of runs, luck of a seed alike in all: share of {TABLES} "
        "tables with p < 0.05, permuted in all cells alike; and as if runs were independent."
    )
    yield ""
    yield "| seeds | permuted | as if independent |"
    yield "| ---: | ---: | ---: |"
    for seeds in SEEDS:
        ours, naive = correlations(seeds)
        yield f"| {seeds} | {100 * ours:.1f} | {100 * naive:.1f} |"


def reports(seeds: int, effects: Mapping[str, float]) -> Iterator[list[Verdict]]:
    """Verdicts on :data:`CLAIMS`, whose effect is as large in every cell of a BN mode."""
    for k in range(REPORTS):
        yield judge(CLAIMS, observations(np.random.default_rng([seeds, k]), seeds, effects))


def observations(rng: np.random.Generator, seeds: int, effects: Mapping[str, float]) -> pd.DataFrame:
    """Accuracies; differences between strategies have a deviation of 1 between seeds."""
    luck, rows = 3.0 * rng.normal(size=(seeds, len(MODES), len(SIZES))), []
    for i, mode in enumerate(MODES):
        for j, size in enumerate(SIZES):
            for strategy, step in STRATEGIES.items():
                for seed in range(seeds):
                    value = luck[seed, i, j] + step * effects[mode] + rng.normal() / np.sqrt(2)
                    rows.append(
                        {"model": "net", "source": "src", "dataset": "data", "per_class": size, "n_train": int(size),
                         "strategy": strategy, "bn_mode": mode, "seed": seed, "measure": "accuracy", "value": value}
                    )  # fmt: skip
    table = pd.DataFrame(rows).reindex(columns=list(COLUMNS), fill_value="")
    return table.assign(run=[f"r{i}" for i in range(len(table))])


def coverage(seeds: int, images: int, spread: float) -> tuple[float, float]:
    """How often the interval of a difference holds its true value, 0; with the answers of each image, and without."""
    from scipy.special import ndtri

    rng = np.random.default_rng([seeds, images, int(100 * spread)])
    middle = float(ndtri(RIGHT)) * np.sqrt(1.0 + HARD**2 + OWN**2 + spread**2)
    held = np.zeros(2)
    for _ in range(DRAWS):
        hard = HARD * rng.normal(size=images)
        right = [
            middle + hard + OWN * rng.normal(size=images) + spread * rng.normal(size=(seeds, 1))
            + rng.normal(size=(seeds, images)) > 0
            for _ in range(2)
        ]  # fmt: skip
        differences = np.subtract(*right, dtype="float64")
        numbers = differences.mean(axis=1)
        held += [_holds(crossed_effect(numbers, [differences])), _holds(paired_effect(numbers))]
    return float(held[0] / DRAWS), float(held[1] / DRAWS)


def _holds(found: Effect) -> bool:
    """Where nothing tells how far numbers differ there is no interval, which claims nothing."""
    low, high = found.interval()
    return not (low > 0 or high < 0)


def correlations(seeds: int) -> tuple[float, float]:
    """How often change and gain are found to go together where they do not."""
    found = np.zeros(2)
    for k in range(TABLES):
        rng, rows = np.random.default_rng([seeds, k]), []
        luck, moves = rng.normal(size=seeds), rng.normal(size=seeds)
        for size in SIZES:
            rows += [_row("fc", size, seed, 0.0, 0.0) for seed in range(seeds)]
            for i in range(4):
                far, good = 0.3 * rng.normal(size=2)
                rows += [
                    _row(f"s{i}", size, s, good + luck[s] + rng.normal(), far + moves[s] + rng.normal())
                    for s in range(seeds)
                ]
        table = pd.DataFrame([one for pair in rows for one in pair]).reindex(columns=list(COLUMNS), fill_value="")
        runs = table["strategy"] + table["per_class"] + table["seed"].astype(str)
        table = table.assign(run=runs)
        p = float(change_and_gain(table)["p"].iloc[0])
        others = table[table["strategy"].ne("fc")]
        accuracy, moved = (others.loc[others["measure"].eq(name), "value"] for name in ("accuracy", "l2"))
        found += [p < 0.05, spearmanr(accuracy, moved)[1] < 0.05]
    return float(found[0] / TABLES), float(found[1] / TABLES)


def _row(strategy: str, size: str, seed: int, gain: float, moved: float) -> list[dict[str, object]]:
    facts = {"model": "net", "source": "src", "dataset": "data", "per_class": size, "n_train": int(size),
             "strategy": strategy, "bn_mode": "auto", "seed": seed}  # fmt: skip
    place = {"measure": "l2", "against": "start", "layers": "bn:gamma", "part": "stage1"}
    return [facts | {"measure": "accuracy", "value": gain}, facts | place | {"value": moved}]
