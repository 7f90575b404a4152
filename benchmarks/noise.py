"""What the noise floor finds of noise alone, and of movement that seeds share, by simulation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from wdiv.metrics import METRICS
from wdiv.numerics import common_displacement, pair_sums

SEEDS, VALUES = (3, 5, 10), (1, 2, 4, 16, 64, 256, 1000)
LEVEL, TENSORS, AT_ONCE = 0.05, 10_000, 1 << 22
COMMON = 3.0
"""Movement common to the seeds, in standard deviations of what each adds to it."""

Noise = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
NOISES: dict[str, Noise] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "unequal": lambda rng, shape: rng.normal(size=shape) / np.arange(1, shape[-1] + 1),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, size=shape) * np.sqrt(3.0),
    "one length": lambda rng, shape: rng.choice([-1.0, 1.0], size=shape) + 0.01 * rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3.0),
    "wild seeds": lambda rng, shape: rng.normal(size=shape) * rng.lognormal(size=(shape[0], 1, 1)),
    "skewed": lambda rng, shape: rng.exponential(size=shape) - 1.0,
}
"""Each of mean 0. Unequal: variances fall as 1 / k²; one length: nearly ±1, as Adam steps; heavy: Student's t of 3;
wild seeds: each by its own factor."""


def table() -> Iterator[str]:
    """Lines of Markdown: a row for each metric, number of seeds and size of tensor."""
    yield (
        f"Share of {TENSORS:,} tensors with p < {LEVEL}: of noise alone, by what it is; and of normal noise where "
        f"seeds share a movement of {COMMON:g} standard deviations. The ratio is of root mean squares, of normal noise."
    )
    yield ""
    heads = ["metric", "seeds", "values", *NOISES, f"{COMMON:g} σ in common", "ratio"]
    yield "| " + " | ".join(heads) + " |"
    yield "| --- |" + " ---: |" * (len(heads) - 1)
    for metric in (record.name for record in METRICS.values() if record.euclidean):
        for seeds in SEEDS:
            for values in VALUES:
                rng = np.random.default_rng([seeds, values])
                shares = [flagged(metric, rng, noise, seeds, values)[0] for noise in NOISES.values()]
                power = flagged(metric, rng, NOISES["normal"], seeds, values, COMMON)[0]
                ratio = flagged(metric, rng, NOISES["normal"], seeds, values)[1]
                yield (
                    "| "
                    + " | ".join(
                        [
                            metric,
                            str(seeds),
                            str(values),
                            *(f"{share:.1%}" for share in (*shares, power)),
                            f"{ratio:.2f}",
                        ]
                    )
                    + " |"
                )


def flagged(
    metric: str, rng: np.random.Generator, noise: Noise, seeds: int, values: int, common: float = 0.0
) -> tuple[float, float]:
    """Share of tensors that are found to have moved more, and the ratio of the root mean squares over all."""
    distance, found, squares = METRICS[metric].function, 0, np.zeros(2)
    rows = min(TENSORS, AT_ONCE // (seeds * values))
    for first in range(0, TENSORS, rows):
        count = min(rows, TENSORS - first)
        ends = common * rng.normal(size=(count, values)) + noise(rng, (seeds, count, values))
        start, between = np.zeros((count, values)), np.zeros((seeds, seeds, count))
        for i in range(seeds):
            for j in range(i):
                between[i, j] = between[j, i] = distance(pair_sums(ends[i], ends[j]))
        test = common_displacement(np.stack([distance(pair_sums(start, end)) for end in ends]), between)
        found += int((test.p < LEVEL).sum())
        squares += (test.moved**2).sum(), (test.apart**2).sum()
    return found / TENSORS, float(np.sqrt(squares[0] / squares[1]))
