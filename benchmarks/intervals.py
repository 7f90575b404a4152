"""How often intervals of accuracies hold the truth, by simulation; beside the bootstrap that wdiv once had."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats

from baselines.estimators.evaluate import SCORES, estimates
from wdiv.numerics import Share, grouped_interval, share_interval

TRUTHS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)
IMAGES, RUNS, DRAWS = (20, 50, 150, 500), 2000, 500
HARD = 0.7
"""Share of the variance of an answer that is the image's, alike for all seeds."""
LUCK = 0.15
"""Deviation of what seeds differ by: about 5 points at an accuracy of 0.7."""
CLASSES: dict[str, Sequence[int]] = {
    "2 × 25": (25, 25),
    "45, 5": (45, 5),
    "60, 12, 6": (60, 12, 6),
    "20 × 5": (5,) * 20,
}
GROUPS, ALIKE, OF_EACH = (5, 10, 20, 50), (0.0, 0.3, 0.8), 10


def table() -> Iterator[str]:
    """Lines of Markdown: a row for each kind of interval and size, a column for each true share."""
    yield (
        f"Share of draws in which an interval of 95 % holds the true share: of one seed exactly, of classes in "
        f"{RUNS // 4:,} draws, else in {RUNS:,}."
    )
    yield ""
    yield "| interval | of | " + " | ".join(f"{truth:g}" for truth in TRUTHS) + " |"
    yield "| --- | --- |" + " ---: |" * len(TRUTHS)
    for n in IMAGES:
        yield _line("accuracy, one seed", f"{n} images", [one_seed(n, truth) for truth in TRUTHS])
        yield _line("the same by bootstrap", f"{n} images", [bootstrap(n, truth) for truth in TRUTHS])
    for seeds in (2, 3, 5, 10):
        for luck in (0.0, LUCK):
            what = f"{seeds} seeds, 50 images" + (", which differ" if luck else ", all as good")
            yield _line("accuracy, mean over seeds", what, [several(seeds, 50, truth, luck) for truth in TRUTHS])
    for name, sizes in CLASSES.items():
        found = [scores(sizes, truth) for truth in TRUTHS]
        for score in ("balanced_accuracy", "macro_f1"):
            yield _line(score.replace("_", " "), f"classes of {name}", [one[score] for one in found])
    for groups in GROUPS:
        for alike in ALIKE:
            what = f"{groups} groups of {OF_EACH}, alike by {alike:g}"
            yield _line("accuracy, grouped", what, [grouped(groups, alike, truth) for truth in TRUTHS])


def one_seed(n: int, truth: float) -> float:
    """Exactly, over all counts."""
    right = np.arange(n + 1)
    return float(stats.binom.pmf(right, n, truth)[_holds(share_interval([right / n], n), truth)].sum())


def bootstrap(n: int, truth: float) -> float:
    """The percentiles of images drawn with replacement are those of a binomial; exactly, over all counts."""
    right = np.arange(n + 1)
    low, high = (stats.binom.ppf(tail, n, right / n) / n for tail in (0.025, 0.975))
    return float(stats.binom.pmf(right, n, truth)[(low <= truth) & (truth <= high)].sum())


def several(seeds: int, n: int, truth: float, luck: float) -> float:
    """Of images that are hard or easy for all seeds, more or less, and of seeds that are luckier than others."""
    rng = np.random.default_rng([seeds, n])
    answers = math.sqrt(HARD) * rng.normal(size=(1, RUNS, n)) + math.sqrt(1 - HARD) * rng.normal(size=(seeds, RUNS, n))
    limit = luck * rng.normal(size=(seeds, RUNS, 1)) + stats.norm.ppf(truth) * math.hypot(1.0, luck)
    return float(_holds(share_interval((answers < limit).mean(-1), n), truth).mean())


def scores(sizes: Sequence[int], truth: float) -> dict[str, float]:
    """Of classes that are answered rightly with one chance, else with any other class."""
    rng, k, runs = np.random.default_rng(list(sizes)), len(sizes), RUNS // 4
    chances = np.where(np.eye(k, dtype=bool), truth, (1 - truth) / (k - 1))
    exact = estimates(np.array(sizes)[:, None] * chances, draws=2)
    held = dict.fromkeys(SCORES, 0)
    for _ in range(runs):
        found = estimates(np.stack([rng.multinomial(n, p) for n, p in zip(sizes, chances, strict=True)]), draws=DRAWS)
        for name in SCORES:
            held[name] += found[name].low <= exact[name].value <= found[name].high
    return {name: count / runs for name, count in held.items()}


def grouped(groups: int, alike: float, truth: float) -> float:
    rng = np.random.default_rng([groups, round(10 * alike)])
    size = (RUNS, groups)
    ease = math.sqrt(alike) * rng.normal(size=(*size, 1)) + math.sqrt(1 - alike) * rng.normal(size=(*size, OF_EACH))
    shares = (ease < stats.norm.ppf(truth)).mean(-1)
    return float(np.mean([_holds(grouped_interval([one], [OF_EACH] * groups), truth) for one in shares]))


def _holds(found: Share, truth: float) -> np.ndarray:
    return np.asarray((found.low <= truth) & (truth <= found.high))


def _line(what: str, of: str, shares: Sequence[float]) -> str:
    return f"| {what} | {of} | " + " | ".join(f"{share:.1%}" for share in shares) + " |"
