"""What each score is drawn with, and the laws that it keeps or does not; ``test_common.py`` runs them over all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from baselines.transferability import SCORES

Given = tuple[np.ndarray, np.ndarray]
Law = Callable[[np.random.Generator, np.ndarray, np.ndarray], Given]

# -------------------------------------------------------------------------------------------------------------- inputs


def labels_of(rng: np.random.Generator, n: int, classes: int) -> np.ndarray:
    return rng.permutation(np.arange(n) % classes)


def features(rng: np.random.Generator, n: int, d: int, classes: int) -> Given:
    """Classes a little apart, and away from the origin."""
    labels = labels_of(rng, n, classes)
    return rng.normal(0.3, 1.0, (n, d)) + rng.normal(size=(classes, d))[labels], labels


def probabilities(rng: np.random.Generator, n: int, d: int, classes: int) -> Given:
    """Sure and unsure rows; d source classes."""
    return rng.dirichlet(np.full(d, 0.5), n), labels_of(rng, n, classes)


def source(rng: np.random.Generator, n: int, d: int, classes: int) -> Given:
    """Two sets of features, of n and n + classes images."""
    return rng.normal(0.3, 1.0, (n, d)), rng.normal(0.0, 1.5, (n + classes, d))


CALLS: dict[str, Callable[[np.random.Generator, int, int, int], Given]] = {
    "features": features, "probabilities": probabilities, "source": source
}  # fmt: skip
"""What a score takes -> how that is drawn. A new kind needs a line here."""


def example(name: str, n: int, d: int, classes: int = 3, seed: int = 0) -> Given:
    return CALLS[SCORES[name].takes](np.random.default_rng(seed), n, d, classes)


@st.composite
def given_to(draw: st.DrawFn, name: str) -> Given:
    """Little of it, fewer images than features and more."""
    classes = draw(st.integers(2, 3))
    n, d = draw(st.integers(2 * classes, 9)), draw(st.integers(1, 7))
    return example(name, n, d, classes, seed=draw(st.integers(0, 10**6)))


# ---------------------------------------------------------------------------------------------------------------- laws


def order(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    """The same images in another order."""
    if y.ndim == 2:
        return rng.permutation(x), rng.permutation(y)
    places = rng.permutation(len(x))
    return x[places], y[places]


def relabelled(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    """The same classes by other names."""
    return x, rng.permutation(["dog", "ant", "cow", "bee"])[y]


def columns(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    """The source's classes in another order, and one more that is predicted nowhere."""
    return rng.permutation(np.pad(x, ((0, 0), (0, 1))), axis=1), y


def everywhere(change: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray) -> Given:
    return change(x), (change(y) if y.ndim == 2 else y)


def rotated(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    turn, _ = np.linalg.qr(rng.normal(size=(x.shape[1], x.shape[1])))
    return everywhere(lambda rows: rows @ turn, x, y)


def shifted(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    shift = rng.normal(size=x.shape[1])
    return everywhere(lambda rows: rows + shift, x, y)


def scaled(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    unit = rng.choice([0.125, 8.0])
    return everywhere(lambda rows: rows * unit, x, y)


def stretched(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    """Each feature in a unit of its own."""
    units = rng.uniform(0.5, 2, x.shape[1])
    return everywhere(lambda rows: rows * units, x, y)


def swapped(_rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> Given:
    return y, x


LAWS: dict[str, tuple[Law, ...]] = {
    "features": (order, relabelled, rotated, shifted, scaled, stretched),
    "probabilities": (order, relabelled, columns),
    "source": (order, swapped, rotated, shifted, scaled, stretched),
}
"""What a score takes -> the changes of it under which its value may stay the same."""

KEEPS: dict[str, set[Law]] = {
    "logme": {order, relabelled, rotated},
    "leep": {order, relabelled, columns},
    "nce": {order, relabelled, columns},
    "h_score": {order, relabelled, rotated, shifted, scaled, stretched},
    "h_score_shrunk": {order, relabelled, rotated, shifted, scaled},
    "frechet_distance": {order, swapped, rotated, shifted},
    "mmd": {order, swapped, rotated, shifted, scaled},
}
"""Score -> those under which it does; under the others it visibly does not. A new score needs a line here."""
