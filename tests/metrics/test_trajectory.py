"""Metrics of a path, against walking it; and what is said of epochs that are missing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wdiv.metrics import METRICS
from wdiv.metrics.trajectory import displacement, epoch_step, path_length, straightness

PATH = [name for name, record in METRICS.items() if record.family == "trajectory"]


def distances(weights: list[list[float] | None]) -> tuple[np.ndarray, np.ndarray]:
    """What the metrics take, of weights at each epoch; None where an epoch is not saved."""
    saved = [w for w in weights if w is not None]
    walked = iter(zip([saved[0], *saved], saved, strict=False))
    steps = [math.nan if w is None else math.dist(*next(walked)) for w in weights]
    return np.array(steps), np.array([math.nan if w is None else math.dist(saved[0], w) for w in weights])


POINTS = st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=3, max_size=3)


@settings(max_examples=100)
@given(st.lists(st.one_of(st.none(), POINTS), min_size=1, max_size=8), POINTS)
def test_a_path_is_as_long_as_walking_it(rest: list[list[float] | None], first: list[float]) -> None:
    weights = [first, *rest]
    steps, moved = distances(weights)
    length, straight = path_length(steps, moved), straightness(steps, moved)
    for t, w in enumerate(weights):
        if w is None:
            assert all(np.isnan(found[t]) for found in (length, straight))
            continue
        walk = [x for x in weights[: t + 1] if x is not None]
        walked = math.fsum(math.dist(x, y) for x, y in itertools.pairwise(walk))
        assert length[t] == pytest.approx(walked, rel=1e-12)
        if walked:
            assert straight[t] == pytest.approx(math.dist(first, w) / walked, rel=1e-12, abs=1e-15)
            assert 0.0 <= straight[t] <= 1.0
        else:
            assert np.isnan(straight[t])


def test_straightness_tells_a_straight_way_from_a_detour_and_a_return() -> None:
    ways = {
        "straight": [[0.0], [1.0], [3.0]],
        "back": [[0.0], [1.0], [0.0]],
        "corner": [[0.0, 0], [3.0, 0], [3.0, 4.0]],
    }
    found = {name: float(straightness(*distances(way))[-1]) for name, way in ways.items()}  # type: ignore[arg-type]
    assert found == {"straight": 1.0, "back": 0.0, "corner": pytest.approx(5 / 7)}


def test_straightness_sees_which_element_moved() -> None:
    """Not a fact that a path of two epochs can show: permuting each epoch's elements on its own changes it."""
    straight, permuted = [[0.0, 0], [1.0, 0], [2.0, 0]], [[0.0, 0], [0.0, 1.0], [2.0, 0]]
    assert straightness(*distances(straight))[-1] != straightness(*distances(permuted))[-1]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", PATH)
def test_paths_of_many_tensors_are_the_paths_one_by_one(name: str) -> None:
    steps = np.abs(np.random.default_rng(0).normal(size=(3, 4, 6)))
    steps[..., 0] = 0.0
    steps[1, 2, 3] = np.nan
    moved = steps * 0.9
    together = METRICS[name].function(steps, moved)
    for place in np.ndindex(3, 4):
        np.testing.assert_array_equal(together[place], METRICS[name].function(steps[place], moved[place]))


def test_steps_and_displacements_are_handed_through() -> None:
    steps, moved = distances([[0.0], None, [2.0], [1.0]])
    np.testing.assert_array_equal(epoch_step(steps, moved), [0.0, np.nan, 2.0, 1.0])
    np.testing.assert_array_equal(displacement(steps, moved), [0.0, np.nan, 2.0, 1.0])


def test_after_weights_that_were_not_finite_the_length_is_not_known() -> None:
    """The two steps to and from them are lost; an epoch that is only not saved loses none."""
    steps, moved = np.array([0.0, 1.0, np.nan, np.nan, 1.0]), np.array([0.0, 1.0, np.nan, 4.0, 5.0])
    for metric in (path_length, straightness):
        assert np.isnan(metric(steps, moved))[2:].all()
    np.testing.assert_array_equal(path_length(steps, moved)[:2], [0.0, 1.0])
    np.testing.assert_array_equal(displacement(steps, moved), moved), "the distance from the first epoch is known"


def test_a_first_epoch_that_was_not_finite_leaves_no_path() -> None:
    steps, moved = np.array([np.nan, np.nan, 1.0, 1.0]), np.full(4, np.nan)
    assert np.isnan(path_length(steps, moved)).all()
    assert np.isnan(straightness(steps, moved)).all()
