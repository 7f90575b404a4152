"""What would help: larger images where they show more, more images where the curve still climbs, and honest noes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from baselines.advice import Gain, gains, larger_images, more_images
from wdiv.errors import BadInput
from wdiv.numerics.proportion import difference_interval
from wdiv.tuning.data.images import ImageSet, Split
from wdiv.tuning.networks.sources import Source


def patterns(per_class: int, size: int, groups: int = 0) -> Split:
    """Pictures of 64 pixels with stripes two pixels wide, across or along, of which a fourth of it sees the mean."""
    rng, made, labels = np.random.default_rng(3), [], []
    for label in range(2):
        for _ in range(per_class):
            place = np.indices((64, 64))[label] // 2 + rng.integers(2)
            grey = np.clip(128 + 60 * (-1.0) ** place + rng.normal(0, 20, (64, 64)), 0, 255)
            small = grey.reshape(size, 64 // size, size, 64 // size).mean(axis=(1, 3))
            made.append(np.repeat(small[None].astype(np.uint8), 3, axis=0))
            labels.append(label)
    names = tuple(f"{label}/{i}" for i, label in enumerate(labels))
    of = tuple(f"{label}-{i % groups}" for i, label in enumerate(labels)) if groups else ()
    pool = ImageSet(np.stack(made), np.array(labels), ("a", "b"), names, of)
    return Split("patterns", pool, pool.take(np.arange(1)))


def test_larger_images_gain_where_they_show_what_small_ones_average(source: Source) -> None:
    asked = []

    def open_at(size: int) -> Split:
        asked.append(size)
        return patterns(12, size)

    found = larger_images(source, patterns(12, 16), open_at, 64, folds=3, device="cpu")
    assert asked == [32]
    assert [at for at, _ in found.measured] == [16, 32]
    assert found.held_out == 24
    (_, now), (_, then) = found.measured
    assert found.value == pytest.approx(then - now)
    assert found.value > 0.1
    assert found.sure
    assert Gain.from_json(found.to_json()) == found


def test_pictures_that_are_no_larger_are_not_read_again(source: Source, digits: Split) -> None:
    def never(size: int) -> Split:
        raise AssertionError(size)

    found = larger_images(source, digits, never, 2 * digits.pool.pixels.shape[-1] - 1, device="cpu")
    assert not found.known
    assert "the pictures themselves have" in found.in_words()
    assert found.to_json()["value"] is None


def test_other_images_at_the_other_size_are_an_error(source: Source) -> None:
    with pytest.raises(BadInput, match="other images"):
        larger_images(source, patterns(6, 16), lambda size: patterns(5, size), 64, folds=2, device="cpu")


def test_half_of_the_images_are_held_against_all(source: Source, digits: Split) -> None:
    found = more_images(source, digits, per_class=8, folds=4, draws=2, device="cpu")
    (half, less), (trained, more) = found.measured
    assert (half, trained, found.at, found.held_out) == (15, 30, 80, 40)
    assert 0 <= less <= 1
    assert found.low <= found.value <= found.high
    assert found.value <= 1 - more
    assert Gain.from_json(found.to_json()) == found


@pytest.mark.parametrize("per_class", [2, 3])
def test_three_images_of_a_class_say_how_little_they_say(source: Source, digits: Split, per_class: int) -> None:
    found = more_images(source, digits, per_class=per_class, device="cpu")
    assert found.known == (per_class > 2)
    assert found.known or "leave one out" in found.why_not


def test_a_class_of_one_image_is_told_of(source: Source) -> None:
    images = patterns(4, 16).pool
    few = Split("few", images.take(np.arange(5)), images)
    found = more_images(source, few, device="cpu")
    assert found.why_not == "no cross-validation: the smallest class has 1 image"


def test_whole_groups_are_left_out_of_the_half(monkeypatch: pytest.MonkeyPatch, source: Source) -> None:
    split, seen = patterns(12, 16, groups=4), []
    ours = gains.best_of

    def watched(places, labels, parts, seed):
        seen.append(parts)
        return ours(places, labels, parts, seed)

    monkeypatch.setattr(gains, "best_of", watched)
    found = more_images(source, split, folds=2, draws=1, device="cpu")
    groups = np.array(split.pool.groups)
    assert found.held_out == 24
    for parts in seen:
        for train, held in parts:
            assert not {*groups[train]} & {*groups[held]}
    for (train, _), (half, _) in zip(*seen, strict=True):
        assert set(half) < set(train)
        left = np.setdiff1d(train, half)
        assert not {*groups[half]} & {*groups[left]}


def test_intervals_hold_the_true_difference_as_often_as_they_say() -> None:
    rng, held, rounds = np.random.default_rng(0), 0, 400
    for _ in range(rounds):
        low, high = difference_interval(rng.choice([-1, 0, 1], size=60, p=[0.05, 0.8, 0.15]))
        held += low <= 0.1 <= high
    assert 0.92 <= held / rounds <= 0.985


def test_images_of_groups_that_answer_alike_tell_less() -> None:
    one = [1, 0, 0, -1, 1]
    alone, together = difference_interval(one * 6), difference_interval(np.repeat(one, 6), np.repeat(range(5), 6))
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_a_power_law_is_carried_on() -> None:
    wrong = [0.4 * 0.7**step for step in range(4)]
    for before, now, after in zip(wrong, wrong[1:], wrong[2:], strict=False):
        assert gains.gain_of_doubling(before - now, now) == pytest.approx(now - after)


def test_few_of_many_images_are_looked_at(monkeypatch: pytest.MonkeyPatch, source: Source, digits: Split) -> None:
    monkeypatch.setattr(gains, "MOST", 30)
    assert 25 <= more_images(source, digits, folds=2, draws=1, device="cpu").held_out <= 35


def test_words_say_what_is_sure() -> None:
    found = Gain("pixels", ((64, 0.8), (128, 0.8)), 128, 0.0, -0.02, 0.02, 100)
    assert not found.sure
    assert replace(found, low=0.01).sure
